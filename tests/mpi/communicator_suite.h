// What every communicator must do. A test program links communicator_suite.cpp and says what to
// test:
//
//   INSTANTIATE_TEST_SUITE_P(Mpi, CommunicatorTest, testing::Values(CommunicatorKind{"world",
//   make}));
//
// Values are small integers, so that a sum is exact in any order and one wrong, missing or doubled
// contribution shows.
#pragma once

#include <functional>
#include <gtest/gtest.h>
#include <memory>
#include <string>

#include "core/device.h"
#include "parallel/communicator.h"
#include "parallel/operations_under_way.h"

namespace dualpath {

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
  bool measures = true;                   // busy_ms
  bool adds_in_order = true;
  bool allocates_nothing = true;
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
