// The CPU backend passes the kernel suite, whatever its number of threads; what it refuses.
#include <gmock/gmock.h>

#include "core/cpu/cpu_device.h"
#include "tests/expect_error.h"
#include "tests/kernel_suite/kernel_suite.h"
#include "tests/numbers.h"

namespace dualpath {
namespace {

// Every set of kernels, number of threads and type of numbers that this processor runs.
#ifdef __SANITIZE_ADDRESS__
constexpr bool is_sanitized = true;  // ten times slower
#else
constexpr bool is_sanitized = false;
#endif

std::vector<Backend> cpu_backends() {
  std::vector<Backend> backends;
  for (const std::string& kernels : cpu_kernels()) {
    for (const Numbers& numbers : cpu_numbers(kernels)) {
      for (const int threads : {1, 2, 3}) {
        if (threads != 2 && kernels != cpu_kernels()[0]) continue;  // once is enough
        if (is_sanitized && (threads != 2 || numbers.types.stream != DType::f32)) continue;
        backends.push_back({fmt::format("{} {} on {} threads", kernels, numbers.name, threads),
                            [=] { return make_cpu_device(threads, kernels); }, numbers.types});
      }
    }
  }
  return backends;
}

INSTANTIATE_TEST_SUITE_P(Cpu, KernelSuite, testing::ValuesIn(cpu_backends()));

// Memory is promised only if it is there: without the question the system would kill the program.
TEST(CpuDevice, NamesTheMemoryItCannotHave) {
  const auto device = make_cpu_device(1);
  const std::string message =
      error_of(ExitCode::configuration, [&] { device->allocate(1ull << 50); });
  EXPECT_THAT(message, testing::HasSubstr("1.13e+06 GB are asked for"));
  EXPECT_THAT(message, testing::ContainsRegex("[0-9.]+ GB are available"));
  EXPECT_EQ(device->num_allocations(), 0u);
}

TEST(CpuDevice, NamesTheKernelsThereAre) {
  EXPECT_THAT(error_of(ExitCode::configuration, [] { make_cpu_device(1, "mmx"); }),
              testing::AllOf(testing::HasSubstr("'mmx'"), testing::HasSubstr(cpu_kernels()[0])));
  for (const std::string& kernels : cpu_kernels())
    EXPECT_THAT(make_cpu_device(1, kernels)->name(), testing::HasSubstr(kernels));
}

TEST(CpuDevice, NeedsAThread) {
  EXPECT_THAT(error_of(ExitCode::configuration, [] { make_cpu_device(0); }),
              testing::HasSubstr("at least one thread, not 0"));
}

}  // namespace
}  // namespace dualpath
