// When checkpoints are written, which are kept and which one a run goes on from.
#pragma once

#include <cstdint>

#include "core/config/field.h"

namespace dualpath {

struct CheckpointConfig {
  std::int64_t every_steps = 1000;
  double every_minutes = 0;
  std::int64_t keep_last = 3;
  std::int64_t keep_every = 0;
  std::int64_t load_step = 0;
};

template <class Visitor>
void visit_fields(Visitor& visit, CheckpointConfig& c) {
  visit.field(
      "every_steps", c.every_steps,
      {.help = "save after every this many steps, and at the end; 0: off",
       .unit = "steps",
       .min = 0,
       .max = bounds::steps,
       .synonyms = "save_interval save_steps checkpoint_interval checkpoint_every save_every"});
  visit.field("every_minutes", c.every_minutes,
              {.help = "save also when this much time has passed since the last save; 0: off",
               .unit = "minutes",
               .min = 0,
               .max = bounds::seconds / 60});
  visit.field("keep_last", c.keep_last,
              {.help = "how many of the newest checkpoints to keep; 0: all",
               .min = 0,
               .max = 1e9,
               .synonyms = "save_total_limit keep_checkpoints max_checkpoints"});
  visit.field("keep_every", c.keep_every,
              {.help = "keep checkpoints whose step is a multiple of this for good; 0: none",
               .unit = "steps",
               .min = 0,
               .max = bounds::steps});
  visit.field("load_step", c.load_step,
              {.help = "go back to the checkpoint of this step, once: later starts go on from the "
                       "newest whole checkpoint, as with 0",
               .unit = "step",
               .min = 0,
               .max = bounds::steps,
               .synonyms = "ckpt_step"});
}

}  // namespace dualpath
