// The tests that every backend must pass. A test program links the suite's objects and says what to
// hold against the reference:
//
//   INSTANTIATE_TEST_SUITE_P(Cpu, KernelSuite, testing::Values(Backend{"cpu", make, {}}));
#pragma once

#include <functional>
#include <gtest/gtest.h>
#include <memory>
#include <ostream>

#include "core/device/device.h"
#include "tests/kernel_suite/operands.h"

namespace dualpath {

struct Backend {
  std::string name;
  std::function<std::unique_ptr<Device>()> make_device;
  NumericTypes types;  // of the numbers that the kernels are given
};
inline std::ostream& operator<<(std::ostream& out, const Backend& backend) {
  return out << backend.name;
}

class KernelSuite : public testing::TestWithParam<Backend> {
 protected:
  KernelSuite() : device_(GetParam().make_device()) {}

  testing::AssertionResult agrees(const KernelCall& call) {
    return dualpath::agrees(*device_, GetParam().types, call);
  }
  testing::AssertionResult agrees_exactly(const KernelCall& call) {
    return dualpath::agrees(*device_, GetParam().types, call, Demand::exact);
  }

  std::unique_ptr<Device> device_;
};

// Tokens and width of the row-wise kernels.
struct RowShape {
  std::int64_t tokens, width;
};
inline constexpr RowShape kRowShapes[] = {{1, 1}, {5, 1}, {1, 64}, {5, 7}, {33, 64}, {300, 130}};

}  // namespace dualpath
