// What travels for the wide path travels while the deep loop runs. Two ranks of a tensor axis.
#include <algorithm>
#include <atomic>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "core/cpu/cpu_device.h"
#include "core/device/observed_device.h"
#include "tests/mpi/delayed_communicator.h"
#include "tests/mpi/grid_rig.h"
#include "tests/mpi/world.h"

namespace dualpath {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::int64_t iterations = 4;

TrainerOptions options_with(Overlap overlap) {
  ParallelConfig parallel;
  parallel.tensor = 2;
  parallel.overlap = overlap;
  TrainerOptions o = grid_options(Architecture::dual_path, fp32, parallel);
  o.model.layers = 2;
  o.global_batch_size = 2;
  o.model.hidden_size = 128;
  o.model.sequence_length = 256;
  o.model.deep.iterations = iterations;
  o.model.deep.ffn_hidden_size = 256;
  o.model.wide.ffn_hidden_size = 512;
  return o;
}

class KernelCounter final : public KernelObserver {
 public:
  void on_call(const KernelCall& call, Stream&) override {
    call.issue();
    ++count;
  }
  std::atomic<int> count = 0;
};

// An operation of the tensor axis does not begin before the computing thread has gone through
// `patience` kernels more. Where that thread waits for it earlier, it gives up: `hasty` counts
// that.
class PatientCommunicator final : public ForwardingCommunicator {
 public:
  PatientCommunicator(std::unique_ptr<Communicator> ranks, const KernelCounter& kernels,
                      int patience, std::atomic<int>& hasty)
      : ForwardingCommunicator(std::move(ranks)),
        kernels_(kernels),
        patience_(patience),
        hasty_(hasty) {}

  std::unique_ptr<Communicator> split(int color, int key, const std::string& name) override {
    return std::make_unique<PatientCommunicator>(base().split(color, key, name), kernels_,
                                                 patience_, hasty_);
  }

 private:
  void before(Stream& stream) override {
    if (name() != "tensor") return;
    stream.run([&kernels = kernels_.count, &hasty = hasty_, until = kernels_.count + patience_] {
      const auto give_up = Clock::now() + seconds(20);
      while (kernels < until && Clock::now() < give_up)
        std::this_thread::sleep_for(microseconds(50));
      if (kernels < until) ++hasty;
    });
  }

  const KernelCounter& kernels_;
  int patience_;
  std::atomic<int>& hasty_;
};

// Half the loop's iterations lie between the start of an operation and its end: at the least ten
// kernels each, in the forward pass (norm, q/k/v, rotation, attention, projection, residual, two
// products, SwiGLU, residual, mixture).
TEST(Overlap, HalfTheLoopHidesEachOperationOfTheTensorAxis) {
  ASSERT_EQ(world().size(), 2);
  const auto cpu = make_cpu_device(1);
  ObservedDevice device(*cpu);
  const auto stream = device.make_stream();
  KernelCounter kernels;
  device.observe(&kernels);
  std::atomic<int> hasty = 0;
  PatientCommunicator ranks(world().split(0, 0, "all"), kernels, 10 * iterations / 2, hasty);
  const TrainerOptions options = options_with(Overlap::on);
  MockTokens source(9, 31, options.model.sequence_length);
  Trainer trainer(options, device, *stream, ranks);
  trainer.initialize();
  trainer.start(source, {});
  trainer.step({});
  EXPECT_EQ(hasty, 0);
}

struct Outcome {
  std::vector<double> losses;
  double step_ms;  // median
};

Outcome train_with(Overlap overlap, microseconds delay) {
  DelayedCommunicator ranks(world().split(0, 0, "all"), delay, "tensor");
  GridRig rig(options_with(overlap), ranks);
  rig.train(1);
  Outcome result;
  std::vector<double> times;
  for (int i = 0; i < 7; ++i) {
    const auto start = Clock::now();
    result.losses.push_back(rig.go_on(1).losses[0]);
    times.push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count());
  }
  std::ranges::sort(times);
  result.step_ms = times[times.size() / 2];
  return result;
}

// The times are printed for people; only the losses are held to account.
TEST(Overlap, DelaysChangeNoLoss) {
  const Outcome in_place = train_with(Overlap::off, microseconds(0));
  const Outcome overlapped = train_with(Overlap::on, microseconds(0));
  EXPECT_EQ(overlapped.losses, in_place.losses);
  for (const milliseconds delay : {milliseconds(2), milliseconds(8)}) {
    const Outcome late_in_place = train_with(Overlap::off, delay);
    const Outcome late = train_with(Overlap::on, delay);
    EXPECT_EQ(late_in_place.losses, in_place.losses);
    EXPECT_EQ(late.losses, in_place.losses);
    if (world().rank() != 0) continue;
    fmt::print(
        "tensor axis {} ms late: a step of {:.1f} ms takes {:.1f}; overlapped, {:.1f} takes "
        "{:.1f}\n",
        delay.count(), in_place.step_ms, late_in_place.step_ms, overlapped.step_ms, late.step_ms);
  }
}

}  // namespace
}  // namespace dualpath
