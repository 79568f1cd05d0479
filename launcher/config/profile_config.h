// Which steps of a run are looked into.
#pragma once

#include <cstdint>
#include <vector>

#include "core/config/config.h"

namespace dualpath {

struct ProfileConfig {
  std::int64_t start_step = 0;
  std::int64_t end_step = 0;
  std::vector<std::int64_t> ranks = {0};
};

template <class Visitor>
void visit_fields(Visitor& visit, ProfileConfig& c) {
  visit.field("start_step", c.start_step,
              {.help = "first step that is traced, in profile/rank-N.json of the run folder, for "
                       "ui.perfetto.dev; on a GPU also for `nsys profile "
                       "--capture-range=cudaProfilerApi`; 0: none",
               .unit = "steps",
               .min = 0,
               .max = bounds::steps,
               .synonyms = "profile_step_start"});
  visit.field("end_step", c.end_step,
              {.help = "last step that is traced; 0: start_step alone",
               .unit = "steps",
               .min = 0,
               .max = bounds::steps,
               .synonyms = "profile_step_end"});
  visit.field("ranks", c.ranks,
              {.help = "ranks that write a trace",
               .min = 0,
               .max = bounds::ranks,
               .synonyms = "profile_ranks"});
}

}  // namespace dualpath
