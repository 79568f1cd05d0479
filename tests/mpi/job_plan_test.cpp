// What is planned is what a trainer then takes: every byte, and every layer once.
#include "launcher/plan/job_plan.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <set>

#include "core/cpu/cpu_device.h"
#include "core/device/observed_device.h"
#include "launcher/plan/machine_model.h"
#include "tests/forwarding_device.h"
#include "tests/mpi/grid_rig.h"
#include "tests/mpi/world.h"
#include "tests/numbers.h"

namespace dualpath {
namespace {

// Counts what is allocated on the CPU.
class CountingDevice final : public ForwardingDevice {
 public:
  CountingDevice() : ForwardingDevice(make_cpu_device(1)) {}
  std::size_t bytes = 0;

  Buffer allocate(std::size_t size) override {
    bytes += size;
    return device().allocate(size);
  }
};

std::vector<TrainerOptions> cases() {
  std::vector<TrainerOptions> all;
  for (const auto& [name, types] : cpu_numbers()) {
    for (ParallelConfig layout : layouts_of(world().size())) {
      for (const Recompute recompute : {Recompute::none, Recompute::iteration, Recompute::layer}) {
        layout.recompute = recompute;
        all.push_back(
            grid_options(Architecture::dual_path, types, resolve(layout, world().size())));
      }
      layout.overlap = Overlap::on;
      all.push_back(grid_options(Architecture::dual_path, types, resolve(layout, world().size())));
      all.back().model.tied_embeddings = true;
    }
  }
  return all;
}

TEST(JobPlan, MemoryIsWhatATrainerAllocates) {
  for (const TrainerOptions& options : cases()) {
    SCOPED_TRACE(describe(options.parallel));
    const RankMemory planned = plan_memory(options, world().rank());
    CountingDevice device;
    const std::unique_ptr<Stream> stream = device.make_stream();
    Trainer trainer(options, device, *stream, world());
    const ParameterStore& parameters = trainer.model().parameters();
    const ActivationMemory& activations = trainer.model().activation_memory();
    EXPECT_EQ(planned.values, parameters.value_bytes());
    EXPECT_EQ(planned.copies, parameters.operand_bytes());
    EXPECT_EQ(planned.gradients, parameters.flat_gradients().bytes());
    EXPECT_EQ(planned.moments, trainer.moment_bytes());
    EXPECT_EQ(planned.activations.stash_bytes, activations.stash_bytes);
    EXPECT_EQ(planned.activations.scratch_bytes, activations.scratch_bytes);
    EXPECT_EQ(planned.total(), device.bytes);
  }
}

TEST(JobPlan, StagesHaveEveryLayerOnceAndTheFullestRank) {
  for (const TrainerOptions& options : cases()) {
    SCOPED_TRACE(describe(options.parallel));
    const JobPlan plan = plan_job(options, counting_flops());
    std::int64_t layers = 0;
    double share = 0, idle = 0;
    for (const StagePlanned& stage : plan.stages) {
      for (const StageLayers& piece : stage.layout.part.stages) layers += piece.end - piece.begin;
      share += stage.cost_share;
      idle += stage.idle;
    }
    const auto stages = static_cast<double>(plan.stages.size());
    EXPECT_EQ(layers, options.model.layers);
    EXPECT_NEAR(share, 1, 1e-12);
    EXPECT_NEAR(idle / stages, plan.bubble_fraction, 1e-12);
    const int own = coord_of(world().rank(), grid_shape(options.parallel)).pipeline;
    EXPECT_LE(plan_memory(options, world().rank()).total(),
              plan.stages[static_cast<std::size_t>(own)].memory.total());
  }
}

// On the data axis alone: the passes of each micro-batch, then all that is sent. Where
// communication overlaps, one forward and one backward pass hide it.
TEST(JobPlan, TimeFollowsFromRates) {
  TrainerOptions options = grid_options(Architecture::dual_path, fp32, resolve({}, world().size()));
  const double passes = forecast_step(options, counting_flops()).passes.makespan;
  double bytes = 0, calls = 0;
  const JobPlan plan = plan_job(options, counting_flops());
  for (const Traffic& group : plan.stages[0].traffic.groups) {
    bytes += static_cast<double>(group.total_bytes());
    for (const Traffic::Count& count : group.counts) calls += static_cast<double>(count.calls);
  }
  Machine machine = counting_flops();
  machine.kernels = {{.gflops = 1e-6}};  // 1000 a second
  machine.links = {{.latency_us = 1e6, .gbytes = 1e-8}};
  const double rounds = std::ceil(std::log2(world().size()));
  const double sending = world().size() == 1 ? 0 : bytes / 10 + calls * rounds;
  EXPECT_NEAR(forecast_step(options, machine).seconds(), passes / 1000 + sending, 1e-9 * passes);
  options.parallel.overlap = Overlap::on;
  const double one_pass = passes / static_cast<double>(batch_layout(options, 0).accumulation);
  EXPECT_NEAR(forecast_step(options, machine).seconds(),
              passes / 1000 + std::max(0.0, sending - one_pass / 1000), 1e-9 * passes);
}

// What the calls of a step take on a machine, each as it is issued.
class CallCosts final : public KernelObserver {
 public:
  explicit CallCosts(const Machine& machine) : machine_(machine) {}
  void on_call(const KernelCall& call, Stream&) override {
    call.issue();
    names.insert(call.name);
    const bool bf16 = std::ranges::any_of(
        call.operands, [](const Operand& o) { return o.tensor.dtype == DType::bf16; });
    const KernelRate& rate = rate_of(machine_, call.name, bf16 ? Precision::bf16 : Precision::fp32);
    seconds += seconds_of(rate, call.flops, call.bytes);
  }
  std::set<std::string> names;
  double seconds = 0;

 private:
  const Machine& machine_;
};

// Rates that tell every kernel's calls, FLOPs and bytes from all others'.
Machine telling_machine(const std::set<std::string>& names) {
  Machine machine = counting_flops();
  double i = 1;
  for (const std::string& name : names) {
    for (const Precision precision : {Precision::fp32, Precision::bf16}) {
      machine.kernels.push_back({name, precision, 1e6 * std::sqrt(i), 1e-3 / i, 1e-3 / (i + 0.5)});
      i += 1;
    }
  }
  return machine;
}

TEST(StepForecast, CountsEveryCallOfAStep) {
  for (TrainerOptions options : cases()) {
    SCOPED_TRACE(describe(options.parallel));
    const std::unique_ptr<Device> cpu = make_cpu_device(1);
    ObservedDevice device(*cpu);
    const std::unique_ptr<Stream> stream = device.make_stream();
    const MockTokens source(1, static_cast<std::uint64_t>(options.model.vocab_size),
                            options.model.sequence_length);
    Trainer trainer(options, device, *stream, world());
    trainer.initialize();
    trainer.start(source, {});
    const Machine unit = counting_flops();
    CallCosts names(unit);
    device.observe(&names);
    trainer.step({});
    const Machine machine = telling_machine(names.names);
    CallCosts costs(machine);
    device.observe(&costs);
    trainer.step({});
    const StepForecast forecast = forecast_step(options, machine);
    for (std::size_t s = 0; s < forecast.stages.size(); ++s) {
      const StageForecast& stage = forecast.stages[s];
      if (stage.rank != world().rank()) continue;
      EXPECT_NEAR((forecast.passes.busy[s] + stage.update) / costs.seconds, 1, 1e-9);
    }
  }
}

}  // namespace
}  // namespace dualpath
