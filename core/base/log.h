// Lines for people: with time and rank, on the terminal and in the run's log.txt.
#pragma once

#include <cstdio>
#include <filesystem>
#include <fmt/format.h>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

namespace dualpath {

enum class LogLevel { info, warning, error };

// Info goes to stdout, warnings and errors to stderr, all of them to the file too. Any thread may
// write; the lines of one message stay together. Several processes may append to one file. Lines
// that cannot be written stop nobody: a first one that the file does not take is told on stderr;
// stdout keeps its error, which main() looks at.
class Log {
 public:
  // prefix: "" or what tells this rank from the others, "[rank 3 t1 p0 d1] ". prints_info: false
  // drops info messages; in a job, rank 0 alone has true.
  explicit Log(std::string prefix = "", bool prints_info = true);

  // From here on lines are appended to the file as well, after those written so far. Throws
  // Error(checkpoint) if it cannot be opened.
  void open_file(const std::filesystem::path& path);

  template <class... Args>
  void info(fmt::format_string<Args...> format, Args&&... args) {
    if (prints_info_) write(LogLevel::info, fmt::format(format, std::forward<Args>(args)...));
  }
  template <class... Args>
  void warning(fmt::format_string<Args...> format, Args&&... args) {
    write(LogLevel::warning, fmt::format(format, std::forward<Args>(args)...));
  }
  template <class... Args>
  void error(fmt::format_string<Args...> format, Args&&... args) {
    write(LogLevel::error, fmt::format(format, std::forward<Args>(args)...));
  }

 private:
  static constexpr std::size_t early_bytes = 64 << 10;

  struct CloseFile {
    // Every message has been flushed.
    void operator()(std::FILE* file) const { (void)std::fclose(file); }
  };

  void write(LogLevel level, std::string_view message);
  void write_to_file(std::string_view text);

  std::string prefix_;
  bool prints_info_;
  std::mutex mutex_;
  std::unique_ptr<std::FILE, CloseFile> file_;
  std::string early_;           // lines written before the file was opened, at most early_bytes
  std::string path_;            // the file's
  bool has_told_loss_ = false;  // of lines of the file
};

}  // namespace dualpath
