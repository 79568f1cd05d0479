// The kernels that core/cuda launches, on a fake GPU.
#include "core/cuda/cuda_launcher.h"
#include "tests/fake_cuda/launch.h"
#include "tests/fake_cuda/machine.h"

namespace dualpath {
namespace {

// Its address stands for a kernel.
template <class Kernel>
void function_of() {}

struct FakeGrid {
  template <class Kernel>
  static const void* function() {
    return reinterpret_cast<const void*>(&function_of<Kernel>);
  }
  template <class Kernel>
  static void start(unsigned blocks, int threads, std::size_t shared_bytes, cudaStream_t stream,
                    const Kernel& kernel) {
    const Kernel near = fake_cuda::Machine::current().memory().near_operands(kernel);
    fake_cuda::launch(function<Kernel>(), blocks, threads, shared_bytes, stream,
                      [near](EmulatedThread& thread) { near(thread); });
  }
};

}  // namespace

std::unique_ptr<Ops> make_cuda_ops(Device& device, CudaStream& stream,
                                   const GpuProperties& properties) {
  return std::make_unique<CudaOps<FakeGrid>>(device, stream, properties);
}

}  // namespace dualpath
