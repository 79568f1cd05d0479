#include "launcher/metrics_writer.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "core/error.h"
#include "data/file_io.h"

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

bool belongs_to_history(const std::string& line, std::int64_t last_step) {
  const Json row = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!row.is_object() || !row.contains("step") || !row["step"].is_number_integer()) return false;
  return row["step"].get<std::int64_t>() <= last_step;
}

std::string history_until(const std::string& path, std::int64_t last_step) {
  std::string kept;
  if (last_step == 0) return kept;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (belongs_to_history(line, last_step)) kept += line + "\n";
  }
  return kept;
}

}  // namespace

MetricsWriter::MetricsWriter(const std::string& path, std::int64_t last_step) : path_(path) {
  write_file(path, history_until(path, last_step), ExitCode::checkpoint);
  file_.open(path, std::ios::app);
  CHECK_AS(ExitCode::checkpoint, file_.is_open(), "{}: cannot be opened: {}", path,
           std::strerror(errno));
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

void MetricsWriter::write_line(const std::string& line) {
  file_ << line << '\n' << std::flush;
  CHECK_AS(ExitCode::checkpoint, file_.good(), "{}: cannot be written: {}", path_,
           std::strerror(errno));
}

}  // namespace dualpath
