#include "launcher/job/device_peaks.h"

#include <utility>

namespace dualpath {

std::optional<double> bf16_peak_tflops(std::string_view name) {
  // Where names begin alike, the longer one comes first.
  static constexpr std::pair<std::string_view, double> peaks[] = {
      {"NVIDIA B200", 2250},     {"NVIDIA GH200", 989},    {"NVIDIA H200 NVL", 835},
      {"NVIDIA H200", 989},      {"NVIDIA H100 NVL", 835}, {"NVIDIA H100 PCIe", 756},
      {"NVIDIA H100 80GB", 989}, {"NVIDIA A100", 312},     {"NVIDIA A30", 165},
      {"NVIDIA A40", 149.7},     {"NVIDIA A10G", 70},      {"NVIDIA A10", 125},
      {"NVIDIA L40S", 362},      {"NVIDIA L4", 121},
  };
  for (const auto& [device, tflops] : peaks) {
    const std::size_t at = name.find(device);
    if (at == name.npos) continue;
    // "NVIDIA L4" is not "NVIDIA L40", "NVIDIA A10" not "NVIDIA A1000".
    const std::size_t end = at + device.size();
    const bool goes_on = end < name.size() && name[end] >= '0' && name[end] <= '9';
    if (!goes_on) return tflops;
  }
  return std::nullopt;
}

}  // namespace dualpath
