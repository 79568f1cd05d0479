// The order in which a stage computes: the pipeline schedules themselves.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/config/field.h"

namespace dualpath {

enum class Schedule { gpipe, one_f_one_b, interleaved, zero_bubble };

template <>
struct EnumNames<Schedule> {
  static constexpr std::pair<Schedule, const char*> values[] = {
      {Schedule::gpipe, "gpipe"},
      {Schedule::one_f_one_b, "1f1b"},
      {Schedule::interleaved, "interleaved"},
      {Schedule::zero_bubble, "zero_bubble"}};
};

// Layers are cut into stages·chunks pieces; chunk c of stage s is piece c·stages + s.
struct PipelineShape {
  int stages = 1;
  int chunks = 1;  // a stage
  int micro_batches = 1;

  int pieces() const { return stages * chunks; }
  int piece(int stage, int chunk) const { return chunk * stages + stage; }
};

// 1f1b with several chunks a stage is interleaved.
Schedule effective_schedule(Schedule schedule, const PipelineShape& shape);

// Why there is no such schedule, and the nearest there is; "" where there is one.
std::string schedule_problem(Schedule schedule, const PipelineShape& shape);

// Both parts of a backward pass, or the gradients of the input and of the weights apart.
enum class Work { forward, backward, backward_input, backward_weight };
const char* name_of(Work work);  // "backward_input"

struct ChunkWork {
  Work work = Work::forward;
  int chunk = 0;
  int micro_batch = 0;

  bool operator==(const ChunkWork&) const = default;
};

// What the stage computes, in order. Every chunk takes its micro-batches in ascending order, in
// each kind of work. REQUIRES: schedule_problem found none.
//   gpipe        all forwards, then all backwards (Huang et al., arXiv 1811.06965)
//   1f1b         stages - 1 - stage forwards, then forward and backward in turn (PipeDream-Flush;
//                Narayanan et al., arXiv 2104.04473, §2.2.1)
//   interleaved  the same over the chunks, `stages` micro-batches of one chunk before the next
//                (§2.2.2), with Megatron-LM's 2·(stages - 1 - stage) forwards ahead, which leave
//                one operation's time for every message
//   zero_bubble  ZB-H1: 1f1b, where weight gradients lag `stage` micro-batches behind (Qi et al.,
//                arXiv 2401.10241, §2.1)
std::vector<ChunkWork> compute_order(Schedule schedule, const PipelineShape& shape, int stage);

// The work whose output is the input of the stage's work: the forward of the piece before, the
// backward (or backward_input) of the piece after. None for the first piece's forward, the last
// piece's backward and every backward_weight.
struct WorkSource {
  int stage = 0;
  ChunkWork work;
};
std::optional<WorkSource> source_of(const ChunkWork& work, int stage, const PipelineShape& shape);

}  // namespace dualpath
