// The CUDA backend, as the rest of the program sees it. A program built without CUDA has it too:
// it finds no GPU (no_cuda.cpp).
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "core/device/device.h"

namespace dualpath {

struct CudaDevices {
  int count = 0;
  std::string problem;  // why there are none
};

// Does not throw.
CudaDevices find_cuda_devices();

// REQUIRES: index < find_cuda_devices().count. Errors of the GPU and its libraries are
// Error(internal), memory that is not to be had is Error(configuration).
std::unique_ptr<Device> make_cuda_device(int index);

// Which of this process's GPUs the device is; nothing where it is another kind of device.
std::optional<int> cuda_index(const Device& device);

// What it is built with, and which cuDNN it runs with: "CUDA 13.0, cuBLASLt 13.1, cuDNN 9.19.0" or
// "..., no cuDNN"; empty where it was built without CUDA.
std::string cuda_libraries();

}  // namespace dualpath
