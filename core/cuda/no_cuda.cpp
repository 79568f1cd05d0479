#include "core/cuda/cuda_device.h"

namespace dualpath {

CudaDevices find_cuda_devices() {
  return {0, "this program was built without CUDA"};
}

std::unique_ptr<Device> make_cuda_device(int) {
  DUALPATH_FAIL(ExitCode::configuration, "{}", find_cuda_devices().problem);
}

std::optional<int> cuda_index(const Device&) {
  return {};
}

std::string cuda_libraries() {
  return "";
}

}  // namespace dualpath
