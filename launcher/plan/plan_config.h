// The configuration of `dualpath plan`: that of `train`, and the machine that it is planned for.
#pragma once

#include "launcher/config/run_config.h"

namespace dualpath {

inline constexpr std::int64_t most_planned_ranks = 1 << 16;

struct PlanSection {
  std::int64_t ranks = 0;  // 0: as many as the parallel section makes
  std::string machine;
  bool search = false;
};

struct PlanConfig {
  std::string json;
  PlanSection plan;
  RunConfig run;
};

template <class Visitor>
void visit_fields(Visitor& visit, PlanSection& c) {
  visit.field("ranks", c.ranks,
              {.help = "of the job; 0: parallel.tensor * pipeline * data",
               .min = 0,
               .max = most_planned_ranks});
  visit.field("machine", c.machine,
              {.help = "file that describes the machine, as `dualpath bench machine "
                       "bench.machine_file=FILE` writes it or configs/machines has it; empty: no "
                       "times are told"});
  visit.field("search", c.search,
              {.help = "ranks the layouts that fit the machine's memory by the time of a step, "
                       "whatever is given of tensor, pipeline, data, virtual_pipeline, schedule, "
                       "stage_layers, vocab, recompute and micro_batch_size; a minute for a "
                       "thousand ranks"});
}

template <class Visitor>
void visit_fields(Visitor& visit, PlanConfig& c) {
  visit.field("json", c.json, {.help = "file for the same figures as JSON; empty: none"});
  visit.section("plan", c.plan, "what is planned for");
  visit_fields(visit, c.run);
}

}  // namespace dualpath
