// What a pipeline plan costs in time.
#pragma once

#include <span>
#include <vector>

#include "parallel/pipeline_plan.h"

namespace dualpath {

// Times of one piece and one micro-batch, in any unit.
struct PieceCosts {
  double forward = 1;
  double backward_input = 1;
  double backward_weight = 1;

  double total() const { return forward + backward_input + backward_weight; }
};

struct PipelineCosts {
  std::vector<PieceCosts> pieces;  // see PipelineShape::piece
  double link = 0;                 // time of a message, once both stages have begun the exchange
};

// How the exchanges of a plan are carried out: in place, or on a stream of their own.
enum class Exchanges { blocking, overlapped };

struct Simulation {
  double makespan = 0;
  std::vector<double> busy;        // by stage: computing; makespan - busy is idle
  double bubble_fraction() const;  // idle / makespan, all stages together
};

// Carries out the plans of all stages, where a send lasts until its receiver has begun the matching
// exchange. An internal Error if messages do not match in order or stages wait for ever.
Simulation simulate(std::span<const StagePlan> plans, const PipelineCosts& costs,
                    Exchanges exchanges = Exchanges::overlapped);

// Idle time of all stages over makespan, by formula, where all pieces cost the same and messages
// nothing. Sources: see compute_order. REQUIRES: schedule_problem found none.
//   gpipe, 1f1b  (p - 1) / (m + p - 1)
//   interleaved  (p - 1) / (v·m + p - 1)
//   zero_bubble  I / (m·(f + b + w) + I), I = (p - 1)·(f + b) - (min(m, p) - 1)·min(f, b, w)
//                (the paper's (p - 1)·(f + b - w) where m >= p, w <= f and w <= b)
double bubble_fraction(Schedule schedule, const PipelineShape& shape, const PieceCosts& costs = {});

}  // namespace dualpath
