// The description of a machine for `dualpath plan`: how long each kernel and each message takes,
// and the memory of a rank. `dualpath bench machine` measures it; for a machine that cannot be
// measured it is written by hand.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/config/config.h"
#include "launcher/config/run_config.h"

namespace dualpath {

// A call of the kernel takes overhead + FLOPs/gflops + bytes/gbytes.
struct KernelRate {
  std::string kernel = {};
  Precision precision = Precision::fp32;
  double overhead_us = 0;
  double gflops = 0;
  double gbytes = 0;
};

enum class LinkScope { node, network };

template <>
struct EnumNames<LinkScope> {
  static constexpr std::pair<LinkScope, const char*> values[] = {{LinkScope::node, "node"},
                                                                 {LinkScope::network, "network"}};
};

// A call among n ranks takes latency·⌈log2 n⌉ + what a rank sends/gbytes.
struct LinkRate {
  LinkScope scope = LinkScope::node;
  std::string collective = {};
  double latency_us = 0;
  double gbytes = 0;
};

struct Machine {
  std::string name = {};
  Processor processor = Processor::unknown;
  std::int64_t ranks_per_node = 1;
  double memory_gb = 0;
  double process_mb = 0;
  double peak_tflops = 0;
  std::vector<KernelRate> kernels = {};
  std::vector<LinkRate> links = {};
};

template <class Visitor>
void visit_fields(Visitor& visit, KernelRate& c) {
  visit.field("kernel", c.kernel,
              {.help = "as `dualpath bench kernels` names it, or how its name begins: the longest "
                       "that fits holds; empty: all others"});
  visit.field("precision", c.precision, {.help = "bf16 where any operand is, else fp32"});
  visit.field("overhead_us", c.overhead_us,
              {.help = "of each call", .unit = "us", .min = 0, .max = 1e9});
  visit.field("gflops", c.gflops,
              {.help = "of products, beside overhead and bytes; 0: they take no time of their own",
               .unit = "GFLOP/s",
               .min = 0,
               .max = 1e12});
  visit.field("gbytes", c.gbytes,
              {.help = "of operands read and written; 0: they take no time of their own",
               .unit = "GB/s",
               .min = 0,
               .max = 1e12});
}

template <class Visitor>
void visit_fields(Visitor& visit, LinkRate& c) {
  visit.field("scope", c.scope, {.help = "among ranks of one node, or of several"});
  visit.field("collective", c.collective,
              {.help = "all_reduce, all_gather, reduce_scatter, broadcast or exchange; empty: all "
                       "others"});
  visit.field("latency_us", c.latency_us,
              {.help = "of each call, times log2 of the ranks, rounded up",
               .unit = "us",
               .min = 0,
               .max = 1e9});
  visit.field("gbytes", c.gbytes,
              {.help = "that a rank sends; 0: sending takes no time",
               .unit = "GB/s",
               .min = 0,
               .max = 1e12});
}

template <class Visitor>
void visit_fields(Visitor& visit, Machine& c) {
  visit.field("name", c.name, {.help = "what is described"});
  visit.field("processor", c.processor,
              {.help = "what a rank computes on; unknown: the memory that kernels take for "
                       "themselves is not planned"});
  visit.field("ranks_per_node", c.ranks_per_node,
              {.help = "ranks that stand in one node, in their order", .min = 1, .max = 1 << 16});
  visit.field("memory_gb", c.memory_gb,
              {.help = "that a rank can have; 0: not known", .unit = "GB", .min = 0, .max = 1e9});
  visit.field("process_mb", c.process_mb,
              {.help = "of it that a rank's process takes besides what is planned: code, MPI, "
                       "libraries, reading ahead",
               .unit = "MB",
               .min = 0,
               .max = 1e9});
  visit.field(
      "peak_tflops", c.peak_tflops,
      {.help = "data sheet's bf16 peak of a rank's device, which MFU is a share of; 0: that "
               "of the device in `name`, where it is known",
       .unit = "TFLOP/s",
       .min = 0,
       .max = 1e9});
  visit.list("kernels", c.kernels, "how long a call takes: overhead + FLOPs/gflops + bytes/gbytes");
  visit.list("links", c.links, "how long a message takes: latency + bytes/gbytes");
}

// Adds what cannot be: no name, no rate or an empty one for kernels that are not named, two rates
// for the same.
void validate(const Machine& machine, ConfigProblems& problems);

// Throws Error(configuration) naming file, line and what is wrong.
Machine load_machine(const std::filesystem::path& file);
void save_machine(const std::filesystem::path& file, const Machine& machine);

double seconds_of(const KernelRate& rate, double flops, double bytes);
// The time of `calls` calls among `ranks` ranks; each rank sends `bytes` in all of them together.
double seconds_of(const LinkRate& rate, std::int64_t ranks, double calls, double bytes);

// Costs in FLOPs of matrix products and attention; all else takes no time.
Machine counting_flops();

}  // namespace dualpath
