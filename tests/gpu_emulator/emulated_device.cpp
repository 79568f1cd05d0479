#include "tests/gpu_emulator/emulated_device.h"

#include <algorithm>
#include <span>
#include <vector>

#include "core/cuda/kernels/all.h"
#include "core/ops/check.h"
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

class EmulatedOps final : public Ops {
 public:
  EmulatedOps(std::uint64_t seed, int multiprocessors) : launcher_(seed, multiprocessors) {}

  void run(const Operation& operation) override {
    check(operation);
    std::visit([this](const auto& op) { issue(op); }, operation);
  }

 private:
  template <class Op>
  void issue(const Op& op) {
    gpu::launch(launcher_, op);
  }
  // Matrix products are a library's on the GPU, so here they are as simple as can be.
  void issue(const op::Matmul& op) {
    const std::vector<double> a_values = values_of(op.a), b_values = values_of(op.b);
    const std::int64_t rows = op.c.rows(), columns = op.c.cols();
    const std::int64_t inner = op.flags.transpose_a ? op.a.rows() : op.a.cols();
    // Elements from one row to the next, and from one column to the next.
    const std::int64_t a_row = op.flags.transpose_a ? 1 : inner,
                       a_column = op.flags.transpose_a ? op.a.cols() : 1;
    const std::int64_t b_row = op.flags.transpose_b ? 1 : op.b.cols(),
                       b_column = op.flags.transpose_b ? inner : 1;
    with_type(op.c, [&]<class T>() {
      for (std::int64_t i = 0; i < rows; ++i) {
        for (std::int64_t j = 0; j < columns; ++j) {
          const double* x = a_values.data() + i * a_row;
          const double* y = b_values.data() + j * b_column;
          double sum = 0;
          for (std::int64_t k = 0; k < inner; ++k) sum += x[k * a_column] * y[k * b_row];
          T& element = op.c.as<T>()[i * columns + j];
          if (op.flags.accumulate) sum += static_cast<double>(static_cast<float>(element));
          element = static_cast<T>(static_cast<float>(sum));
        }
      }
    });
  }

  EmulatedLauncher launcher_;
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
