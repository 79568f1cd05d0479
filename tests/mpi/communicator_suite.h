// What every communicator must do. A test program links communicator_suite.cpp and says what to
// test:
//
//   INSTANTIATE_TEST_SUITE_P(Mpi, CommunicatorTest, testing::Values(CommunicatorKind{"world",
//   make}));
//
// Values are small integers where nothing else is said, so that a sum is exact in any order and one
// wrong, missing or doubled contribution shows.
#pragma once

#include <cmath>
#include <functional>
#include <gtest/gtest.h>
#include <memory>
#include <string>
#include <vector>

#include "core/device/device.h"
#include "parallel/communicator.h"
#include "parallel/operations_under_way.h"

namespace dualpath {

// Elements of a piece: large tensors are sent in pieces of 2 MB.
template <class T>
constexpr std::int64_t piece = (2 << 20) / sizeof(T);

template <class T>
Tensor tensor_of(std::vector<T>& values) {
  return {values.data(), dtype_of<T>, Shape{static_cast<std::int64_t>(values.size())}};
}

// Numbers of every size: the last bits of their sum over ranks tell in what order it was made.
inline float value_of_any_size(int rank, std::int64_t i) {
  return static_cast<float>(std::ldexp(1.0 / (3 + rank + i % 7), (rank * 5 + i) % 12));
}

// A group for tensors in host memory, a stream for it, and what they stand on.
struct CommunicatorRig {
  std::unique_ptr<OperationsUnderWay> operations;
  std::unique_ptr<Device> device;
  std::unique_ptr<Communicator> base;
  std::unique_ptr<Communicator> group;
  std::unique_ptr<Stream> stream;
};

struct CommunicatorKind {
  std::string name;
  std::function<CommunicatorRig()> make;  // collective
};
inline std::ostream& operator<<(std::ostream& out, const CommunicatorKind& kind) {
  return out << kind.name;
}

class CommunicatorTest : public testing::TestWithParam<CommunicatorKind> {
 protected:
  Communicator& group() { return *rig_.group; }
  int rank() const { return rig_.group->rank(); }
  int size() const { return rig_.group->size(); }
  Stream& stream() { return *rig_.stream; }

 private:
  CommunicatorRig rig_ = GetParam().make();
};

inline std::string name_of_kind(const testing::TestParamInfo<CommunicatorKind>& info) {
  return info.param.name;
}

}  // namespace dualpath
