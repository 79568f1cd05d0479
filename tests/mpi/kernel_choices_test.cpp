// All ranks keep to the same algorithms, at every start of a run, and what is chosen for is what a
// step issues.
#include "launcher/job/kernel_choices.h"

#include <fstream>
#include <gmock/gmock.h>
#include <set>

#include "core/cpu/cpu_device.h"
#include "core/cuda/libraries/gemm_layout.h"
#include "core/device/dry_device.h"
#include "core/device/observed_device.h"
#include "data/files/file_io.h"
#include "tests/expect_error.h"
#include "tests/mpi/grid_rig.h"
#include "tests/mpi/world.h"
#include "tests/numbers.h"
#include "tests/temporary_folder.h"

namespace dualpath {
namespace {

using testing::HasSubstr;
using testing::UnorderedElementsAre;
using Choices = KernelTuner::Choices;

// Measures to the order of what it was asked.
class ListedTuner final : public KernelTuner {
 public:
  ListedTuner(std::string made_for, std::vector<std::string> calls)
      : made_for_(std::move(made_for)), calls_(std::move(calls)) {}
  std::string made_for() const override { return made_for_; }
  Ops& recorder() override { return ops_; }
  std::vector<std::string> calls() const override { return calls_; }
  std::string choose(const std::string& call) override {
    measured.push_back(call);
    return fmt::format("{} of rank {}", call, world().rank());
  }
  void keep_to(const Choices& choices) override { kept = choices; }

  std::vector<std::string> measured;
  std::optional<Choices> kept;

 private:
  std::string made_for_;
  std::vector<std::string> calls_;
  DryOps ops_;
};

class KernelAgreement : public testing::Test {
 protected:
  void TearDown() override { world().barrier(); }
  std::string agree(KernelTuner& tuner) { return agree_on_kernels(&tuner, file_, world(), log_); }
  // Every rank issues "all", and "own N".
  std::vector<std::string> calls() const { return {"all", fmt::format("own {}", world().rank())}; }
  std::string file_text() const { return read_file(file_, ExitCode::checkpoint); }

  const TemporaryFolder temporary_;
  // Rank 0's, for all.
  const std::filesystem::path file_ = world().broadcast(temporary_ / "kernels.yaml", 0);
  Log log_{"", false};
};

TEST_F(KernelAgreement, EachCallIsMeasuredOnceByTheFirstRankThatIssuesIt) {
  ListedTuner tuner("gpu", calls());
  const std::string checksum = agree(tuner);
  const int rank = world().rank();
  if (rank == 0) {
    EXPECT_THAT(tuner.measured, UnorderedElementsAre("all", "own 0"));
  } else {
    EXPECT_THAT(tuner.measured, UnorderedElementsAre(fmt::format("own {}", rank)));
  }
  Choices expected{{"all", "all of rank 0"}};
  for (int i = 0; i < world().size(); ++i)
    expected[fmt::format("own {}", i)] = fmt::format("own {} of rank {}", i, i);
  EXPECT_EQ(tuner.kept, expected);
  EXPECT_EQ(checksum, world().broadcast(checksum, 0));
}

TEST_F(KernelAgreement, LaterStartsKeepToTheFirstOnes) {
  ListedTuner first("gpu", calls()), second("gpu", calls());
  const std::string checksum = agree(first), text = file_text();
  EXPECT_EQ(agree(second), checksum);
  EXPECT_THAT(second.measured, testing::IsEmpty());
  EXPECT_EQ(second.kept, first.kept);
  EXPECT_EQ(file_text(), text);
}

// Another layout: what it has in common with the first stays.
TEST_F(KernelAgreement, NewCallsAreAdded) {
  ListedTuner first("gpu", {"b"}), second("gpu", {"a", "b", "c"}), third("gpu", {"b"});
  const std::string checksum = agree(first);
  EXPECT_NE(agree(second), checksum);
  const std::vector<std::string> missing{"a", "c"};
  EXPECT_EQ(second.measured, world().rank() == 0 ? missing : std::vector<std::string>{});
  EXPECT_EQ(second.kept->at("b"), first.kept->at("b"));
  EXPECT_EQ(agree(third), checksum);
}

TEST_F(KernelAgreement, WhatOtherLibrariesHadIsMeasuredAnew) {
  ListedTuner before("gpu, library 1", calls()), now("gpu, library 2", calls());
  agree(before);
  testing::internal::CaptureStderr();
  agree(now);
  const std::string told = testing::internal::GetCapturedStderr();
  if (world().rank() == 0) {
    EXPECT_THAT(told, HasSubstr("kernels.yaml is of gpu, library 1, this is gpu, library 2"));
  } else {
    EXPECT_EQ(told, "");
  }
  EXPECT_EQ(now.measured, before.measured);
  EXPECT_THAT(file_text(), HasSubstr("made_for: \"gpu, library 2\""));
  EXPECT_THAT(file_text(), testing::Not(HasSubstr("library 1")));
}

// One rank is like itself.
TEST_F(KernelAgreement, OnlyLikeRanksMeasure) {
  const bool alone = world().size() == 1, is_told = !alone && world().rank() == 0;
  ListedTuner tuner(fmt::format("gpu {}", world().rank()), calls());
  testing::internal::CaptureStderr();
  agree(tuner);
  const std::string told = testing::internal::GetCapturedStderr();
  EXPECT_EQ(told.empty(), !is_told);
  EXPECT_THAT(told, HasSubstr(is_told ? "gpu 0; gpu 1" : ""));
  EXPECT_EQ(tuner.measured, alone ? calls() : std::vector<std::string>{});
  EXPECT_EQ(tuner.kept->empty(), !alone);
  EXPECT_EQ(std::filesystem::exists(file_), alone);
}

// As where rank 0 computes on a CPU.
TEST_F(KernelAgreement, RanksWithoutAChoiceLeaveNoneAlone) {
  const bool alone = world().size() == 1, is_told = !alone && world().rank() == 0;
  ListedTuner tuner("gpu", calls());
  KernelTuner* const own = world().rank() == 0 ? nullptr : &tuner;
  testing::internal::CaptureStderr();
  const std::string checksum = agree_on_kernels(own, file_, world(), log_);
  const std::string told = testing::internal::GetCapturedStderr();
  EXPECT_EQ(told.empty(), !is_told);
  EXPECT_THAT(told, HasSubstr(is_told ? "(gpu; kernels without a choice)" : ""));
  EXPECT_EQ(checksum.empty(), alone);
  EXPECT_EQ(checksum, world().broadcast(checksum, 0));
  EXPECT_THAT(tuner.measured, testing::IsEmpty());
  EXPECT_EQ(tuner.kept, own == nullptr ? std::nullopt : std::optional<Choices>(Choices{}));
  EXPECT_FALSE(std::filesystem::exists(file_));
}

// Chooses what it is told to.
class AttentionTuner final : public KernelTuner {
 public:
  explicit AttentionTuner(std::string choice) : choice_(std::move(choice)) {}
  std::string made_for() const override { return "gpu"; }
  Ops& recorder() override { return ops_; }
  std::vector<std::string> calls() const override { return {"attention bf16"}; }
  std::string choose(const std::string&) override { return choice_; }
  void keep_to(const Choices&) override {}

 private:
  std::string choice_;
  DryOps ops_;
};

// At every start, by one rank: the run is slow for it.
TEST_F(KernelAgreement, AttentionByOurKernelsIsAWarning) {
  AttentionTuner tuner("own kernel: cuDNN has no plan");
  for (int start = 0; start < 2; ++start) {
    testing::internal::CaptureStderr();
    agree(tuner);
    const std::string told = testing::internal::GetCapturedStderr();
    if (world().rank() == 0) {
      EXPECT_THAT(told, HasSubstr("attention bf16: own kernel: cuDNN has no plan; this is slow"));
    } else {
      EXPECT_EQ(told, "");
    }
  }
}

TEST_F(KernelAgreement, AttentionByALibraryIsNone) {
  AttentionTuner tuner("cuDNN");
  testing::internal::CaptureStderr();
  agree(tuner);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

// As `bench` measures.
TEST_F(KernelAgreement, WithoutAFileNothingIsKept) {
  ListedTuner tuner("gpu", calls());
  EXPECT_NE(agree_on_kernels(&tuner, "", world(), log_), "");
  EXPECT_TRUE(tuner.kept.has_value());
  EXPECT_FALSE(std::filesystem::exists(file_));
}

TEST_F(KernelAgreement, DamagedFilesAreNamed) {
  for (const char* damage : {"made_for: [", "made_for: gpu", "just words", "algorithms: {a: b}"}) {
    world().barrier();
    if (world().rank() == 0) std::ofstream(file_) << damage;
    world().barrier();
    ListedTuner tuner("gpu", calls());
    EXPECT_THAT(error_of(ExitCode::checkpoint, [&] { agree(tuner); }), HasSubstr("kernels.yaml: "));
    EXPECT_FALSE(tuner.kept.has_value());
  }
}

// ---- what is noted

class NotedCalls final : public KernelObserver {
 public:
  void on_call(const KernelCall& call, Stream&) override {
    call.issue();
    const std::string name = call.name;
    if (!name.starts_with("matmul") && !name.starts_with("attention")) return;
    std::string text = name;
    for (const Operand& operand : call.operands) {
      text += fmt::format(" {} {} {} {}", static_cast<char>(operand.access),
                          name_of(operand.tensor.dtype), operand.tensor.shape.str(),
                          gpu::alignment_of(operand.tensor.data));
    }
    calls.insert(text);
  }
  std::set<std::string> calls;
};

TEST(IssuedPasses, AreThoseOfAStepAndAValidation) {
  for (const auto& [name, types] : cpu_numbers()) {
    for (const ParallelConfig& layout : layouts_of(world().size())) {
      for (const Recompute recompute : {Recompute::none, Recompute::iteration, Recompute::layer}) {
        ParallelConfig changed = layout;
        changed.recompute = recompute;
        SCOPED_TRACE(name + ", " + describe(changed));
        const auto cpu = make_cpu_device(1);
        auto observed = std::make_unique<ObservedDevice>(*cpu);
        ObservedDevice& device = *observed;
        GridRig rig(grid_options(Architecture::dual_path, types, changed), world(),
                    std::move(observed));
        DryDevice dry;
        ObservedDevice observed_dry(dry);
        InlineStream stream;
        NotedCalls issued, noted;
        device.observe(&issued);
        rig.train(1);
        rig.trainer.validate(rig.source, 2, {});
        observed_dry.observe(&noted);
        rig.trainer.model().issue_passes(*observed_dry.make_ops(stream));
        EXPECT_EQ(noted.calls, issued.calls);
        device.observe(nullptr);
        // Nothing is left taken.
        rig.go_on(1);
      }
    }
  }
}

}  // namespace
}  // namespace dualpath
