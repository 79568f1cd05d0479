// A whole training step of the GPU kernels, run by the emulator on memory that the host cannot
// touch, is the CPU's step but for rounding.
#include <algorithm>
#include <functional>
#include <gtest/gtest.h>
#include <tuple>

#include "core/cuda/cuda_device.h"
#include "tests/far_device/far_device.h"
#include "tests/gpu_emulator/emulated_device.h"
#include "tests/mpi/grid_rig.h"
#include "tests/numbers.h"

namespace dualpath {
namespace {

struct Gpu {
  std::string name;
  std::function<std::unique_ptr<Device>()> make_device;
};

std::vector<Gpu> gpus() {
  std::vector<Gpu> all = {
      {"emulated",
       [] { return std::make_unique<FarDevice>(std::make_unique<EmulatedDevice>(1)); }}};
  if (find_cuda_devices().count > 0) all.push_back({"cuda", [] { return make_cuda_device(0); }});
  return all;
}

class GpuTraining : public testing::TestWithParam<std::tuple<Gpu, Numbers>> {};

TEST_P(GpuTraining, StepIsTheCpus) {
  const auto& [gpu_device, numbers] = GetParam();
  const RoundingBound bound = rounding_bound(numbers.types, Architecture::dual_path);
  const TrainerOptions options =
      grid_options(Architecture::dual_path, numbers.types, {}, grid_batch);
  const auto self = make_self_communicator();
  GridRig cpu(options, *self), gpu(options, *self, gpu_device.make_device());
  const FirstStep expected = first_step(cpu, *self), actual = first_step(gpu, *self);
  EXPECT_NEAR(actual.loss, expected.loss, bound.loss);
  EXPECT_LE(distance(actual.gradient, expected.gradient), bound.gradient);
}

std::string case_name(const testing::TestParamInfo<std::tuple<Gpu, Numbers>>& info) {
  const auto& [gpu, numbers] = info.param;
  std::string name = gpu.name + "_" + numbers.name;
  std::ranges::replace(name, ' ', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Gpus, GpuTraining,
                         testing::Combine(testing::ValuesIn(gpus()),
                                          testing::ValuesIn(cpu_numbers())),
                         case_name);

}  // namespace
}  // namespace dualpath
