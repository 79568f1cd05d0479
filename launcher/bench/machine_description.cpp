#include "launcher/bench/machine_description.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <set>
#include <unistd.h>

#include "core/cuda/cuda_device.h"
#include "core/device/observed_device.h"
#include "launcher/bench/job_bench.h"
#include "launcher/bench/kernel_profile.h"
#include "launcher/bench/peak_memory.h"
#include "launcher/bench/rate_fit.h"
#include "launcher/job/kernel_choices.h"
#include "launcher/plan/job_plan.h"
#include "launcher/train/training_options.h"

namespace dualpath {

namespace {

// Models in whose steps kernels are timed, so that their operands come from where a step leaves
// them: all architectures; sizes from where overhead counts to where it does not.
struct Sample {
  Architecture architecture;
  std::int64_t layers, width, heads, kv_heads, positions, vocabulary;
  std::int64_t iterations, deep_hidden, wide_hidden, sequences;
};
constexpr Sample cpu_samples[] = {
    {Architecture::dual_path, 2, 256, 4, 4, 256, 8192, 3, 512, 2048, 4},
    {Architecture::standard, 1, 768, 12, 12, 512, 16000, 1, 0, 2048, 1},
    {Architecture::dual_path, 1, 384, 3, 1, 128, 4096, 3, 1024, 1536, 8},
    {Architecture::looped, 1, 512, 8, 8, 1024, 32000, 2, 1408, 0, 1},
    {Architecture::dual_path, 1, 128, 4, 2, 64, 1024, 2, 256, 512, 8},
    {Architecture::dual_path, 2, 64, 2, 2, 32, 512, 2, 128, 256, 4},
};
constexpr Sample gpu_samples[] = {
    {Architecture::dual_path, 1, 2048, 16, 8, 2048, 50304, 3, 1024, 8192, 4},
    {Architecture::standard, 1, 4096, 32, 8, 4096, 32000, 1, 0, 11008, 2},
    {Architecture::dual_path, 1, 1024, 8, 8, 1024, 16384, 3, 2048, 4096, 8},
    {Architecture::looped, 1, 2048, 16, 16, 1024, 8192, 2, 5632, 0, 4},
    {Architecture::dual_path, 2, 256, 4, 4, 256, 8192, 3, 512, 2048, 4},
    {Architecture::dual_path, 2, 64, 2, 2, 32, 512, 2, 128, 256, 4},
};

std::span<const Sample> samples_for(const Device& device) {
  return device.is_host_memory() ? std::span<const Sample>(cpu_samples) : gpu_samples;
}

TrainerOptions options_of(const Sample& sample, Precision precision, int num_ranks) {
  RunConfig run;
  ModelConfig& model = run.model;
  model.architecture = {sample.architecture};
  model.layers = sample.layers;
  model.hidden_size = sample.width;
  model.attention_heads = sample.heads;
  model.kv_heads = sample.kv_heads;
  model.sequence_length = sample.positions;
  model.vocab_size = sample.vocabulary;
  model.deep.iterations = sample.iterations;
  model.deep.ffn_hidden_size = sample.deep_hidden;
  model.wide.ffn_hidden_size = sample.wide_hidden;
  run.train.precision = precision;
  run.train.micro_batch_size = sample.sequences;
  run.train.global_batch_size = sample.sequences * num_ranks;
  // The kernels of a sharded vocabulary too.
  if (sample.architecture == Architecture::dual_path) {
    run.parallel.tensor = num_ranks;
    run.parallel.vocab = VocabularyLayout::sharded;
  }
  constexpr std::int64_t far_off = std::int64_t{1} << 40;
  return trainer_options(resolve(std::move(run), num_ranks, Processor::unknown), far_off);
}

// By kernel and precision.
using Calls = std::map<std::pair<std::string, Precision>, std::vector<TimedCall>>;

Precision precision_of(const KernelKind& kind) {
  const bool bf16 = std::ranges::find(kind.dtypes, DType::bf16) != kind.dtypes.end();
  return bf16 ? Precision::bf16 : Precision::fp32;
}

void time_kernels(const TrainerOptions& options, const Effort& effort, Device& device,
                  Communicator& ranks, Calls& calls) {
  Log warnings("", false);
  ObservedDevice observed(device);
  const auto stream = observed.make_stream();
  Trainer trainer(options, observed, *stream, ranks);
  const MockTokens source(1, static_cast<std::uint64_t>(options.model.vocab_size),
                          options.model.sequence_length);
  choose_kernels(trainer.model(), ranks, warnings);
  trainer.initialize();
  trainer.start(source, {});
  trainer.step({});
  KernelKinds kinds;
  KernelTimer timer(kinds, device, *stream);
  observed.observe(&timer);
  repeat_together(effort, ranks, [&] {
    timer.begin_step();
    trainer.step({});
    timer.end_step();
  });
  for (const KernelKind& kind : kinds.all()) {
    calls[{kind.name, precision_of(kind)}].push_back(
        {kind.flops, kind.bytes, summarize(kind.in_step).median / static_cast<double>(kind.calls)});
  }
}

// Those of kernels with this beginning of their name.
std::vector<TimedCall> together(const Calls& calls, std::string_view name, Precision precision) {
  std::vector<TimedCall> all;
  for (const auto& [key, some] : calls) {
    if (key.second != precision || !key.first.starts_with(name)) continue;
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

// Root of the mean square of the relative errors.
double relative_error(const KernelRate& rate, std::span<const TimedCall> calls) {
  double sum = 0;
  for (const TimedCall& c : calls) {
    const double error = seconds_of(rate, c.flops, c.bytes) / c.seconds - 1;
    sum += error * error;
  }
  return std::sqrt(sum / static_cast<double>(calls.size()));
}

// Each kernel's, the matrix products' together and those of all others, for kinds not met here.
void add_kernels(MachineDescription& description, const Calls& calls) {
  std::set<std::pair<std::string, Precision>> keys;
  for (const auto& [key, some] : calls) {
    keys.insert(key);
    keys.insert({"matmul", key.second});
    keys.insert({"", key.second});
  }
  for (const auto& [name, precision] : keys) {
    const std::vector<TimedCall> timed = together(calls, name, precision);
    KernelRate rate = fit_rate(timed);
    rate.kernel = name;
    rate.precision = precision;
    description.kernels.add({name.empty() ? "others" : name, enum_name(precision),
                             static_cast<double>(timed.size()), rate.overhead_us, rate.gflops,
                             rate.gbytes, Percent{relative_error(rate, timed)}});
    description.machine.kernels.push_back(std::move(rate));
  }
}

bool takes_bf16(const Device& device) {
  try {
    device.require({.operand = DType::bf16});
    return true;
  } catch (const Error&) {
    return false;
  }
}

// That each of a host's ranks has.
double memory_gb(const Device& device, int local_size) {
  if (const std::optional<DeviceMemory> memory = device.memory()) {
    const int gpus = std::max(1, find_cuda_devices().count);
    const int ranks_of_gpu = (local_size + gpus - 1) / gpus;
    return static_cast<double>(memory->total) / 1e9 / ranks_of_gpu;
  }
  return static_cast<double>(sysconf(_SC_PHYS_PAGES)) *
         static_cast<double>(sysconf(_SC_PAGE_SIZE)) / 1e9 / local_size;
}

// What this process takes besides the memory that was planned for a trainer, which has gone; of the
// host's the most that there was since its reset.
std::optional<double> process_bytes(const Device& device, std::size_t planned) {
  if (const std::optional<DeviceMemory> memory = device.memory())
    return static_cast<double>(memory->used);
  const std::optional<double> peak = peak_memory();
  if (!peak) return {};
  return std::max(0.0, *peak - static_cast<double>(planned));
}

}  // namespace

std::vector<LinkRate> measure_links(LinkScope scope, const Effort& effort, Device& device,
                                    Communicator& ranks) {
  constexpr std::int64_t smallest = 256, largest = std::int64_t{8} << 20;  // numbers
  std::map<Collective, std::vector<TimedCall>> messages;
  for (std::int64_t numel = smallest; numel <= largest; numel *= 32) {
    for (const TimedCollective& timed : time_collectives(numel, effort, device, ranks))
      messages[timed.kind].push_back({.bytes = timed.bytes, .seconds = timed.time.median});
  }
  const auto rounds = std::bit_width(static_cast<unsigned>(ranks.size() - 1));
  std::vector<LinkRate> links;
  for (const auto& [kind, timed] : messages) {
    const KernelRate rate = fit_rate(timed);
    links.push_back({.scope = scope,
                     .collective = name_of(kind),
                     .latency_us = rate.overhead_us / rounds,
                     .gbytes = rate.gbytes});
  }
  return links;
}

MachineDescription describe_machine(const Effort& effort, Device& device, int num_threads,
                                    int local_size, Communicator& ranks) {
  MachineDescription description{.machine = {},
                                 .kernels = Table("kernel", {{"kernel", ""},
                                                             {"precision", ""},
                                                             {"sizes", "sizes"},
                                                             {"overhead_us", "overhead us"},
                                                             {"gflops", "GFLOP/s"},
                                                             {"gbytes", "GB/s"},
                                                             {"error", "off by"}})};
  Machine& machine = description.machine;
  machine.name =
      fmt::format("{}, {} rank{} of {} thread{}", device.name(), ranks.size(),
                  ranks.size() == 1 ? "" : "s", num_threads, num_threads == 1 ? "" : "s");
  machine.processor = device.memory() ? Processor::gpu : Processor::cpu;
  machine.ranks_per_node = local_size;
  machine.memory_gb = memory_gb(device, local_size);
  Calls calls;
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    if (precision == Precision::bf16 && !takes_bf16(device)) continue;
    for (const Sample& sample : samples_for(device)) {
      const TrainerOptions options = options_of(sample, precision, ranks.size());
      // The memory of the first trainer only: a run has one, and each leaves some in the libraries.
      const bool is_first = calls.empty();
      reset_peak_memory();
      time_kernels(options, effort, device, ranks, calls);
      const std::size_t planned = plan_memory(options, ranks.rank()).total();
      if (is_first) machine.process_mb = process_bytes(device, planned).value_or(0) / 1e6;
    }
  }
  add_kernels(description, calls);
  if (ranks.size() > 1) {
    const LinkScope scope = local_size == ranks.size() ? LinkScope::node : LinkScope::network;
    machine.links = measure_links(scope, effort, device, ranks);
  }
  return description;
}

}  // namespace dualpath
