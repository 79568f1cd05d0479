// The CPU backend passes the kernel suite, whatever its number of threads; what it refuses.
#include <gmock/gmock.h>

#include "core/cpu/cpu_device.h"
#include "tests/expect_error.h"
#include "tests/kernel_suite/kernel_suite.h"

namespace dualpath {
namespace {

Backend cpu(const char* name, int num_threads, NumericTypes types = {}) {
  return {name, [num_threads] { return make_cpu_device(num_threads); }, types};
}

constexpr NumericTypes kBf16Operands{.operand = DType::bf16};
constexpr NumericTypes kBf16Stream{.stream = DType::bf16, .operand = DType::bf16};

INSTANTIATE_TEST_SUITE_P(Cpu, KernelSuite,
                         testing::Values(cpu("1 thread", 1), cpu("2 threads", 2),
                                         cpu("3 threads", 3), cpu("bf16", 2, kBf16Operands),
                                         cpu("bf16, stream too", 3, kBf16Stream)));

// Memory is promised only if it is there: without the question the system would kill the program.
TEST(CpuDevice, NamesTheMemoryItCannotHave) {
  const auto device = make_cpu_device(1);
  const std::string message =
      error_of(ExitCode::configuration, [&] { device->allocate(1ull << 50); });
  EXPECT_THAT(message, testing::HasSubstr("1125899906842624 bytes are asked for"));
  EXPECT_THAT(message, testing::ContainsRegex("[0-9]+ bytes are available"));
  EXPECT_EQ(device->num_allocations(), 0u);
}

TEST(CpuDevice, NeedsAThread) {
  EXPECT_THAT(error_of(ExitCode::configuration, [] { make_cpu_device(0); }),
              testing::HasSubstr("at least one thread, not 0"));
}

}  // namespace
}  // namespace dualpath
