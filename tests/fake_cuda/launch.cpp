#include "tests/fake_cuda/launch.h"

#include <algorithm>

#include "core/cuda/kernels/block.h"
#include "tests/fake_cuda/calls.h"

namespace dualpath::fake_cuda {
namespace {

// Of the launches that have not been declared to need more.
constexpr std::size_t undeclared_bytes = 48 << 10;

}  // namespace

void launch(const void* function, unsigned blocks, int threads, std::size_t shared_bytes,
            cudaStream_t handle, std::function<void(EmulatedThread&)> kernel) {
  answer_runtime("kernel<<<>>>", [&](Machine& machine) {
    const Scheduler::Stream& stream = machine.stream(handle);
    require(stream.device() == current_device(), cudaErrorInvalidResourceHandle,
            "a launch on a stream that is not the current device's");
    require(0 < blocks && blocks <= INT32_MAX && 0 < threads && threads <= 1024,
            cudaErrorInvalidConfiguration,
            fmt::format("a grid of {} blocks of {} threads", blocks, threads));
    const std::size_t room =
        std::max(undeclared_bytes - gpu::reduction_bytes, machine.declared_shared_bytes(function));
    require(shared_bytes <= room, cudaErrorInvalidValue,
            fmt::format("{} bytes of shared memory; {} are there", shared_bytes, room));
    machine.enqueue(handle, [&machine, blocks, threads, shared_bytes, kernel = std::move(kernel)] {
      machine.block().run({blocks, threads, shared_bytes}, kernel);
    });
  });
}

}  // namespace dualpath::fake_cuda

using namespace dualpath::fake_cuda;

cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute attribute, int value) {
  return answer_runtime(__func__, [&](Machine& machine) {
    require(attribute == cudaFuncAttributeMaxDynamicSharedMemorySize, cudaErrorNotSupported,
            "this attribute of a kernel");
    require(0 <= value && static_cast<std::size_t>(value) + dualpath::gpu::reduction_bytes <=
                              machine.options().shared_bytes,
            cudaErrorInvalidValue, fmt::format("{} bytes of shared memory", value));
    machine.declare_shared_bytes(function, static_cast<std::size_t>(value));
  });
}
