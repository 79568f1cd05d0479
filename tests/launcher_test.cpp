#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <new>
#include <stdexcept>

#include "core/error.h"
#include "launcher/arguments.h"
#include "launcher/report_error.h"

namespace dualpath {
namespace {

using ::testing::ElementsAre;
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
