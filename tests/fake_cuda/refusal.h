// A misuse that CUDA answers with an error.
#pragma once

#include <driver_types.h>
#include <stdexcept>
#include <string>

namespace dualpath::fake_cuda {

struct Refusal : std::runtime_error {
  Refusal(cudaError_t code, const std::string& why) : std::runtime_error(why), error(code) {}
  cudaError_t error;
};

inline void require(bool condition, cudaError_t error, const std::string& why) {
  if (!condition) throw Refusal(error, why);
}

}  // namespace dualpath::fake_cuda
