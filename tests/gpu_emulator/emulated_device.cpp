#include "tests/gpu_emulator/emulated_device.h"

#include <algorithm>

#include "core/cuda/device_ops.h"
#include "tests/gpu_emulator/emulated_block.h"

namespace dualpath {

namespace {

class EmulatedLauncher {
 public:
  EmulatedLauncher(std::uint64_t seed, int multiprocessors)
      : block_(seed), multiprocessors_(multiprocessors) {}

  template <class Kernel>
  void launch(std::int64_t blocks, int threads, std::size_t shared_bytes, const Kernel& kernel) {
    block_.run({blocks, threads, shared_bytes}, [&](EmulatedThread& thread) { kernel(thread); });
  }
  // A new one each time, so that what is read without having been written, or kept too long, shows.
  void* workspace(std::size_t bytes) {
    workspace_.assign(std::max<std::size_t>(bytes, 1), std::byte{0xff});
    workspace_.shrink_to_fit();
    return workspace_.data();
  }
  int full_grid() const { return multiprocessors_; }

 private:
  EmulatedBlock block_;
  int multiprocessors_;
  std::vector<std::byte> workspace_;
};

double value_at(Tensor tensor, std::int64_t i) {
  if (tensor.dtype == DType::bf16)
    return static_cast<double>(static_cast<float>(tensor.as<bfloat16>()[i]));
  return static_cast<double>(tensor.as<float>()[i]);
}

// Matrix products are a library's on the GPU, so here they are as simple as can be.
class EmulatedOps final : public gpu::DeviceOps<EmulatedLauncher> {
 public:
  using DeviceOps::DeviceOps;

  void matmul(Tensor c, Tensor a, Tensor b, MatmulFlags flags) override {
    check_matmul(c, a, b, flags);
    const std::int64_t inner = flags.transpose_a ? a.rows() : a.cols();
    for (std::int64_t i = 0; i < c.rows(); ++i) {
      for (std::int64_t j = 0; j < c.cols(); ++j) {
        double sum = 0;
        for (std::int64_t k = 0; k < inner; ++k) {
          sum += value_at(a, flags.transpose_a ? k * a.cols() + i : i * a.cols() + k) *
                 value_at(b, flags.transpose_b ? j * b.cols() + k : k * b.cols() + j);
        }
        const std::int64_t at = i * c.cols() + j;
        if (flags.accumulate) sum += value_at(c, at);
        with_type(c, [&]<class T>() { c.as<T>()[at] = static_cast<T>(static_cast<float>(sum)); });
      }
    }
  }
};

}  // namespace

void EmulatedDevice::require(const NumericTypes& types) const {
  CHECK(types.master == DType::f32, "the GPU kernels compute in f32, not {}",
        name_of(types.master));
}

std::unique_ptr<Ops> EmulatedDevice::make_ops(Stream&) {
  return std::make_unique<EmulatedOps>(seed_, multiprocessors_);
}

}  // namespace dualpath
