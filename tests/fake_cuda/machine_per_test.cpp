// Linked into a program of tests: fake GPUs for each test, which must leave nothing behind.
#include <gmock/gmock.h>
#include <optional>

#include "tests/fake_cuda/machine.h"

namespace dualpath {
namespace {

class MachinePerTest final : public testing::EmptyTestEventListener {
 public:
  // There are GPUs when tests are enumerated, too.
  MachinePerTest() { machine_.emplace(); }

  void OnTestEnd(const testing::TestInfo&) override {
    EXPECT_THAT(machine_->leaks(), testing::IsEmpty());
    machine_.reset();
    machine_.emplace(fake_cuda::MachineOptions{.seed = ++seed_});
  }

 private:
  std::uint64_t seed_ = 1;
  std::optional<fake_cuda::Machine> machine_;
};

[[maybe_unused]] const bool is_listening = [] {
  testing::UnitTest::GetInstance()->listeners().Append(new MachinePerTest);  // gtest deletes it
  return true;
}();

}  // namespace
}  // namespace dualpath
