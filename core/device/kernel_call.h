// One call of an operation of core/ops/ops.h as an observer of kernels sees it.
#pragma once

#include <functional>
#include <span>

#include "core/device/device.h"
#include "core/ops/ops.h"

namespace dualpath {

struct Operand {
  Tensor tensor;
  Access access;
};

struct KernelCall {
  const char* name;                   // the operation's, for products with their transposition
  std::span<const Operand> operands;  // those that are present, in the operation's order
  double flops;                       // of products; 0 for kernels that are bound by memory
  double bytes;                       // read and written at least
  bool is_bf16;                       // multiplies bf16 operands
  // Does the work, on the stream, any number of times.
  const std::function<void()>& issue;
};

// Receives every call. When on_call() returns, it must have issued the call, in effect once.
class KernelObserver {
 public:
  virtual ~KernelObserver() = default;
  virtual void on_call(const KernelCall& call, Stream& stream) = 0;
};

}  // namespace dualpath
