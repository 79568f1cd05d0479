// Where a training step's time goes, kernel by kernel: within the step, and each kernel alone.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "launcher/bench/kernel_call.h"
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
  KernelKind& of(const KernelCall& call);
  const std::vector<KernelKind>& all() const { return kinds_; }
  std::vector<KernelKind>& all() { return kinds_; }

 private:
  std::vector<KernelKind> kinds_;
};

// Times every call.
class KernelTimer final : public KernelObserver {
 public:
  explicit KernelTimer(KernelKinds& kinds) : kinds_(kinds) {}
  void on_call(const KernelCall& call, Stream& stream) override;
  // Before and after each step.
  void begin_step();
  void end_step();

 private:
  KernelKinds& kinds_;
};

// Stops at the first call of every kind and repeats it. What the call updates is put back before
// each repetition, so that all see the step's own numbers and the step's result is the same.
class KernelRepeater final : public KernelObserver {
 public:
  KernelRepeater(KernelKinds& kinds, Device& device, const Effort& effort)
      : kinds_(kinds), device_(device), effort_(effort) {}
  void on_call(const KernelCall& call, Stream& stream) override;

 private:
  void save(const KernelCall& call, Stream& stream);
  void restore(Stream& stream);

  struct Saved {
    Tensor tensor;
    std::vector<std::byte> content;
  };
  KernelKinds& kinds_;
  Device& device_;
  Effort effort_;
  std::vector<Saved> saved_;
};

}  // namespace dualpath
