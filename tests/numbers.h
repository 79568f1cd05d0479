// The types of numbers that the CPU backend computes with on this processor.
#pragma once

#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/cpu/cpu_device.h"

namespace dualpath {

struct Numbers {
  std::string name;
  NumericTypes types;
};

// kernels: as make_cpu_device takes them. Without bf16 where the processor cannot multiply it.
inline std::vector<Numbers> cpu_numbers(const std::string& kernels = "") {
  const std::vector<Numbers> all = {
      {"fp32", {}},
      {"bf16", {.operand = DType::bf16}},
      {"bf16 stream", {.stream = DType::bf16, .operand = DType::bf16}}};
  const auto device = make_cpu_device(1, kernels);
  std::vector<Numbers> taken;
  for (const Numbers& numbers : all) {
    try {
      device->require(numbers.types);
      taken.push_back(numbers);
    } catch (const Error& error) {
      CHECK(error.code() == ExitCode::configuration, "{}", error.what());
    }
  }
  return taken;
}

}  // namespace dualpath
