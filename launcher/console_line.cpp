#include "launcher/console_line.h"

#include <cmath>
#include <fmt/format.h>
#include <optional>
#include <vector>

namespace dualpath {

namespace {

class Line {
 public:
  explicit Line(std::string start) : text_(std::move(start)) {}

  template <class T>
  void field(const char*, const T& value, const MetricInfo& info) {
    if (*info.label == '\0') return;
    text_ += fmt::format(" | {}: ", info.label);
    if constexpr (std::is_same_v<T, Seconds>) {
      text_ += clock_text(value);
    } else {
      text_ += fmt::format(fmt::runtime(info.format), value);
    }
  }
  void field(const char* name, const std::optional<double>& value, const MetricInfo& info) {
    if (value) field(name, *value, info);
  }
  void field(const char*, const std::vector<double>&, const MetricInfo&) {}
  void field(const char*, const GridTraffic&, const MetricInfo&) {}

  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

}  // namespace

std::string clock_text(Seconds time) {
  if (!std::isfinite(time.count()) || time.count() < 0) return "?";
  const auto seconds = static_cast<std::int64_t>(std::round(time.count()));
  const std::string clock =
      fmt::format("{}:{:02}:{:02}", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
  return seconds < 86400 ? clock : fmt::format("{}d {}", seconds / 86400, clock);
}

std::string console_line(const StepMetrics& metrics, std::int64_t total_steps) {
  Line line(fmt::format("step {}/{}", metrics.step, total_steps));
  visit_fields(line, metrics);
  return line.text();
}

std::string console_line(const ValidationMetrics& metrics) {
  Line line(fmt::format("validation at step {}", metrics.step));
  visit_fields(line, metrics);
  return line.text();
}

}  // namespace dualpath
