// Peaks of multiply-adds of devices, to hold a step's FLOPs against (MFU).
#pragma once

#include <optional>
#include <string_view>

namespace dualpath {

// Dense bf16 TFLOP/s of the device whose name, as its driver tells it, `name` contains; none where
// it is not listed. Source: NVIDIA's data sheets, halved where they count sparsity.
std::optional<double> bf16_peak_tflops(std::string_view name);

}  // namespace dualpath
