#include "launcher/bench/machine_bench.h"

#include "core/cpu/machine_peak.h"
#include "launcher/bench/gpu_machine.h"

namespace dualpath {
namespace {

// Adds a line and returns the best rate. work() returns its FLOPs or bytes.
template <class Work>
double add_peak(MeasuredTable& table, const std::string& what, const char* unit,
                const Effort& effort, const Work& work) {
  double amount = 0;
  const Timing time = measure(effort, [&] { amount = work(); });
  const double best = amount / time.best;
  table.add(what,
            {.time = time, .value = best / 1e9, .unit = unit, .share = time.best / time.median});
  return best;
}

std::string on_threads(const char* what, int num_threads) {
  return fmt::format("{}, {} thread{}", what, num_threads, num_threads == 1 ? "" : "s");
}

}  // namespace

MachineBench measure_machine(Device& device, int num_threads, const Effort& effort) {
  if (!device.is_host_memory()) return measure_gpu(device, effort);
  MachineBench bench{{}, MeasuredTable("machine, best rate")};
  MeasuredTable& table = bench.table;
  const auto multiply_adds = [&](const char* what, double (*work)(int)) {
    if (num_threads > 1)
      add_peak(table, on_threads(what, 1), "GFLOP/s", effort, [=] { return work(1); });
    return add_peak(table, on_threads(what, num_threads), "GFLOP/s", effort,
                    [=] { return work(num_threads); });
  };
  bench.peaks.fp32 = multiply_adds("multiply-adds fp32", fp32_multiply_adds);
  if (has_bf16_products()) {
    bench.peaks.bf16 = multiply_adds("multiply-adds bf16", bf16_multiply_adds);
  } else {
    table.add("multiply-adds bf16", {.unit = "none"});
  }
  const MemoryPasses memory(device, num_threads);
  for (const auto& [what, pass] : {std::pair{"memory, read", &MemoryPasses::read},
                                   std::pair{"memory, copy", &MemoryPasses::copy},
                                   std::pair{"memory, triad", &MemoryPasses::triad}}) {
    const double rate = add_peak(table, on_threads(what, num_threads), "GB/s", effort,
                                 [&, pass = pass] { return (memory.*pass)(); });
    bench.peaks.memory = std::max(bench.peaks.memory, rate);
  }
  return bench;
}

}  // namespace dualpath
