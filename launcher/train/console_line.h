// The lines that training prints: fields separated by " | ".
#pragma once

#include <cstdint>
#include <string>

#include "launcher/train/step_metrics.h"

namespace dualpath {

// Several steps in one console line: losses and times are means, rates follow from the mean time,
// all else is the last step's.
class StepAverage {
 public:
  void add(const StepMetrics& metrics);
  // The means over the steps added since the last call. REQUIRES: there are some.
  StepMetrics take();

 private:
  StepMetrics sum_;  // of what is averaged; the rates times their step's time
  std::int64_t steps_ = 0;
};

// "step 120/2000 | consumed tokens: 491520 | tokens/s: 10443 | ... | ETA: 0:12:31"
std::string console_line(const StepMetrics& metrics, std::int64_t total_steps);
std::string console_line(const ValidationMetrics& metrics);

// "1:02:03", or "2d 1:02:03" from a day on; "?" where the time is not finite or negative.
std::string clock_text(Seconds time);

}  // namespace dualpath
