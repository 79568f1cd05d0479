// What a job does about ranks that fail.
#pragma once

#include "core/config/field.h"

namespace dualpath {

struct FaultConfig {
  double timeout_seconds = 600;
};

template <class Visitor>
void visit_fields(Visitor& visit, FaultConfig& c) {
  visit.field("timeout_seconds", c.timeout_seconds,
              {.help = "how long ranks may wait for one another, also while one saves or starts, "
                       "before the job ends with exit code 6; 0: for ever",
               .unit = "seconds",
               .min = 0,
               .max = bounds::seconds,
               .synonyms = "ddp_timeout timeout"});
}

}  // namespace dualpath
