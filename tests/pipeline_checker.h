// What a pipeline plan must keep, checked by following it.
#pragma once

#include <span>
#include <string>

#include "parallel/pipeline_plan.h"

namespace dualpath {

// The first thing wrong with the plans of all stages, "" if nothing is:
// - every stage does all its work once, in an order that can be, micro-batches ascending;
// - every slot and buffer holds what the work or message at hand needs, and none is taken twice;
// - every message goes to the right stage, and every exchange is awaited;
// - the stages understand each other and none waits for ever, with exchanges carried out in place
//   or on a stream of their own.
std::string fault_of(Schedule schedule, const PipelineShape& shape,
                     std::span<const StagePlan> plans);

}  // namespace dualpath
