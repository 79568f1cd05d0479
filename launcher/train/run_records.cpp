#include "launcher/train/run_records.h"

#include <limits>

namespace dualpath {
namespace {

// One value for each layer; a layer without such a value has NaN, a model without any has none.
void add_readouts(StepMetrics& m, const ModelConfig& model, std::span<const double> readouts) {
  const auto fill = [&](std::vector<double>& values, std::int64_t column, auto has) {
    std::vector<double> means;
    bool any = false;
    for (std::int64_t i = 0; i < model.layers; ++i) {
      const bool here = has(model.architecture_of(i));
      any |= here;
      means.push_back(here ? readouts[static_cast<std::size_t>(i * num_readouts + column)]
                           : std::numeric_limits<double>::quiet_NaN());
    }
    if (any) values = std::move(means);
  };
  const auto both = [](Architecture a) { return a == Architecture::dual_path; };
  const auto deep = [](Architecture a) {
    return a == Architecture::dual_path || a == Architecture::looped;
  };
  fill(m.gate_deep, op::PathReadout::gate_deep, both);
  fill(m.gate_wide, op::PathReadout::gate_wide, both);
  fill(m.gate_entropy, op::PathReadout::gate_entropy, both);
  fill(m.deep_share, op::PathReadout::deep_share, both);
  fill(m.cosine, op::PathReadout::cosine, both);
  fill(m.input_norm, op::PathReadout::input_norm, both);
  fill(m.expected_iterations, readout_expected_iterations, deep);
}

}  // namespace

RunRecords::RunRecords(const std::filesystem::path& folder, std::int64_t step, bool tensorboard,
                       LaterRows later)
    : metrics_(folder / "metrics.jsonl", step, later) {
  if (tensorboard) tensorboard_.emplace(folder, step);
}

StepMetrics step_metrics(const StepSetting& setting, const ModelConfig& model,
                         const StepResult& result, const TrainingProgress& progress,
                         double step_ms) {
  StepMetrics m;
  m.step = progress.step;
  m.consumed_samples = progress.consumed_samples;
  m.consumed_tokens = progress.consumed_tokens;
  m.loss = result.loss;
  m.learning_rate = result.learning_rate;
  m.grad_norm = result.grad_norm;
  m.step_ms = step_ms;
  m.tokens_per_second = static_cast<double>(setting.tokens_per_step) / (step_ms / 1e3);
  m.tokens_per_second_per_rank = m.tokens_per_second / setting.num_ranks;
  m.model_tflops_per_rank = m.tokens_per_second_per_rank * setting.flops_per_token / 1e12;
  if (setting.peak_tflops) m.mfu_percent = 100 * m.model_tflops_per_rank / *setting.peak_tflops;
  m.communication_ms = result.communication.total_ms();
  m.communication_tensor_ms = result.communication.tensor_ms;
  m.communication_pipeline_ms = result.communication.pipeline_ms;
  m.communication_replicas_ms = result.communication.replicas_ms;
  m.communication_sums_ms = result.communication.sums_ms;
  m.traffic = result.traffic;
  if (setting.planned_idle) {
    m.pipeline_idle_percent = 100 * result.pipeline_idle;
    m.planned_idle_percent = 100 * *setting.planned_idle;
  }
  m.data_wait_ms = result.data_wait_ms;
  m.eta = Seconds(static_cast<double>(setting.total_steps - progress.step) * step_ms / 1e3);
  add_readouts(m, model, result.readouts);
  return m;
}

}  // namespace dualpath
