#include "launcher/bench/step_bench.h"

#include <algorithm>

#include "core/device/observed_device.h"
#include "launcher/bench/peak_memory.h"
#include "launcher/job/device_peaks.h"
#include "launcher/job/kernel_choices.h"
#include "launcher/train/training_options.h"
#include "model/counts.h"
#include "model/resolve_config.h"

namespace dualpath {
namespace {

// Learning-rate schedules want an end: far off.
constexpr std::int64_t many_steps = std::int64_t{1} << 40;

// The calls of several kinds in one step, taken together.
struct KernelTotals {
  double calls = 0, flops = 0, bytes = 0, seconds_at_peak = 0;
  Timing in_step, alone;

  void add(const KernelKind& kind, const MachinePeaks& peaks) {
    const auto n = static_cast<double>(kind.calls);
    calls += n;
    flops += n * kind.flops;
    bytes += n * kind.bytes;
    seconds_at_peak += kind.seconds_at_peak(peaks);
    const Timing timing = summarize(kind.in_step);
    in_step.median += timing.median;
    in_step.best += timing.best;
    alone.median += n * kind.alone.median;
    alone.best += n * kind.alone.best;
  }
};

struct KernelLine {
  std::string name, shapes;
  KernelTotals totals;
};

// Longest first.
std::vector<KernelLine> kernel_lines(const KernelKinds& kinds, bool by_shape,
                                     const MachinePeaks& peaks) {
  std::vector<KernelLine> lines;
  for (const KernelKind& kind : kinds.all()) {
    const std::string shapes = by_shape ? kind.shapes_text() : "";
    auto line = std::ranges::find_if(
        lines, [&](const KernelLine& l) { return l.name == kind.name && l.shapes == shapes; });
    if (line == lines.end()) line = lines.insert(line, {kind.name, shapes, {}});
    line->totals.add(kind, peaks);
  }
  std::ranges::stable_sort(lines, std::greater(),
                           [](const KernelLine& line) { return line.totals.in_step.median; });
  return lines;
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
  Table table("kernels", columns);
  for (const KernelLine& line : kernel_lines(kinds, by_shape, peaks)) {
    const KernelTotals& t = line.totals;
    const bool multiplies = t.flops > 0;
    std::vector<Cell> row = {line.name,
                             t.calls,
                             1e3 * t.in_step.median,
                             1e3 * t.in_step.best,
                             Percent{t.in_step.median / step_seconds},
                             (multiplies ? t.flops : t.bytes) / t.in_step.median / 1e9,
                             multiplies ? "GFLOP/s" : "GB/s",
                             Percent{t.seconds_at_peak / t.in_step.median},
                             1e3 * t.alone.median,
                             1e3 * t.alone.best,
                             t.in_step.median / t.alone.median};
    if (by_shape) row.emplace_back(line.shapes);
    table.add(std::move(row));
  }
  return table;
}

struct StepTimes {
  Timing step, communication, data_wait;
};

// The trainer of a configuration on an observed device, past the steps that prepare others.
class StepRig {
 public:
  StepRig(const ResolvedBenchConfig& config, const SampleSource& source, Device& device,
          Communicator& ranks, Log& log)
      : config_(config),
        ranks_(ranks),
        device_(device),
        observed_(device),
        stream_(device.make_stream()),
        trainer_(trainer_options(config.run, many_steps), observed_, *stream_, ranks),
        attention_(choose_kernels(trainer_.model(), ranks, log)) {
    trainer_.initialize();
    trainer_.start(source, {});
    trainer_.step({});
    if (!device.is_host_memory()) trainer_.step({});  // records CUDA graphs
  }

  // Where the device works on after a step has returned: the times from one step to the next.
  StepTimes time_steps() {
    std::vector<double> step, communication, data_wait;
    repeat_together(config_.bench.effort(), ranks_, [&] {
      StepResult result;
      step.push_back(time_of([&] { result = trainer_.step({}); }));
      communication.push_back(result.communication.total_ms() / 1e3);
      data_wait.push_back(result.data_wait_ms / 1e3);
    });
    return {summarize(step), summarize(communication), summarize(data_wait)};
  }

  std::string describe_graphs() const { return trainer_.describe_graphs(); }
  const std::vector<std::string>& attention() const { return attention_; }

  // Fills in the kinds' times within steps and alone; returns the time of the steps.
  Timing profile(KernelKinds& kinds) {
    KernelTimer timer(kinds, device_, *stream_);
    observed_.observe(&timer);
    std::vector<double> seconds;
    repeat_together(config_.bench.effort(), ranks_, [&] {
      timer.begin_step();
      seconds.push_back(time_of([&] {
        trainer_.step({});
        timer.end_step();
      }));
    });
    KernelRepeater repeater(kinds, device_, *stream_, config_.bench.kernel_effort());
    observed_.observe(&repeater);
    trainer_.step({});
    observed_.observe(nullptr);
    return summarize(std::move(seconds));
  }

 private:
  const ResolvedBenchConfig& config_;
  Communicator& ranks_;
  Device& device_;
  ObservedDevice observed_;
  std::unique_ptr<Stream> stream_;
  Trainer trainer_;
  std::vector<std::string> attention_;
};

}  // namespace

StepBench measure_step(const ResolvedBenchConfig& config, const SampleSource& source,
                       const MachinePeaks& peaks, Device& device, Communicator& ranks, Log& log) {
  reset_peak_memory();
  StepRig rig(config, source, device, ranks, log);
  const StepTimes times = rig.time_steps();
  const std::string graphs = device.is_host_memory() ? "" : rig.describe_graphs();
  const std::optional<double> host_memory = peak_memory();
  const std::optional<DeviceMemory> device_memory = device.memory();
  const TrainConfig& train = config.run.train;
  const ModelConfig& model = config.run.model;
  const auto tokens = static_cast<double>(train.global_batch_size * model.sequence_length);
  // Known whatever becomes of the rest.
  log.info("step: {:.1f} ms, {:.0f} tokens/s; next, its kernels", 1e3 * times.step.median,
           tokens / times.step.median);
  KernelKinds kinds;
  const Timing timed_step = rig.profile(kinds);

  KernelTotals all;
  for (const KernelKind& kind : kinds.all()) all.add(kind, peaks);
  const double seconds = times.step.median;
  const double gigaflops =
      tokens / ranks.size() * training_flops(resolve(model), AttentionFlops::causal) / 1e9;
  const bool is_bf16 = std::ranges::any_of(kinds.all(), &KernelKind::is_bf16);
  const double peak = is_bf16 ? peaks.of_bf16() : peaks.fp32;

  StepBench bench{.step = MeasuredTable("training step"),
                  .kernels = kernel_table(kinds, config.bench.shapes, seconds, peaks),
                  .graphs = graphs,
                  .attention = rig.attention()};
  MeasuredTable& table = bench.step;
  table.add("step", {.time = times.step, .value = tokens / seconds, .unit = "tokens/s"});
  table.add(
      is_bf16 ? "model FLOPs a rank, of bf16 peak" : "model FLOPs a rank, of fp32 peak",
      {.value = gigaflops / seconds, .unit = "GFLOP/s", .share = 1e9 * gigaflops / seconds / peak});
  if (const std::optional<double> tflops = bf16_peak_tflops(device.name())) {
    table.add(
        "MFU, of the data sheet's bf16 peak",
        {.value = *tflops * 1e3, .unit = "GFLOP/s", .share = gigaflops / seconds / *tflops / 1e3});
  }
  table.add("communication", {.time = times.communication});
  table.add("waiting for data", {.time = times.data_wait});
  table.add("step, every kernel timed", {.time = timed_step});
  table.add("its kernels", {.time = all.in_step});
  table.add("its kernels alone",
            {.time = all.alone, .value = all.flops / all.alone.median / 1e9, .unit = "GFLOP/s"});
  table.add("step / kernels alone", {.value = seconds / all.alone.median, .unit = "by medians"});
  table.add("step / kernels alone",
            {.value = times.step.best / all.alone.best, .unit = "by bests"});
  if (device_memory)
    table.add("GPU memory, of all its processes",
              {.value = static_cast<double>(device_memory->used) / 1e9, .unit = "GB"});
  if (host_memory)
    table.add(device_memory ? "peak memory of the host a rank" : "peak memory a rank",
              {.value = *host_memory / 1e9, .unit = "GB"});
  return bench;
}

}  // namespace dualpath
