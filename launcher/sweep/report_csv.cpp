#include "launcher/sweep/report_csv.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "launcher/common/markup.h"

namespace dualpath {

namespace {

// One line; a field's name is asked for with its value, so that the two cannot part.
class CsvRow {
 public:
  void field(const char* name, std::string_view value) {
    names_.emplace_back(name);
    values_.push_back(csv_field(value));
  }
  void field(const char* name, std::int64_t value) { field(name, fmt::format("{}", value)); }
  void field(const char* name, double value) { field(name, fmt::format("{}", value)); }
  void field(const char* name, std::optional<double> value) {
    field(name, value ? fmt::format("{}", *value) : "");
  }
  // 0 stands for a value that there is not.
  template <class Number>
  void field_unless_0(const char* name, Number value) {
    field(name, value == Number{} ? "" : fmt::format("{}", value));
  }

  std::string names() const { return fmt::format("{}\n", fmt::join(names_, ",")); }
  std::string values() const { return fmt::format("{}\n", fmt::join(values_, ",")); }

 private:
  std::vector<std::string> names_;
  std::vector<std::string> values_;
};

CsvRow csv_row(const RunResult& result) {
  const SweepRun& run = result.run;
  CsvRow row;
  row.field("run", run.name);
  row.field("state", enum_name(result.status.state));
  row.field("reason", result.status.reason);
  row.field("architecture", enum_name(run.cell.architecture));
  row.field_unless_0("iterations", run.cell.iterations);
  row.field_unless_0("deep_share", run.cell.deep_share);
  row.field_unless_0("layer_flop_budget", run.cell.layer_flop_budget);
  row.field_unless_0("training_flop_budget", run.training_flops);
  row.field("learning_rate", run.learning_rate);
  row.field("seed", run.seed);
  row.field("layers", run.layers);
  row.field_unless_0("deep_ffn_hidden_size", run.deep_hidden);
  row.field_unless_0("wide_ffn_hidden_size", run.wide_hidden);
  row.field_unless_0("realised_deep_share", run.realised_deep_share);
  row.field("budget_error", run.budget_error);
  row.field("parameters", run.parameters);
  row.field("flops_per_token", run.flops_per_token);
  row.field("steps", run.steps);
  row.field("tokens", run.tokens);
  row.field("training_flops", run.realised_flops());
  row.field("steps_done", result.history.last_step);
  row.field("training_loss", result.history.training_loss);
  row.field("validation_loss", result.history.validation_loss);
  row.field("bits_per_byte", result.history.bits_per_byte);
  return row;
}

}  // namespace

std::string report_csv(const SweepResults& results) {
  std::string text;
  for (const RunResult& result : results.runs) {
    const CsvRow row = csv_row(result);
    if (text.empty()) text = row.names();
    text += row.values();
  }
  return text;
}

}  // namespace dualpath
