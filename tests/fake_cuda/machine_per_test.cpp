// Linked into a program of tests: fake GPUs for each test, which must leave nothing behind. Where
// FAKE_CUDNN is set they have cuDNN.
#include <cstdlib>
#include <gmock/gmock.h>
#include <optional>

#include "tests/fake_cuda/machine.h"

namespace dualpath {
namespace {

class MachinePerTest final : public testing::EmptyTestEventListener {
 public:
  // There are GPUs when tests are enumerated, too.
  MachinePerTest() { machine_.emplace(options()); }

  void OnTestEnd(const testing::TestInfo&) override {
    EXPECT_THAT(machine_->leaks(), testing::IsEmpty());
    machine_.reset();
    ++seed_;
    machine_.emplace(options());
  }

 private:
  fake_cuda::MachineOptions options() const {
    using Cudnn = fake_cuda::MachineOptions::Cudnn;
    return {.seed = seed_,
            .cudnn = std::getenv("FAKE_CUDNN") == nullptr ? Cudnn::none : Cudnn::there};
  }

  std::uint64_t seed_ = 1;
  std::optional<fake_cuda::Machine> machine_;
};

[[maybe_unused]] const bool is_listening = [] {
  testing::UnitTest::GetInstance()->listeners().Append(new MachinePerTest);  // gtest deletes it
  return true;
}();

}  // namespace
}  // namespace dualpath
