#include "launcher/sweep/run_progress.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

namespace dualpath {

namespace {

namespace fs = std::filesystem;

constexpr std::uintmax_t tail_bytes = 1 << 18;

// The last lines of a file, from `begin` on; the first may be cut.
std::istringstream tail(const fs::path& path, std::uintmax_t begin) {
  std::error_code ignored;
  const std::uintmax_t size = fs::exists(path, ignored) ? fs::file_size(path, ignored) : 0;
  begin = std::max(begin, size > tail_bytes ? size - tail_bytes : 0);
  std::ifstream file(path, std::ios::binary);
  file.seekg(static_cast<std::streamoff>(begin));
  return std::istringstream(std::string(std::istreambuf_iterator<char>(file), {}));
}

void take(const nlohmann::json& row, const char* name, std::optional<double>& value) {
  if (row.contains(name) && row[name].is_number()) value = row[name].get<double>();
}

}  // namespace

RunProgress read_progress(const fs::path& run_folder) {
  RunProgress progress;
  std::istringstream lines = tail(run_folder / "metrics.jsonl", 0);
  for (std::string line; std::getline(lines, line);) {
    const auto row = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!row.is_object() || !row.contains("step") || !row["step"].is_number_integer()) continue;
    progress.step = row["step"].get<std::int64_t>();
    take(row, "loss", progress.loss);
    take(row, "validation_loss", progress.validation_loss);
    take(row, "eta_s", progress.eta_seconds);
  }
  return progress;
}

std::string error_line(const fs::path& output, std::uintmax_t begin) {
  constexpr std::string_view mark = "dualpath: ";
  std::string last;
  std::istringstream lines = tail(output, begin);
  for (std::string line; std::getline(lines, line);) {
    if (const std::size_t at = line.find(mark); at != line.npos)
      return line.substr(at + mark.size());
    if (line.find_first_not_of(" \r\t-") != line.npos) last = line;
  }
  return last;
}

}  // namespace dualpath
