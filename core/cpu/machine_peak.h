// The best that this machine does, with its own widest instructions whatever the kernels were
// compiled for: the yardstick of `dualpath bench`. Each function does its work once, some
// milliseconds on all threads, and returns how much that was.
#pragma once

#include "core/device/device.h"

namespace dualpath {

// FLOPs of multiply-adds in registers; one multiply-add is two.
double fp32_multiply_adds(int num_threads);
// Products of bf16 pairs, summed in fp32. REQUIRES: has_bf16_products().
bool has_bf16_products();
double bf16_multiply_adds(int num_threads);

// Bytes moved by passes over arrays far larger than caches; stores bypass the caches.
class MemoryPasses {
 public:
  // device: the CPU. Throws Error(configuration) where memory is not to be had.
  MemoryPasses(Device& device, int num_threads);
  double read() const;   // Σ a
  double copy() const;   // a = b
  double triad() const;  // a = b + s·c

 private:
  int num_threads_;
  Buffer a_, b_, c_;
};

}  // namespace dualpath
