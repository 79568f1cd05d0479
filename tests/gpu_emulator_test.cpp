// The GPU kernels pass the kernel suite on the emulator, in any order of threads; the emulator
// finds misuse.
#include <gmock/gmock.h>

#include "core/cuda/kernels/attention.h"
#include "tests/expect_error.h"
#include "tests/gpu_emulator/emulated_block.h"
#include "tests/gpu_emulator/emulated_device.h"
#include "tests/kernel_suite/kernel_suite.h"

namespace dualpath {
namespace {

std::vector<Backend> emulated_backends() {
  const std::pair<const char*, NumericTypes> numbers[] = {{"fp32", {}},
                                                          {"bf16", {.operand = DType::bf16}}};
  std::vector<Backend> backends;
  for (const auto& [name, types] : numbers)
    backends.push_back({name, [] { return std::make_unique<EmulatedDevice>(1); }, types});
  return backends;
}

INSTANTIATE_TEST_SUITE_P(EmulatedGpu, KernelSuite, testing::ValuesIn(emulated_backends()));

// What stands between our log_sum and cuDNN's.
TEST(AttentionKernels, ExchangeRowsAndColumnsOfEveryMatrix) {
  constexpr std::int64_t count = 3, rows = 5, columns = 4;
  std::vector<float> in(count * rows * columns), out(in.size(), -1);
  for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<float>(i);
  const gpu::ExchangeRowsAndColumns kernel{out.data(), in.data(), count, rows, columns};
  EmulatedBlock(1).run({.blocks = 2, .threads = 32}, [&](EmulatedThread& t) { kernel(t); });
  for (std::int64_t m = 0; m < count; ++m) {
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t c = 0; c < columns; ++c) {
        EXPECT_EQ(out[static_cast<std::size_t>((m * columns + c) * rows + r)],
                  in[static_cast<std::size_t>((m * rows + r) * columns + c)]);
      }
    }
  }
}

TEST(Emulator, FindsABarrierThatSomeThreadsDoNotReach) {
  EXPECT_THAT(error_of(ExitCode::internal,
                       [] {
                         EmulatedBlock(1).run({.threads = 64}, [](EmulatedThread& t) {
                           if (t.index() != 5) t.barrier();
                         });
                       }),
              testing::HasSubstr("wait"));
}

TEST(Emulator, FindsAShuffleThatALaneLeavesOut) {
  EXPECT_THAT(error_of(ExitCode::internal,
                       [] {
                         EmulatedBlock(1).run({.threads = 32}, [](EmulatedThread& t) {
                           if (t.index() != 5) t.shuffle_xor(1, 1);
                         });
                       }),
              testing::HasSubstr("wait"));
}

// Without a barrier between writing and reading, the result depends on the order.
TEST(Emulator, ShowsARace) {
  const auto last_sum = [](std::uint64_t seed, bool wait) {
    int sum = 0;
    EmulatedBlock(seed).run({1, 64, 64 * sizeof(int)}, [&](EmulatedThread& t) {
      auto* values = static_cast<int*>(t.shared());
      values[t.index()] = 1;
      if (wait) t.barrier();
      if (t.index() != 17) return;
      for (int i = 0; i < 64; ++i) sum += values[i] == 1;
    });
    return sum;
  };
  EXPECT_EQ(last_sum(1, true), 64);
  EXPECT_EQ(last_sum(2, true), 64);
  EXPECT_NE(last_sum(1, false), last_sum(2, false));
}

}  // namespace
}  // namespace dualpath
