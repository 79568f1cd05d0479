// The records of a run's history: files that rank 0 writes, and the row of a step.
#pragma once

#include <filesystem>
#include <optional>

#include "launcher/train/metrics_writer.h"
#include "launcher/train/tensorboard_writer.h"
#include "launcher/train/trainer.h"

namespace dualpath {

class RunRecords {
 public:
  // Continues after `step` in the metrics of the run folder; 0 begins anew. `later`: whether rows
  // of later steps are dropped or kept aside.
  RunRecords(const std::filesystem::path& folder, std::int64_t step, bool tensorboard,
             LaterRows later);

  const MetricsWriter& metrics() const { return metrics_; }

  // Writes the row of a step, a validation or a save.
  template <class Metrics>
  void write(const Metrics& m) {
    metrics_.write(m);
    if (tensorboard_) tensorboard_->write(m);
  }

 private:
  MetricsWriter metrics_;
  std::optional<TensorBoardWriter> tensorboard_;
};

// The part of a step's row that is the same for all steps.
struct StepSetting {
  int num_ranks = 1;
  std::int64_t total_steps = 0;
  std::int64_t tokens_per_step = 0;
  double flops_per_token = 0;               // of training
  std::optional<double> peak_tflops = {};   // of a rank's device, where it is known
  std::optional<double> planned_idle = {};  // share of the passes' time; with several stages
};

// The row of a step that took step_ms. `progress` includes the step.
StepMetrics step_metrics(const StepSetting& setting, const ModelConfig& model,
                         const StepResult& result, const TrainingProgress& progress,
                         double step_ms);

}  // namespace dualpath
