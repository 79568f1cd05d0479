#include "tests/gpu_emulator/emulated_device.h"

#include <algorithm>
#include <span>
#include <vector>

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

std::vector<double> values_of(Tensor tensor) {
  std::vector<double> values;
  values.reserve(static_cast<std::size_t>(tensor.numel()));
  with_type(tensor, [&]<class T>() {
    for (const T value : std::span(tensor.as<T>(), values.capacity()))
      values.push_back(static_cast<double>(static_cast<float>(value)));
  });
  return values;
}

// Matrix products are a library's on the GPU, so here they are as simple as can be.
class EmulatedOps final : public gpu::DeviceOps<EmulatedLauncher> {
 public:
  using DeviceOps::DeviceOps;

  void matmul(Tensor c, Tensor a, Tensor b, MatmulFlags flags) override {
    check_matmul(c, a, b, flags);
    const std::vector<double> a_values = values_of(a), b_values = values_of(b);
    const std::int64_t rows = c.rows(), columns = c.cols();
    const std::int64_t inner = flags.transpose_a ? a.rows() : a.cols();
    // Elements from one row to the next, and from one column to the next.
    const std::int64_t a_row = flags.transpose_a ? 1 : inner,
                       a_column = flags.transpose_a ? a.cols() : 1;
    const std::int64_t b_row = flags.transpose_b ? 1 : b.cols(),
                       b_column = flags.transpose_b ? inner : 1;
    with_type(c, [&]<class T>() {
      for (std::int64_t i = 0; i < rows; ++i) {
        for (std::int64_t j = 0; j < columns; ++j) {
          const double* x = a_values.data() + i * a_row;
          const double* y = b_values.data() + j * b_column;
          double sum = 0;
          for (std::int64_t k = 0; k < inner; ++k) sum += x[k * a_column] * y[k * b_row];
          T& element = c.as<T>()[i * columns + j];
          if (flags.accumulate) sum += static_cast<double>(static_cast<float>(element));
          element = static_cast<T>(static_cast<float>(sum));
        }
      }
    });
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
