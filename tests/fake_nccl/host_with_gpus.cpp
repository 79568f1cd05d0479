// Linked into a program: fake GPUs as long as it runs, FAKE_GPUS of them or four, each of
// FAKE_GPU_MB or 4096, with cuDNN where FAKE_CUDNN is set. Where FAKE_NCCL_HANGS_AFTER or
// FAKE_NCCL_LOSES_A_RANK_AFTER is set, that becomes of so many operations;
// FAKE_CUDA_REFUSES_CAPTURE: of so many pieces of work, the next one.
#include <cstdlib>

#include "tests/fake_cuda/machine.h"
#include "tests/fake_nccl/fake_nccl.h"

namespace dualpath {
namespace {

class HostWithGpus {
 public:
  HostWithGpus()
      : machine_({.devices = static_cast<int>(number("FAKE_GPUS", 4)),
                  .memory_bytes = static_cast<std::size_t>(number("FAKE_GPU_MB", 4096)) << 20,
                  .product_milliseconds = {5, 3, 4},  // `bench` measures in small what is slow
                  .cudnn = number("FAKE_CUDNN", 0) == 0 ? fake_cuda::MachineOptions::Cudnn::none
                                                        : fake_cuda::MachineOptions::Cudnn::there,
                  .patience = std::chrono::milliseconds(1)}) {
    if (const auto n = number("FAKE_NCCL_HANGS_AFTER", -1); n >= 0) fake_nccl::hang_after(n);
    if (const auto n = number("FAKE_NCCL_LOSES_A_RANK_AFTER", -1); n >= 0)
      fake_nccl::lose_a_rank_after(n);
    if (const auto n = number("FAKE_CUDA_REFUSES_CAPTURE", -1); n >= 0)
      machine_.captures().refuse(fake_cuda::CaptureCall::work, static_cast<int>(n));
  }

 private:
  static std::int64_t number(const char* variable, std::int64_t otherwise) {
    const char* text = std::getenv(variable);
    return text == nullptr ? otherwise : std::atoll(text);
  }

  fake_cuda::Machine machine_;
} host;

}  // namespace
}  // namespace dualpath
