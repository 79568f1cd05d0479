// The CPU backend passes the kernel suite, whatever its number of threads.
#include "core/cpu/cpu_device.h"
#include "tests/kernel_suite/kernel_suite.h"

namespace dualpath {
namespace {

Backend cpu(const char* name, int num_threads) {
  return {name, [num_threads] { return make_cpu_device(num_threads); }, DType::f32};
}

INSTANTIATE_TEST_SUITE_P(Cpu, KernelSuite,
                         testing::Values(cpu("1 thread", 1), cpu("2 threads", 2),
                                         cpu("3 threads", 3)));

}  // namespace
}  // namespace dualpath
