#include "launcher/bench/step_bench.h"

#include <algorithm>
#include <fstream>
#include <map>
#include <numeric>

#include "launcher/bench/observed_device.h"
#include "launcher/training_run.h"
#include "model/counts.h"

namespace dualpath {
namespace {

// Learning-rate schedules want an end: far off.
constexpr std::int64_t many_steps = std::int64_t{1} << 40;

// The kernel's high-water mark of this process's memory, in bytes, since the last reset.
void reset_peak_memory() {
  std::ofstream("/proc/self/clear_refs") << "5";
}
std::optional<double> peak_memory() {
  std::ifstream file("/proc/self/status");
  std::string word;
  while (file >> word) {
    double kibibytes = 0;
    if (word == "VmHWM:" && file >> kibibytes) return 1024 * kibibytes;
  }
  return std::nullopt;
}

// Several kinds taken together: one line of the kernels' table.
struct KernelGroup {
  std::string name;
  std::string shapes;
  std::vector<const KernelKind*> kinds;

  double sum(auto&& of_kind) const {
    return std::accumulate(
        kinds.begin(), kinds.end(), 0.0,
        [&](double sum, const KernelKind* kind) { return sum + of_kind(*kind); });
  }
};

double calls(const KernelKind& kind) {
  return static_cast<double>(kind.calls);
}
double median_in_step(const KernelKind& kind) {
  return kind.in_step_timing().median;
}
double best_in_step(const KernelKind& kind) {
  return kind.in_step_timing().best;
}
double median_alone(const KernelKind& kind) {
  return calls(kind) * kind.alone.median;
}
double best_alone(const KernelKind& kind) {
  return calls(kind) * kind.alone.best;
}
double flops(const KernelKind& kind) {
  return calls(kind) * kind.flops;
}
double bytes(const KernelKind& kind) {
  return calls(kind) * kind.bytes;
}

std::vector<KernelGroup> group_kinds(const KernelKinds& kinds, bool by_shape) {
  std::vector<KernelGroup> groups;
  for (const KernelKind& kind : kinds.all()) {
    const std::string shapes = by_shape ? kind.shapes_text() : "";
    auto group = std::ranges::find_if(
        groups, [&](const KernelGroup& g) { return g.name == kind.name && g.shapes == shapes; });
    if (group == groups.end()) group = groups.insert(group, {kind.name, shapes, {}});
    group->kinds.push_back(&kind);
  }
  std::ranges::stable_sort(groups, std::greater(),
                           [](const KernelGroup& group) { return group.sum(median_in_step); });
  return groups;
}

Table kernel_table(const KernelKinds& kinds, bool by_shape, double step_seconds,
                   const MachinePeaks& peaks) {
  std::vector<Column> columns = {{"kernel", ""},
                                 {"calls", "calls"},
                                 {"step_ms", "step ms"},
                                 {"step_best_ms", "best"},
                                 {"share_of_step", "of step"},
                                 {"rate", "rate"},
                                 {"unit", ""},
                                 {"share_of_peak", "of peak"},
                                 {"alone_ms", "alone ms"},
                                 {"alone_best_ms", "best"},
                                 {"step_over_alone", "step/alone"}};
  if (by_shape) columns.push_back({"shapes", "operands"});
  Table table(by_shape ? "kernels by shape" : "kernels", columns);
  for (const KernelGroup& group : group_kinds(kinds, by_shape)) {
    const double seconds = group.sum(median_in_step);
    const bool multiplies = group.sum(flops) > 0;
    const double ideal = group.sum([&](const KernelKind& k) { return k.seconds_at_peak(peaks); });
    std::vector<Cell> row = {group.name,
                             group.sum(calls),
                             1e3 * seconds,
                             1e3 * group.sum(best_in_step),
                             Percent{seconds / step_seconds},
                             (multiplies ? group.sum(flops) : group.sum(bytes)) / seconds / 1e9,
                             multiplies ? "GFLOP/s" : "GB/s",
                             Percent{ideal / seconds},
                             1e3 * group.sum(median_alone),
                             1e3 * group.sum(best_alone),
                             seconds / group.sum(median_alone)};
    if (by_shape) row.emplace_back(group.shapes);
    table.add(std::move(row));
  }
  return table;
}

// The trainer of a configuration on an observed device, some steps past its start.
class StepRig {
 public:
  StepRig(const BenchConfig& config, const SampleSource& source, Device& device,
          Communicator& ranks)
      : effort_(config.bench.effort()),
        ranks_(ranks),
        device_(device),
        stream_(device_.make_stream()),
        trainer_(trainer_options(config.run, many_steps), device_, *stream_, ranks) {
    trainer_.initialize();
    trainer_.start(source, {});
    step();
  }

  StepResult step() { return trainer_.step({}); }

  // Calls body() as often as rank 0's clock says. Collective.
  template <class Body>
  void repeat(const Body& body) {
    const double since = now_seconds();
    for (std::int64_t done = 0;; ++done) {
      const bool more = effort_.wants_more(done, since);
      if (ranks_.broadcast(std::string(more ? "more" : ""), 0).empty()) return;
      body();
    }
  }

  // What the kernels of a step are, and their times.
  KernelKinds profile(const Effort& kernel_effort) {
    KernelKinds kinds;
    KernelTimer timer(kinds);
    device_.observe(&timer);
    repeat([&] {
      timer.begin_step();
      step();
      timer.end_step();
    });
    KernelRepeater repeater(kinds, device_, kernel_effort);
    device_.observe(&repeater);
    step();
    device_.observe(nullptr);
    return kinds;
  }

 private:
  Effort effort_;
  Communicator& ranks_;
  ObservedDevice device_;
  std::unique_ptr<Stream> stream_;
  Trainer trainer_;
};

struct StepTimes {
  Timing step, communication, data_wait;
};

StepTimes time_steps(StepRig& rig) {
  std::vector<double> step, communication, data_wait;
  rig.repeat([&] {
    StepResult result;
    step.push_back(time_of([&] { result = rig.step(); }));
    communication.push_back(result.communication_ms / 1e3);
    data_wait.push_back(result.data_wait_ms / 1e3);
  });
  return {summarize(step), summarize(communication), summarize(data_wait)};
}

bool any_half_precision(const KernelKinds& kinds) {
  return std::ranges::any_of(kinds.all(), &KernelKind::half_precision);
}

}  // namespace

StepBench measure_step(const BenchConfig& config, const SampleSource& source,
                       const MachinePeaks& peaks, Device& device, Communicator& ranks) {
  reset_peak_memory();
  StepRig rig(config, source, device, ranks);
  const StepTimes times = time_steps(rig);
  const std::optional<double> memory = peak_memory();
  const KernelKinds kinds = rig.profile(config.bench.kernel_effort());
  const KernelGroup all = {"", "", [&] {
                             std::vector<const KernelKind*> pointers;
                             for (const KernelKind& kind : kinds.all()) pointers.push_back(&kind);
                             return pointers;
                           }()};

  const double step_seconds = times.step.median;
  const auto tokens =
      static_cast<double>(config.run.train.global_batch_size * config.run.model.sequence_length);
  const double model_flops =
      tokens / ranks.size() * training_flops(config.run.model, AttentionFlops::causal);
  const bool half = any_half_precision(kinds);
  const double peak = half ? peaks.half_precision() : peaks.fp32;
  const Timing in_step = {all.sum(median_in_step), all.sum(best_in_step)};
  const Timing alone = {all.sum(median_alone), all.sum(best_alone)};

  StepBench bench{.kernels = kernel_table(kinds, false, step_seconds, peaks),
                  .shapes = kernel_table(kinds, true, step_seconds, peaks)};
  bench.step.add("step", {.time = times.step, .value = tokens / step_seconds, .unit = "tokens/s"});
  bench.step.add(half ? "model FLOPs a rank, of bf16 peak" : "model FLOPs a rank, of fp32 peak",
                 {.value = model_flops / step_seconds / 1e9,
                  .unit = "GFLOP/s",
                  .share = model_flops / step_seconds / peak});
  bench.step.add("kernels' products, recomputation included",
                 {.value = all.sum(flops) / step_seconds / 1e9, .unit = "GFLOP/s"});
  bench.step.add("communication", {.time = times.communication});
  bench.step.add("waiting for data", {.time = times.data_wait});
  bench.step.add("kernels, within the step", {.time = in_step});
  bench.step.add("kernels, each alone", {.time = alone});
  bench.step.add("step / kernels alone",
                 {.value = step_seconds / alone.median, .unit = "x (medians)"});
  bench.step.add("step / kernels alone",
                 {.value = times.step.best / alone.best, .unit = "x (bests)"});
  if (memory) bench.step.add("peak memory a rank", {.value = *memory / 1e9, .unit = "GB"});
  return bench;
}

}  // namespace dualpath
