#include "launcher/train/set_aside.h"

#include <system_error>

#include "core/base/error.h"
#include "data/files/file_io.h"

namespace dualpath {

namespace fs = std::filesystem;

bool is_there(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::symlink_status(path, error);
  CHECK_AS(ExitCode::checkpoint, status.type() != fs::file_type::none,
           "{}: cannot be looked at: {}", path.string(), error.message());
  return fs::exists(status);
}

void give_name(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::rename(from, to, error);
  CHECK_AS(ExitCode::checkpoint, !error, "{}: cannot be renamed to {}: {}", from.string(),
           to.string(), error.message());
}

namespace {

fs::path name_before(const fs::path& file) {
  for (int number = 1;; ++number) {
    const fs::path name = fmt::format("{}.before-{}", file.string(), number);
    if (!is_there(name)) return name;
  }
}

}  // namespace

fs::path set_aside(const fs::path& file) {
  const fs::path name = name_before(file);
  give_name(file, name);
  return name;
}

fs::path keep_aside(const fs::path& file, std::string_view text) {
  const fs::path name = name_before(file);
  write_file(name, text, ExitCode::checkpoint);
  return name;
}

}  // namespace dualpath
