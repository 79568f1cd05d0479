#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <new>
#include <stdexcept>

#include "core/base/error.h"
#include "launcher/common/arguments.h"
#include "launcher/common/report_error.h"
#include "launcher/job/device_choice.h"
#include "launcher/train/initial_weights.h"
#include "tests/expect_error.h"

namespace dualpath {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string message_of(const std::vector<std::string>& words, std::size_t min, std::size_t max) {
  try {
    split_arguments(words, "dualpath plan CONFIG [key=value...]", min, max);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::configuration);
    return error.what();
  }
  return "";
}

TEST(SplitArguments, TellsPathsFromOverrides) {
  const std::vector<std::string> words = {"a.yaml", "model.layers=3", "runs/lr=3/b.yaml",
                                          "-",      "data.path=/x/y", "model..x=1"};
  const Arguments arguments = split_arguments(words, "", 0, 9);
  EXPECT_THAT(arguments.positional, ElementsAre("a.yaml", "runs/lr=3/b.yaml", "-"));
  EXPECT_THAT(arguments.overrides, ElementsAre("model.layers=3", "data.path=/x/y", "model..x=1"));
  EXPECT_THAT(split_arguments({}, "", 0, 0).positional, IsEmpty());
}

TEST(SplitArguments, RefusesFlagsAndWrongNumbers) {
  const std::string usage = "\nusage: dualpath plan CONFIG [key=value...]";
  EXPECT_EQ(message_of({"--layers=3"}, 0, 9),
            "unknown flag --layers=3; options are written key=value" + usage);
  EXPECT_EQ(message_of({"a=1"}, 1, 1), "an argument is missing" + usage);
  EXPECT_EQ(message_of({"a", "b"}, 1, 1), "unexpected argument b" + usage);
}

template <class Exception>
ErrorReport report_of(const Exception& exception) {
  return describe(std::make_exception_ptr(exception));
}

TEST(DescribeError, OnlyInternalErrorsShowOurSource) {
  const ErrorReport bad_data = report_of(Error(ExitCode::data, "no shards", "x.cpp", 3));
  EXPECT_EQ(bad_data.code, ExitCode::data);
  EXPECT_EQ(bad_data.message, "no shards");
  const ErrorReport broken = report_of(Error(ExitCode::internal, "broken", "core/x.cpp", 3));
  EXPECT_EQ(broken.code, ExitCode::internal);
  EXPECT_EQ(broken.message, "internal error at core/x.cpp:3: broken");
}

TEST(DescribeError, OtherExceptions) {
  EXPECT_EQ(report_of(std::bad_alloc()).message, "out of memory");
  EXPECT_EQ(report_of(std::out_of_range("at 3")).message, "internal error: at 3");
  EXPECT_EQ(report_of(3).message, "internal error of an unknown type");
  EXPECT_EQ(report_of(3).code, ExitCode::internal);
}

TEST(DescribeError, EveryLineIsPrefixed) {
  ::testing::internal::CaptureStderr();
  print_error({ExitCode::data, "a\nb"}, "[rank 1] dualpath: ");
  EXPECT_EQ(::testing::internal::GetCapturedStderr(),
            "[rank 1] dualpath: a\n[rank 1] dualpath: b\n");
}

// Trial R7.
TEST(GivenGpus, AreToldByTheEnvironment) {
  const auto given = [](const std::string& name, const char* value) {
    return given_gpus([&](const char* asked) { return asked == name ? value : nullptr; });
  };
  EXPECT_EQ(given("PATH", "/bin"), "");
  EXPECT_EQ(given("CUDA_VISIBLE_DEVICES", "0,1"), "CUDA_VISIBLE_DEVICES=0,1");
  for (const char* none : {"", "-1", "NoDevFiles", "none"})
    EXPECT_EQ(given("CUDA_VISIBLE_DEVICES", none), "");
  EXPECT_EQ(given("SLURM_JOB_GPUS", "0"), "SLURM_JOB_GPUS=0");
  EXPECT_EQ(given("SLURM_GPUS_ON_NODE", "4"), "SLURM_GPUS_ON_NODE=4");
  EXPECT_EQ(given("SLURM_GPUS_PER_NODE", "h200:8"), "SLURM_GPUS_PER_NODE=h200:8");
  EXPECT_EQ(given("SLURM_GPUS_ON_NODE", "0"), "");
}

// Trial S7: weights are not taken into another function of them without a word.
TEST(InitialWeights, FieldsThatMakeAnotherFunctionAreRefusedByName) {
  const auto refusal = [](auto change, std::vector<std::string> allowed = {}) {
    const ModelConfig source;
    ModelConfig model = source;
    change(model);
    return error_of(ExitCode::configuration, [&] { check_same_function(source, model, allowed); });
  };
  const auto theta = [](ModelConfig& m) { m.rope_theta = 10000; };
  EXPECT_THAT(refusal(theta), HasSubstr("model.rope_theta: 500000 there, 10000 here"));
  EXPECT_THAT(refusal(theta), HasSubstr("train.init_changes=[model.rope_theta]"));
  EXPECT_THAT(refusal(theta, {"model.gate.mode"}), HasSubstr("model.rope_theta"));
  const auto wider = [](ModelConfig& m) { m.hidden_size = 1024; };
  EXPECT_THAT(refusal(wider), AllOf(HasSubstr("other shapes"), Not(HasSubstr("init_changes"))));
  const std::pair<const char*, void (*)(ModelConfig&)> changes[] = {
      {"model.tied_embeddings", [](ModelConfig& m) { m.tied_embeddings = true; }},
      {"model.norm_epsilon", [](ModelConfig& m) { m.norm_epsilon = 1e-6; }},
      {"model.qk_norm", [](ModelConfig& m) { m.qk_norm = QkNorm::before_rope; }},
      {"model.deep.input_injection", [](ModelConfig& m) { m.deep.input_injection = true; }},
      {"model.deep.iterations", [](ModelConfig& m) { m.deep.iterations = 2; }},
      {"model.deep.combine", [](ModelConfig& m) { m.deep.combine = LoopCombine::final; }},
      {"model.gate.mode", [](ModelConfig& m) { m.gate.mode = GateMode::convex; }},
      {"model.gate.target", [](ModelConfig& m) { m.gate.target = GateTarget::updates; }}};
  for (const auto& [name, change] : changes) EXPECT_THAT(refusal(change), HasSubstr(name));
}

TEST(InitialWeights, WhatIsAllowedOrMakesTheSameFunctionIsTaken) {
  const ModelConfig source;
  ModelConfig model = source;
  model.sequence_length = 512;
  model.init_std = 0.5;
  model.deep.gain_init = 0;
  model.budget_rule = BudgetRule::paper;
  EXPECT_THAT(check_same_function(source, model, {}), IsEmpty());
  model.rope_theta = 10000;
  const std::vector<std::string> allowed = {"model.rope_theta"};
  const std::vector<ConfigChange> changes = check_same_function(source, model, allowed);
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].key, "model.rope_theta");
}

TEST(Check, NamesItsPlaceFromTheSourceRoot) {
  try {
    CHECK(1 + 1 == 3, "sum is {}", 2);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "sum is 2");
    EXPECT_STREQ(error.file(), "tests/launcher_test.cpp");
  }
}

}  // namespace
}  // namespace dualpath
