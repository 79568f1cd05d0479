#include "launcher/bench/job_bench.h"

#include <cstdio>
#include <filesystem>
#include <optional>

#include "data/checkpoints/checkpoint_names.h"
#include "data/checkpoints/checkpoint_store.h"
#include "launcher/common/work_folder.h"
#include "launcher/train/training_options.h"
#include "model/counts.h"
#include "model/resolve_config.h"
#include "parallel/run_together.h"

namespace dualpath {
namespace {

std::string binary_size(std::int64_t bytes) {
  if (bytes >= 1 << 20) return fmt::format("{} MiB", bytes >> 20);
  return fmt::format("{} KiB", bytes >> 10);
}

// A new folder that goes with this object, and with it those that killed processes left.
// Collective.
class SharedTemporaryFolder {
 public:
  SharedTemporaryFolder(const std::string& parent, Communicator& ranks) {
    path_ = run_on_root(ranks, "bench.folder", [&] {
      const std::filesystem::path prefix = std::filesystem::path(parent) / "dualpath-bench-";
      for (const std::filesystem::path& folder : remove_abandoned(prefix).removed)
        fmt::print(stderr, "{} is removed: its process was killed\n", folder.string());
      return folder_.emplace(prefix, ExitCode::checkpoint).path().string();
    });
  }
  const std::string& path() const { return path_; }

 private:
  std::optional<WorkFolder> folder_;  // on rank 0
  std::string path_;
};

}  // namespace

std::vector<TimedCollective> time_collectives(std::int64_t numel, const Effort& effort,
                                              Device& device, Communicator& ranks) {
  const auto stream = device.make_stream();
  const std::size_t bytes = static_cast<std::size_t>(numel) * sizeof(float);
  const Buffer buffer = device.allocate(bytes), other_buffer = device.allocate(bytes);
  std::vector<TimedCollective> timed;
  const auto add = [&](Collective kind, auto issue) {
    const Traffic before = ranks.traffic();
    const Timing time = measure_together(effort, ranks, [&] {
      issue();
      stream->synchronize();
    });
    const Traffic::Count& now = ranks.traffic()[kind];
    timed.push_back({kind,
                     static_cast<double>(now.bytes - before[kind].bytes) /
                         static_cast<double>(now.calls - before[kind].calls),
                     time});
  };
  const int size = ranks.size(), next = (ranks.rank() + 1) % size;
  const int before = (ranks.rank() + size - 1) % size;
  const Tensor data{buffer.data(), DType::f32, {numel}};
  const std::int64_t part_numel = numel / size;
  const Tensor whole = data.slice(0, part_numel * size);
  const Tensor part = data.slice(part_numel * ranks.rank(), part_numel * (ranks.rank() + 1));
  const Transfer around[] = {{data, next, true},
                             {{other_buffer.data(), DType::f32, {numel}}, before, false}};
  add(Collective::all_reduce, [&] { ranks.all_reduce(data, Reduce::sum, *stream); });
  add(Collective::all_gather, [&] { ranks.all_gather(whole, part, *stream); });
  add(Collective::reduce_scatter, [&] { ranks.reduce_scatter(part, whole, *stream); });
  add(Collective::exchange, [&] { ranks.exchange(around, *stream); });
  return timed;
}

MeasuredTable measure_collectives(const ResolvedBenchConfig& config, const MachinePeaks& peaks,
                                  Device& device, Communicator& ranks) {
  MeasuredTable table(fmt::format("collectives, {} ranks", ranks.size()));
  const auto add_all = [&](const std::string& what, std::int64_t numel) {
    for (const TimedCollective& timed :
         time_collectives(numel, config.bench.short_effort(), device, ranks)) {
      const double rate = timed.bytes / timed.time.median;
      table.add(
          fmt::format("{}, {}", name_of(timed.kind), what),
          {.time = timed.time, .value = rate / 1e9, .unit = "GB/s", .share = rate / peaks.memory});
    }
  };
  constexpr std::int64_t largest = (std::int64_t{32} << 20) / sizeof(float);
  for (std::int64_t numel = 256; numel <= largest; numel *= 32)
    add_all(binary_size(numel * static_cast<std::int64_t>(sizeof(float))), numel);
  add_all("the model's gradients", model_parameters(resolve(config.run.model)));
  return table;
}

MeasuredTable measure_checkpoint(const ResolvedBenchConfig& config, const std::string& folder,
                                 const MachinePeaks& peaks, Device& device, Communicator& ranks) {
  const auto stream = device.make_stream();
  Trainer trainer(trainer_options(config.run, 1), device, *stream, ranks);
  trainer.initialize();
  const std::vector<TensorSlice> state = trainer.state();
  double bytes = 0;
  for (const TensorSlice& slice : state)
    bytes +=
        static_cast<double>(slice.end - slice.begin) * static_cast<double>(size_of(slice.dtype));

  const SliceAccess memory(device, *stream);
  const SharedTemporaryFolder temporary(folder, ranks);
  MeasuredTable table("checkpoint");
  const auto add = [&](const std::string& what, const Timing& time) {
    table.add(fmt::format("{} {} MB", what, std::llround(bytes / 1e6)),
              {.time = time,
               .value = bytes / time.median / 1e9,
               .unit = "GB/s",
               .share = bytes / time.median / peaks.memory});
  };
  CheckpointManifest manifest;
  manifest.model = print_config(config.run.model);
  add("all ranks save", measure_together(config.bench.effort(), ranks, [&] {
        save_checkpoint(temporary.path(), manifest, trainer.state_to_save(), ranks, memory);
      }));
  const Checkpoint saved = open_checkpoint(temporary.path() + "/" + checkpoint_name(manifest.step));
  add("each rank loads",
      measure_together(config.bench.effort(), ranks, [&] { load_slices(saved, state, memory); }));
  ranks.barrier();
  return table;
}

}  // namespace dualpath
