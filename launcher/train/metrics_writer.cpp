#include "launcher/train/metrics_writer.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

#include "core/base/error.h"
#include "data/files/file_io.h"
#include "launcher/train/set_aside.h"

namespace dualpath {

namespace {

using Json = nlohmann::ordered_json;  // it writes NaN and infinities as null

class JsonRow {
 public:
  template <class T>
  void field(const char* name, const T& value, const MetricInfo&) {
    row_[name] = value;
  }
  void field(const char* name, Seconds value, const MetricInfo&) { row_[name] = value.count(); }
  void field(const char* name, const std::optional<double>& value, const MetricInfo&) {
    if (value) row_[name] = *value;
  }
  void field(const char* name, const std::vector<double>& layers, const MetricInfo&) {
    if (!layers.empty()) row_[name] = layers;
  }
  // {"tensor": {"all_gather": {"calls": 6, "bytes": 9216}}}, without what was not used.
  void field(const char* name, const GridTraffic& traffic, const MetricInfo&) {
    Json groups = Json::object();
    for (std::size_t group = 0; group < traffic.groups.size(); ++group) {
      for (int i = 0; i < num_collectives; ++i) {
        const auto kind = static_cast<Collective>(i);
        const Traffic::Count& count = traffic.groups[group][kind];
        if (count.calls == 0) continue;
        groups[GridTraffic::name(group)][name_of(kind)] = {{"calls", count.calls},
                                                           {"bytes", count.bytes}};
      }
    }
    if (!groups.empty()) row_[name] = groups;
  }
  std::string text() const { return row_.dump(); }

 private:
  Json row_;
};

template <class Metrics>
std::string json_row(const Metrics& metrics) {
  JsonRow row;
  visit_fields(row, metrics);
  return row.text();
}

// The file's content; empty where there is none.
std::string read_rows(const std::string& path) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (status.type() == std::filesystem::file_type::not_found) return "";
  CHECK_AS(ExitCode::checkpoint, status.type() == std::filesystem::file_type::regular,
           "{}: cannot be read: {}", path, error ? error.message() : "not a regular file");
  return read_file(path, ExitCode::checkpoint, std::numeric_limits<std::int64_t>::max());
}

// use(line, row) for every line that has an end; row is null where it is none of ours.
template <class Use>
void for_each_row(const std::string& text, Use use) {
  for (std::size_t begin = 0, end; (end = text.find('\n', begin)) != text.npos; begin = end + 1) {
    const std::string_view line(text.data() + begin, end + 1 - begin);
    Json row = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    const bool is_ours = row.is_object() && row.contains("step") && row["step"].is_number_integer();
    use(line, is_ours ? row : Json());
  }
}

struct History {
  std::string kept;  // the rows up to a step
  bool has_later = false;
  bool has_others = false;      // lines that are no rows
  bool has_validation = false;  // of that step
};

History history_until(std::int64_t last_step, const std::string& text) {
  History history;
  for_each_row(text, [&](std::string_view line, const Json& row) {
    if (row.is_null()) {
      history.has_others = true;
      return;
    }
    const auto step = row["step"].get<std::int64_t>();
    if (last_step == 0 || step > last_step) {
      history.has_later = true;
      return;
    }
    history.has_validation |= step == last_step && row.contains("validation_loss");
    history.kept += line;
  });
  return history;
}

}  // namespace

std::int64_t last_saved_step(const std::string& path) {
  std::int64_t step = 0;
  for_each_row(read_rows(path), [&](std::string_view, const Json& row) {
    if (!row.is_null() && row.contains("save_s")) step = row["step"].get<std::int64_t>();
  });
  return step;
}

MetricsWriter::MetricsWriter(const std::string& path, std::int64_t last_step, LaterRows later)
    : path_(path) {
  const std::string text = read_rows(path);
  const History history = history_until(last_step, text);
  has_validation_ = history.has_validation;
  if (history.has_others || (history.has_later && later == LaterRows::another_runs))
    kept_aside_ = keep_aside(path, text);
  if (history.kept != text) write_file(path, history.kept, ExitCode::checkpoint);
  open();
}

MetricsWriter::~MetricsWriter() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void MetricsWriter::open() {
  if (descriptor_ >= 0) ::close(descriptor_);
  descriptor_ = ::open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
  CHECK_AS(ExitCode::checkpoint, descriptor_ >= 0, "{}: cannot be opened: {}", path_,
           std::strerror(errno));
}

// Where the file was renamed or replaced, rows go to a new one of its name; a folder that is gone
// ends the run.
void MetricsWriter::check_is_there() {
  struct stat named {
  }, opened{};
  if (::stat(path_.c_str(), &named) != 0) {
    const std::filesystem::path folder = std::filesystem::path(path_).parent_path();
    CHECK_AS(ExitCode::checkpoint,
             (errno != ENOENT && errno != ENOTDIR) || ::stat(folder.c_str(), &named) == 0,
             "{} is gone: it was removed or renamed while the run was training", folder.string());
    if (errno == ENOENT) open();
    return;
  }
  const bool is_same = ::fstat(descriptor_, &opened) == 0 && named.st_ino == opened.st_ino &&
                       named.st_dev == opened.st_dev;
  if (!is_same) open();
}

void MetricsWriter::write(const StepMetrics& metrics) {
  write_line(json_row(metrics));
}
void MetricsWriter::write(const ValidationMetrics& metrics) {
  write_line(json_row(metrics));
}
void MetricsWriter::write(const SaveMetrics& metrics) {
  write_line(json_row(metrics));
}

void MetricsWriter::write_line(std::string line) {
  check_is_there();
  line += '\n';
  for (std::string_view rest = line; !rest.empty();) {
    const ssize_t written = ::write(descriptor_, rest.data(), rest.size());
    CHECK_AS(ExitCode::checkpoint, written > 0 || errno == EINTR, "{}: cannot be written: {}",
             path_, std::strerror(errno));
    if (written > 0) rest.remove_prefix(static_cast<std::size_t>(written));
  }
}

}  // namespace dualpath
