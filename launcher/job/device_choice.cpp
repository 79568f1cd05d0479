#include "launcher/job/device_choice.h"

#include <cstdlib>
#include <filesystem>
#include <fmt/format.h>
#include <unistd.h>

#include "core/cpu/cpu_device.h"
#include "core/cuda/cuda_device.h"

namespace dualpath {

std::string given_gpus(const std::function<const char*(const char*)>& variable) {
  const auto value_of = [&](const char* name) {
    const char* value = variable(name);
    return std::string(value == nullptr ? "" : value);
  };
  const auto is_list = [](const std::string& gpus) {
    return !gpus.empty() && !gpus.starts_with("-") && gpus != "NoDevFiles" && gpus != "none";
  };
  // What CUDA may see counts first.
  if (variable("CUDA_VISIBLE_DEVICES") != nullptr) {
    const std::string list = value_of("CUDA_VISIBLE_DEVICES");
    return is_list(list) ? "CUDA_VISIBLE_DEVICES=" + list : "";
  }
  for (const char* name : {"SLURM_STEP_GPUS", "SLURM_JOB_GPUS"}) {
    if (is_list(value_of(name))) return fmt::format("{}={}", name, value_of(name));
  }
  for (const char* name : {"SLURM_GPUS_ON_NODE", "SLURM_GPUS", "SLURM_GPUS_PER_NODE",
                           "SLURM_GPUS_PER_TASK", "SLURM_GPUS_PER_SOCKET"}) {
    const std::string count = value_of(name);
    if (count.find_first_of("123456789") != count.npos) return fmt::format("{}={}", name, count);
  }
  return "";
}

std::string visible_gpus() {
  std::error_code error;
  for (std::filesystem::directory_iterator it("/dev", error), end; !error && it != end;
       it.increment(error)) {
    const std::string name = it->path().filename();
    const bool is_nvidia =
        name.starts_with("nvidia") && name.size() > 6 && name[6] >= '0' && name[6] <= '9';
    const bool is_usable = ::access(it->path().c_str(), R_OK | W_OK) == 0;
    if ((is_nvidia || name == "dxg") && is_usable) return it->path();
  }
  return "";
}

std::unique_ptr<Device> make_device(DeviceChoice choice, int num_threads, int local_rank) {
  if (choice != DeviceChoice::cpu) {
    const CudaDevices gpus = find_cuda_devices();
    if (gpus.count > 0) return make_cuda_device(local_rank % gpus.count);
    CHECK_AS(ExitCode::configuration, choice == DeviceChoice::automatic,
             "device = cuda, but {}; cpu needs no GPU", gpus.problem);
    std::string sign = given_gpus([](const char* name) { return std::getenv(name); });
    // A program without CUDA is meant for CPUs, wherever it runs.
    const bool is_told =
        std::getenv("CUDA_VISIBLE_DEVICES") != nullptr || std::getenv("SLURM_JOB_ID") != nullptr;
    if (sign.empty() && !is_told && !cuda_libraries().empty()) sign = visible_gpus();
    CHECK_AS(ExitCode::configuration, sign.empty(),
             "{} says that there are GPUs, but {}; train.device=cpu trains without", sign,
             gpus.problem);
  }
  return make_cpu_device(num_threads);
}

}  // namespace dualpath
