// What one training step, one validation and one save report. The fields are listed once; the rows
// of metrics.jsonl, the TensorBoard scalars and the console line are all made from that list.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "parallel/grid_communicators.h"

namespace dualpath {

using Seconds = std::chrono::duration<double>;

// A vector holds one value a layer and is empty where no layer has such a value; an optional is
// empty where the value is unknown. Empty ones are left out everywhere.
struct StepMetrics {
  std::int64_t step = 0;  // of the update just made, from 1
  std::int64_t consumed_samples = 0;
  std::int64_t consumed_tokens = 0;
  double loss = 0;
  double learning_rate = 0;
  double grad_norm = 0;  // before clipping
  double step_ms = 0;
  double tokens_per_second = 0;
  double tokens_per_second_per_rank = 0;
  double model_tflops_per_rank = 0;   // TFLOP/s
  std::optional<double> mfu_percent;  // where the device's peak is known
  double communication_ms = 0;        // that rank 0 was held up by communication: the sum of
  double communication_tensor_ms = 0;
  double communication_pipeline_ms = 0;
  double communication_replicas_ms = 0;  // gradients, and updated values
  double communication_sums_ms = 0;      // waiting for slower ranks included
  GridTraffic traffic;                   // issued by rank 0
  // Share of the passes' time that stages did not compute: measured, of all ranks, and as planned;
  // with several stages.
  std::optional<double> pipeline_idle_percent;
  std::optional<double> planned_idle_percent;
  double data_wait_ms = 0;
  Seconds eta{0};
  std::vector<double> gate_deep;  // means over the step's tokens
  std::vector<double> gate_wide;
  std::vector<double> gate_entropy;
  std::vector<double> deep_share;
  std::vector<double> cosine;  // between the paths' updates
  std::vector<double> expected_iterations;
  std::vector<double> input_norm;
};

struct ValidationMetrics {
  std::int64_t step = 0;
  std::int64_t consumed_tokens = 0;     // in training, so far
  double validation_loss = 0;           // nats a token
  std::optional<double> bits_per_byte;  // where the text's size is known
  double perplexity = 0;
  std::int64_t validation_tokens = 0;
  Seconds validation_time{0};
};

struct SaveMetrics {
  std::int64_t step = 0;
  std::int64_t consumed_tokens = 0;
  Seconds save_time{0};
};

struct MetricInfo {
  const char* unit = "";
  const char* group = "";     // of the TensorBoard tag "group/name"; "" keeps it out
  const char* label = "";     // on the console; "" keeps it out
  const char* format = "{}";  // of the console's value
};

// visit.field(name, value, info); value is an std::int64_t, double, Seconds, std::optional<double>,
// std::vector<double> or GridTraffic.
template <class Visitor>
void visit_fields(Visitor& visit, const StepMetrics& m) {
  visit.field("step", m.step, {});
  visit.field("samples", m.consumed_samples, {.unit = "sequences"});
  visit.field("tokens", m.consumed_tokens,
              {.unit = "tokens", .group = "training", .label = "consumed tokens"});
  visit.field("tokens_per_second", m.tokens_per_second,
              {.group = "speed", .label = "tokens/s", .format = "{:.0f}"});
  visit.field("tokens_per_second_per_rank", m.tokens_per_second_per_rank,
              {.group = "speed", .label = "tokens/s/rank", .format = "{:.0f}"});
  visit.field("model_tflops_per_rank", m.model_tflops_per_rank,
              {.unit = "TFLOP/s", .group = "speed", .label = "TFLOP/s/rank", .format = "{:.3g}"});
  visit.field("mfu_percent", m.mfu_percent,
              {.unit = "%", .group = "speed", .label = "MFU %", .format = "{:.1f}"});
  visit.field("loss", m.loss,
              {.unit = "nats", .group = "training", .label = "loss", .format = "{:.4f}"});
  visit.field("learning_rate", m.learning_rate,
              {.group = "training", .label = "learning rate", .format = "{:.3e}"});
  visit.field("grad_norm", m.grad_norm,
              {.group = "training", .label = "grad norm", .format = "{:.3f}"});
  visit.field("step_ms", m.step_ms,
              {.unit = "ms", .group = "speed", .label = "step ms", .format = "{:.1f}"});
  visit.field("communication_ms", m.communication_ms,
              {.unit = "ms", .group = "speed", .label = "exposed comm ms", .format = "{:.1f}"});
  visit.field("communication_tensor_ms", m.communication_tensor_ms,
              {.unit = "ms", .group = "communication"});
  visit.field("communication_pipeline_ms", m.communication_pipeline_ms,
              {.unit = "ms", .group = "communication"});
  visit.field("communication_replicas_ms", m.communication_replicas_ms,
              {.unit = "ms", .group = "communication"});
  visit.field("communication_sums_ms", m.communication_sums_ms,
              {.unit = "ms", .group = "communication"});
  visit.field("traffic", m.traffic, {});
  visit.field("pipeline_idle_percent", m.pipeline_idle_percent,
              {.unit = "%", .group = "communication"});
  visit.field("planned_idle_percent", m.planned_idle_percent,
              {.unit = "%", .group = "communication"});
  visit.field("data_wait_ms", m.data_wait_ms,
              {.unit = "ms", .group = "speed", .label = "data wait ms", .format = "{:.1f}"});
  visit.field("eta_s", m.eta, {.unit = "s", .label = "ETA"});
  visit.field("gate_deep", m.gate_deep, {.group = "gate_deep"});
  visit.field("gate_wide", m.gate_wide, {.group = "gate_wide"});
  visit.field("gate_entropy", m.gate_entropy, {.unit = "nats", .group = "gate_entropy"});
  visit.field("deep_share", m.deep_share, {.group = "deep_share"});
  visit.field("cosine", m.cosine, {.group = "cosine"});
  visit.field("expected_iterations", m.expected_iterations, {.group = "expected_iterations"});
  visit.field("input_norm", m.input_norm, {.group = "input_norm"});
}

template <class Visitor>
void visit_fields(Visitor& visit, const ValidationMetrics& m) {
  visit.field("step", m.step, {});
  visit.field("tokens", m.consumed_tokens, {.unit = "tokens"});
  visit.field("validation_loss", m.validation_loss,
              {.unit = "nats", .group = "validation", .label = "loss", .format = "{:.4f}"});
  visit.field(
      "bits_per_byte", m.bits_per_byte,
      {.unit = "bits", .group = "validation", .label = "bits per byte", .format = "{:.4f}"});
  visit.field("perplexity", m.perplexity,
              {.group = "validation", .label = "perplexity", .format = "{:.2f}"});
  visit.field("validation_tokens", m.validation_tokens,
              {.unit = "tokens", .label = "validation tokens"});
  visit.field("validation_s", m.validation_time, {.unit = "s", .label = "took"});
}

template <class Visitor>
void visit_fields(Visitor& visit, const SaveMetrics& m) {
  visit.field("step", m.step, {});
  visit.field("tokens", m.consumed_tokens, {.unit = "tokens"});
  visit.field("save_s", m.save_time, {.unit = "s", .group = "speed"});
}

}  // namespace dualpath
