#include "launcher/common/progress.h"

#include <gtest/gtest.h>

namespace dualpath {
namespace {

TEST(Progress, ShareAndTimeLeft) {
  EXPECT_EQ(progress_text("tokenising", 42, 100, 21, "18.3 MB/s"),
            "tokenising  42.0 % | 18.3 MB/s | ETA 0:00:29");
  EXPECT_EQ(progress_text("saving", 1, 4, 3600, "x"), "saving  25.0 % | x | ETA 3:00:00");
  EXPECT_EQ(progress_text("saving", 0, 4, 1, "x"), "saving   0.0 % | x");
  EXPECT_EQ(progress_text("saving", 5, 4, 1, "x"), "saving 100.0 % | x | ETA 0:00:00");
  EXPECT_EQ(progress_text("saving", 5, 0, 1, "x"), "saving | x");
}

TEST(Progress, SilentForAMinuteWhereThereIsNoTerminal) {
  std::FILE* file = std::tmpfile();
  {
    ProgressLine line("task", 10, file);
    for (int i = 0; i < 1000; ++i) {
      line.update(i, [](double) -> std::string {
        ADD_FAILURE() << "a line is due";
        return "";
      });
    }
  }
  EXPECT_EQ(std::ftell(file), 0);
  std::fclose(file);
}

}  // namespace
}  // namespace dualpath
