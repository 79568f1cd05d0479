#include "core/base/log.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>
#include <fmt/chrono.h>
#include <utility>

#include "core/base/error.h"

namespace dualpath {

namespace {

// Whether all of the text is out.
[[nodiscard]] bool put(std::string_view text, std::FILE* out) {
  const bool is_written = std::fwrite(text.data(), 1, text.size(), out) == text.size();
  return std::fflush(out) == 0 && is_written;
}

}  // namespace

Log::Log(std::string prefix, bool prints_info)
    : prefix_(std::move(prefix)), prints_info_(prints_info) {}

void Log::open_file(const std::filesystem::path& path) {
  std::unique_ptr<std::FILE, CloseFile> file(std::fopen(path.c_str(), "ae"));
  CHECK_AS(ExitCode::checkpoint, file != nullptr, "{}: cannot be opened for writing: {}",
           path.string(), std::strerror(errno));
  // A message reaches the file in one write, so that those of other processes stay whole.
  std::setvbuf(file.get(), nullptr, _IOFBF, 1 << 16);
  const std::lock_guard lock(mutex_);
  file_ = std::move(file);
  path_ = path.string();
  write_to_file(std::exchange(early_, {}));
}

void Log::write(LogLevel level, std::string_view message) {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  const char* level_name = level == LogLevel::info      ? ""
                           : level == LogLevel::warning ? "warning: "
                                                        : "error: ";
  const std::string start =
      fmt::format("{:%Y-%m-%d %H:%M:%S} {}{}", fmt::localtime(now), prefix_, level_name);
  std::string text;
  for (std::size_t begin = 0; begin <= message.size();) {
    const std::size_t end = std::min(message.find('\n', begin), message.size());
    text += start;
    text += message.substr(begin, end - begin);
    text += '\n';
    begin = end + 1;
  }
  const std::lock_guard lock(mutex_);
  (void)put(text, level == LogLevel::info ? stdout : stderr);
  if (file_ != nullptr) {
    write_to_file(text);
  } else if (early_.size() + text.size() <= early_bytes) {
    early_ += text;
  }
}

void Log::write_to_file(std::string_view text) {
  if (put(text, file_.get()) || std::exchange(has_told_loss_, true)) return;
  (void)put(fmt::format("{}warning: {}: cannot be written: {}; lines are missing from it\n",
                        prefix_, path_, std::strerror(errno)),
            stderr);
}

}  // namespace dualpath
