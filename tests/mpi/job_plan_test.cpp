// What is planned is what a trainer then takes: every byte, and every layer once.
#include "launcher/job_plan.h"

#include <algorithm>
#include <gtest/gtest.h>

#include "core/cpu/cpu_device.h"
#include "tests/mpi/grid_rig.h"
#include "tests/mpi/world.h"
#include "tests/numbers.h"

namespace dualpath {
namespace {

// Counts what is allocated on the CPU.
class CountingDevice final : public Device {
 public:
  std::size_t bytes = 0;

  std::string name() const override { return cpu_->name(); }
  void require(const NumericTypes& types) const override { cpu_->require(types); }
  Buffer allocate(std::size_t size) override {
    bytes += size;
    return cpu_->allocate(size);
  }
  std::size_t num_allocations() const override { return cpu_->num_allocations(); }
  std::unique_ptr<Stream> make_stream() override { return cpu_->make_stream(); }
  std::unique_ptr<Stream> make_threaded_stream() override { return cpu_->make_threaded_stream(); }
  std::unique_ptr<Ops> make_ops(Stream& stream) override { return cpu_->make_ops(stream); }
  void copy_to_device(Tensor dst, const void* host, Stream& stream) override {
    cpu_->copy_to_device(dst, host, stream);
  }
  void copy_to_host(void* host, Tensor src, Stream& stream) override {
    cpu_->copy_to_host(host, src, stream);
  }

 private:
  std::unique_ptr<Device> cpu_ = make_cpu_device(1);
};

std::vector<TrainerOptions> cases() {
  std::vector<TrainerOptions> all;
  for (const auto& [name, types] : cpu_numbers()) {
    for (ParallelConfig layout : layouts_of(world().size())) {
      for (const Recompute recompute : {Recompute::none, Recompute::iteration, Recompute::layer}) {
        layout.recompute = recompute;
        all.push_back(
            grid_options(Architecture::dual_path, types, resolve(layout, world().size(), false)));
      }
      layout.overlap = Overlap::on;
      all.push_back(
          grid_options(Architecture::dual_path, types, resolve(layout, world().size(), false)));
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
    const JobPlan plan = plan_job(options);
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
  TrainerOptions options =
      grid_options(Architecture::dual_path, fp32, resolve({}, world().size(), false));
  const double passes = forecast_passes(options).makespan;
  double bytes = 0;
  for (const Traffic& group : plan_job(options).stages[0].traffic.groups)
    bytes += static_cast<double>(group.total_bytes());
  const Rates rates{.flops = 1000, .link_bytes = 10};
  EXPECT_DOUBLE_EQ(forecast_step(options, rates), passes / 1000 + bytes / 10);
  options.parallel.overlap = Overlap::on;
  const double one_pass = passes / static_cast<double>(batch_layout(options, 0).accumulation);
  EXPECT_DOUBLE_EQ(forecast_step(options, rates),
                   passes / 1000 + std::max(0.0, bytes / 10 - one_pass / 1000));
}

}  // namespace
}  // namespace dualpath
