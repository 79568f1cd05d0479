// The configuration of `dualpath plan`: that of `train`, and the machine that it is planned for.
#pragma once

#include "launcher/run_config.h"

namespace dualpath {

struct PlanSection {
  std::int64_t ranks = 1;
  double gflops = 0;
  double link_gbytes = 0;
};

struct PlanConfig {
  PlanSection plan;
  RunConfig run;
};

template <class Visitor>
void visit_fields(Visitor& visit, PlanSection& c) {
  visit.field("ranks", c.ranks, {.help = "of the job", .min = 1, .max = 1 << 16});
  visit.field("gflops", c.gflops,
              {.help = "what a rank reaches in training, with all that is not a product (see "
                       "`dualpath bench step`); 0: no times are told",
               .unit = "GFLOP/s",
               .min = 0});
  visit.field(
      "link_gbytes", c.link_gbytes,
      {.help = "what a rank sends to others; 0: sending takes no time", .unit = "GB/s", .min = 0});
}

template <class Visitor>
void visit_fields(Visitor& visit, PlanConfig& c) {
  visit.section("plan", c.plan, "what is planned for");
  visit_fields(visit, c.run);
}

}  // namespace dualpath
