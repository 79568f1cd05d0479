#include "parallel/pipeline_order.h"

#include <algorithm>

#include "core/base/error.h"

namespace dualpath {

const char* name_of(Work work) {
  constexpr const char* names[] = {"forward", "backward", "backward_input", "backward_weight"};
  return names[static_cast<std::size_t>(work)];
}

namespace {

std::vector<ChunkWork> gpipe(int micro_batches) {
  std::vector<ChunkWork> order;
  for (int i = 0; i < micro_batches; ++i) order.push_back({Work::forward, 0, i});
  for (int i = 0; i < micro_batches; ++i) order.push_back({Work::backward, 0, i});
  return order;
}

std::vector<ChunkWork> one_f_one_b(const PipelineShape& shape, int stage) {
  const int ahead = std::min(shape.micro_batches, shape.stages - 1 - stage);
  std::vector<ChunkWork> order;
  for (int i = 0; i < ahead; ++i) order.push_back({Work::forward, 0, i});
  for (int i = 0; i < shape.micro_batches; ++i) {
    if (ahead + i < shape.micro_batches) order.push_back({Work::forward, 0, ahead + i});
    order.push_back({Work::backward, 0, i});
  }
  return order;
}

// All stages then hold as many micro-batches between forward and weight gradient as the first.
std::vector<ChunkWork> zero_bubble(const PipelineShape& shape, int stage) {
  std::vector<ChunkWork> order;
  int weights_done = 0;
  for (ChunkWork work : one_f_one_b(shape, stage)) {
    if (work.work == Work::backward) work.work = Work::backward_input;
    order.push_back(work);
    if (work.work == Work::backward_input && work.micro_batch >= stage) {
      order.push_back({Work::backward_weight, 0, weights_done++});
    }
  }
  while (weights_done < shape.micro_batches) {
    order.push_back({Work::backward_weight, 0, weights_done++});
  }
  return order;
}

std::vector<ChunkWork> interleaved(const PipelineShape& shape, int stage) {
  const int total = shape.micro_batches * shape.chunks;
  const int ahead =
      std::min(total, 2 * (shape.stages - 1 - stage) + (shape.chunks - 1) * shape.stages);
  // The k-th forward; the k-th backward takes the chunks from the last to the first.
  const auto forward = [&](int k) {
    const int group = k / shape.pieces(), within = k % shape.pieces();
    return ChunkWork{Work::forward, within / shape.stages,
                     group * shape.stages + within % shape.stages};
  };
  const auto backward = [&](int k) {
    const ChunkWork mirrored = forward(k);
    return ChunkWork{Work::backward, shape.chunks - 1 - mirrored.chunk, mirrored.micro_batch};
  };
  std::vector<ChunkWork> order;
  for (int k = 0; k < ahead; ++k) order.push_back(forward(k));
  for (int k = 0; k < total; ++k) {
    if (ahead + k < total) order.push_back(forward(ahead + k));
    order.push_back(backward(k));
  }
  return order;
}

}  // namespace

Schedule effective_schedule(Schedule schedule, const PipelineShape& shape) {
  return schedule == Schedule::one_f_one_b && shape.chunks > 1 ? Schedule::interleaved : schedule;
}

std::string schedule_problem(Schedule schedule, const PipelineShape& shape) {
  if (shape.stages < 1 || shape.chunks < 1 || shape.micro_batches < 1) {
    return fmt::format("{} stages of {} chunks, {} micro-batches: each must be at least 1",
                       shape.stages, shape.chunks, shape.micro_batches);
  }
  if (shape.chunks > 1 && shape.stages == 1) {
    return fmt::format("{} chunks a stage need at least 2 stages", shape.chunks);
  }
  schedule = effective_schedule(schedule, shape);
  if (schedule != Schedule::interleaved) {
    if (shape.chunks == 1) return "";
    return fmt::format("the schedule {} has 1 chunk a stage, not {}; interleaved has several",
                       enum_name(schedule), shape.chunks);
  }
  if (shape.micro_batches % shape.stages == 0) return "";
  const int below = shape.micro_batches / shape.stages * shape.stages;
  const std::string above = std::to_string(below + shape.stages);
  return fmt::format(
      "the interleaved schedule takes micro-batches in groups of {}, one a stage: {} is no "
      "multiple "
      "of that, the nearest is {}",
      shape.stages, shape.micro_batches,
      below == 0 ? above : fmt::format("{} or {}", below, above));
}

std::vector<ChunkWork> compute_order(Schedule schedule, const PipelineShape& shape, int stage) {
  switch (effective_schedule(schedule, shape)) {
    case Schedule::gpipe:
      return gpipe(shape.micro_batches);
    case Schedule::one_f_one_b:
      return one_f_one_b(shape, stage);
    case Schedule::interleaved:
      return interleaved(shape, stage);
    case Schedule::zero_bubble:
      return zero_bubble(shape, stage);
  }
  CHECK(false, "schedule {}", static_cast<int>(schedule));
}

std::optional<WorkSource> source_of(const ChunkWork& work, int stage, const PipelineShape& shape) {
  if (work.work == Work::backward_weight) return std::nullopt;
  const int piece = shape.piece(stage, work.chunk) + (work.work == Work::forward ? -1 : 1);
  if (piece < 0 || piece == shape.pieces()) return std::nullopt;
  return WorkSource{piece % shape.stages, {work.work, piece / shape.stages, work.micro_batch}};
}

}  // namespace dualpath
