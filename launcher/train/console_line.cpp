#include "launcher/train/console_line.h"

#include <cmath>
#include <fmt/format.h>
#include <optional>
#include <utility>
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

void StepAverage::add(const StepMetrics& metrics) {
  const StepMetrics before = std::exchange(sum_, metrics);
  const double ms = metrics.step_ms;
  sum_.loss += before.loss;
  sum_.step_ms += before.step_ms;
  sum_.communication_ms += before.communication_ms;
  sum_.data_wait_ms += before.data_wait_ms;
  sum_.tokens_per_second = before.tokens_per_second + ms * metrics.tokens_per_second;
  sum_.tokens_per_second_per_rank =
      before.tokens_per_second_per_rank + ms * metrics.tokens_per_second_per_rank;
  sum_.model_tflops_per_rank = before.model_tflops_per_rank + ms * metrics.model_tflops_per_rank;
  if (sum_.mfu_percent)
    sum_.mfu_percent = before.mfu_percent.value_or(0) + ms * *metrics.mfu_percent;
  sum_.eta = metrics.eta / ms;  // by the mean time, in the end
  ++steps_;
}

StepMetrics StepAverage::take() {
  StepMetrics mean = std::exchange(sum_, {});
  const auto steps = static_cast<double>(std::exchange(steps_, 0));
  const double ms = mean.step_ms;
  for (double* value : {&mean.loss, &mean.step_ms, &mean.communication_ms, &mean.data_wait_ms})
    *value /= steps;
  for (double* rate :
       {&mean.tokens_per_second, &mean.tokens_per_second_per_rank, &mean.model_tflops_per_rank})
    *rate /= ms;
  if (mean.mfu_percent) *mean.mfu_percent /= ms;
  mean.eta *= mean.step_ms;
  return mean;
}

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
