// The configuration of `dualpath plan`: that of `train`, and the machine that it is planned for.
#pragma once

#include "launcher/run_config.h"

namespace dualpath {

inline constexpr std::int64_t most_planned_ranks = 1 << 16;

struct PlanSection {
  std::int64_t ranks = 0;  // 0: as many as the parallel section makes
  double gflops = 0;
  double link_gbytes = 0;
};

struct PlanConfig {
  PlanSection plan;
  RunConfig run;
};

template <class Visitor>
void visit_fields(Visitor& visit, PlanSection& c) {
  visit.field("ranks", c.ranks,
              {.help = "of the job; 0: parallel.tensor * pipeline * data",
               .min = 0,
               .max = most_planned_ranks});
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
