// The machine's own peaks, against which all else is held.
#pragma once

#include <optional>

#include "launcher/bench/report.h"

namespace dualpath {

// The peaks of one rank's device while all ranks of the machine measure.
struct MachinePeaks {
  double fp32 = 0;             // FLOP/s
  std::optional<double> bf16;  // FLOP/s; where the processor multiplies bf16
  double memory = 0;           // bytes/s

  // What products of bf16 are held against.
  double of_bf16() const { return bf16.value_or(fp32); }
};

struct MachineBench {
  MachinePeaks peaks;
  MeasuredTable table;
};

}  // namespace dualpath
