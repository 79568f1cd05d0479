// The configuration of `dualpath bench`: that of `train`, so that what is measured is what is
// trained, and how to measure.
#pragma once

#include "launcher/bench/timing.h"
#include "launcher/config/resolve_run.h"

namespace dualpath {

struct BenchSection {
  std::int64_t repeats = 5;
  double seconds = 2;
  double kernel_seconds = 0.05;
  bool shapes = false;
  std::string machine_file;
  std::vector<std::string> text;
  std::string tokenizer;
  std::string folder;

  Effort effort() const { return {repeats, seconds}; }
  // For figures of which there are many.
  Effort short_effort() const { return {repeats, seconds / 4}; }
  Effort kernel_effort() const { return {repeats, kernel_seconds}; }
};

struct BenchConfig {
  std::string json;
  BenchSection bench;
  RunConfig run;
};

struct ResolvedBenchConfig {
  std::string json;
  BenchSection bench;
  ResolvedRunConfig run;
};

template <class Visitor>
void visit_fields(Visitor& visit, BenchSection& c) {
  visit.field("repeats", c.repeats,
              {.help = "measurements of each figure, at least", .min = 1, .max = 1000000});
  visit.field("seconds", c.seconds,
              {.help = "every figure is measured on and on for this long",
               .unit = "s",
               .min = 0,
               .max = 86400});
  visit.field("kernel_seconds", c.kernel_seconds,
              {.help = "the same for one kernel alone", .unit = "s", .min = 0, .max = 86400});
  visit.field("text", c.text, {.help = "files or folders of text, for `tokenizer`"});
  visit.field("tokenizer", c.tokenizer,
              {.help = "tokenizer.json, or the folder of one or of vocab.json and merges.txt; "
                       "empty: the corpora's"});
  visit.field("folder", c.folder,
              {.help = "where `checkpoint` saves, under a temporary name that it removes"});
  visit.field("shapes", c.shapes, {.help = "kernels apart by the shapes of their operands"});
  visit.field("machine_file", c.machine_file,
              {.help = "where `machine` writes what `dualpath plan plan.machine=FILE` reads: rates "
                       "of each kernel within small training steps and, under mpirun, of each "
                       "collective; empty: these are not measured"});
}

template <class Visitor>
void visit_fields(Visitor& visit, BenchConfig& c) {
  visit.field("json", c.json, {.help = "file for the same figures as JSON; empty: none"});
  visit.section("bench", c.bench, "how to measure");
  visit_fields(visit, c.run);
}

}  // namespace dualpath
