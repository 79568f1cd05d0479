// Where a training step's time goes, kernel by kernel: within the step, and each kernel alone.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "core/device/kernel_call.h"
#include "launcher/bench/machine_bench.h"
#include "launcher/bench/timing.h"

namespace dualpath {

// All calls of a kernel whose operands have the same shapes.
struct KernelKind {
  std::string name;
  std::vector<Shape> shapes;
  std::vector<DType> dtypes;
  double flops = 0;  // of one call, as bytes and is_bf16: KernelCall
  double bytes = 0;
  bool is_bf16 = false;

  std::int64_t calls = 0;       // in a step
  double seconds = 0;           // of these calls, in the step under way
  std::vector<double> in_step;  // seconds, for each step
  Timing alone;                 // of one call repeated on the operands of the first

  // What the calls of a step would take at the machine's peak of FLOPs, or of bytes without FLOPs.
  double seconds_at_peak(const MachinePeaks& peaks) const;
  std::string shapes_text() const;
};

class KernelKinds {
 public:
  // Its place in all().
  std::size_t of(const KernelCall& call);
  const std::vector<KernelKind>& all() const { return kinds_; }
  std::vector<KernelKind>& all() { return kinds_; }

 private:
  std::vector<KernelKind> kinds_;
};

// Times every call on `stream`, on which all calls are.
class KernelTimer final : public KernelObserver {
 public:
  KernelTimer(KernelKinds& kinds, Device& device, Stream& stream)
      : kinds_(kinds), stopwatch_(device.make_stopwatch(stream)) {}
  void on_call(const KernelCall& call, Stream& stream) override;
  // Before and after each step.
  void begin_step();
  void end_step();

 private:
  KernelKinds& kinds_;
  std::unique_ptr<Stopwatch> stopwatch_;
  std::vector<std::size_t> calls_;  // of the step under way, each its kind
};

// Stops at the first call of every kind and repeats it. What the call updates is put back before
// each repetition, so that all see the step's own numbers and the step's result is the same. On a
// GPU caches are filled with something else before, which takes longer than the host needs to issue
// the call: no launch is in the time.
class KernelRepeater final : public KernelObserver {
 public:
  // `device` is not observed; all calls are on `stream`.
  KernelRepeater(KernelKinds& kinds, Device& device, Stream& stream, const Effort& effort);
  void on_call(const KernelCall& call, Stream& stream) override;

 private:
  void save(const KernelCall& call, Stream& stream);
  void restore(Stream& stream);
  void fill_caches();

  struct Saved {
    Tensor tensor;
    std::vector<std::byte> content;
  };
  KernelKinds& kinds_;
  Device& device_;
  Effort effort_;
  std::unique_ptr<Stopwatch> stopwatch_;
  std::unique_ptr<Ops> ops_;
  Buffer cache_filler_;  // empty: caches stay as they are
  std::vector<Saved> saved_;
};

}  // namespace dualpath
