#include "launcher/device_choice.h"

#include "core/cpu/cpu_device.h"
#include "core/cuda/cuda_device.h"

namespace dualpath {

std::unique_ptr<Device> make_device(DeviceChoice choice, int num_threads, int local_rank) {
  if (choice != DeviceChoice::cpu) {
    const CudaDevices gpus = find_cuda_devices();
    if (gpus.count > 0) return make_cuda_device(local_rank % gpus.count);
    CHECK_AS(ExitCode::configuration, choice == DeviceChoice::automatic,
             "device = cuda, but {}; cpu needs no GPU", gpus.problem);
  }
  return make_cpu_device(num_threads);
}

}  // namespace dualpath
