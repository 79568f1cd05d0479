// The main() of tests that run under mpirun: rank 0 prints as usual, the others print only what
// fails, and every rank returns the worst result of all.
#include <algorithm>
#include <cstdio>
#include <gtest/gtest.h>

#include "parallel/mpi_communicator.h"
#include "tests/mpi/world.h"

namespace dualpath {

namespace {

Communicator* world_communicator = nullptr;

class FailurePrinter final : public testing::EmptyTestEventListener {
  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (!result.failed()) return;
    std::fprintf(stderr, "[rank %d] %s:%d: %s\n", world().rank(),
                 result.file_name() == nullptr ? "?" : result.file_name(), result.line_number(),
                 result.message());
  }
};

int run_on_all_ranks() {
  auto& listeners = testing::UnitTest::GetInstance()->listeners();
  if (world().rank() != 0) {
    delete listeners.Release(listeners.default_result_printer());
    listeners.Append(new FailurePrinter);
  }
  const std::vector<std::string> results = world().all_gather(std::to_string(RUN_ALL_TESTS()));
  return std::any_of(results.begin(), results.end(), [](const auto& r) { return r != "0"; });
}

}  // namespace

Communicator& world() {
  return *world_communicator;
}

}  // namespace dualpath

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  dualpath::OperationsUnderWay operations;
  dualpath::MpiSession session(operations);
  const std::unique_ptr<dualpath::Communicator> world = session.world();
  dualpath::world_communicator = world.get();
  return dualpath::run_on_all_ranks();
}
