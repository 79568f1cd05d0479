#include "launcher/sweep/statistics.h"

#include <cmath>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <limits>
#include <vector>

namespace dualpath {
namespace {

using testing::HasSubstr;

constexpr double epsilon = std::numeric_limits<double>::epsilon();

TEST(Spread, MeanAndSampleDeviation) {
  const Spread one = spread_of(std::vector<double>{3.5});
  EXPECT_EQ(one.count, 1u);
  EXPECT_EQ(one.mean, 3.5);
  EXPECT_EQ(one.deviation, 0);
  // By count, the deviation were 2.
  const Spread many = spread_of(std::vector<double>{2, 4, 4, 4, 5, 5, 7, 9});
  EXPECT_EQ(many.count, 8u);
  EXPECT_EQ(many.mean, 5);
  EXPECT_DOUBLE_EQ(many.deviation, std::sqrt(32.0 / 7));
}

TEST(Parabola, FindsWhatItWasMadeOf) {
  const auto parabola = [](double x) { return 2.75 + 0.125 * (x - 8.5) * (x - 8.5); };
  for (const std::vector<double>& xs :
       {std::vector<double>{8, 8.25, 9.5}, {7.5, 8, 8.125, 9, 9.0625, 11}}) {
    std::vector<double> ys;
    for (const double x : xs) ys.push_back(parabola(x));
    const ParabolaFit fit = fit_parabola(xs, ys);
    ASSERT_TRUE(fit.parabola) << fit.problem;
    EXPECT_EQ(fit.problem, "");
    // ys are within epsilon; the smallest spread of xs, w ~ 1/4, amplifies that below 2^10.
    EXPECT_NEAR(fit.parabola->minimum_x, 8.5, 1024 * 11 * epsilon);
    EXPECT_NEAR(fit.parabola->minimum_y, 2.75, 1024 * 3 * epsilon);
    EXPECT_NEAR(fit.parabola->curvature, 0.125, 1024 * epsilon);
    EXPECT_LT(fit.parabola->residual, 1024 * epsilon);
  }
}

// From the normal equations, solved in fractions.
TEST(Parabola, LeastSquaresOfPointsOnNoParabola) {
  const ParabolaFit fit =
      fit_parabola(std::vector<double>{0, 1, 2, 3, 5}, std::vector<double>{4, 2, 2.5, 3, 9});
  ASSERT_TRUE(fit.parabola);
  EXPECT_NEAR(fit.parabola->curvature, 1725.0 / 2716, 1e3 * epsilon);
  EXPECT_NEAR(fit.parabola->minimum_x, 1949.0 / 1150, 1e3 * epsilon);
  EXPECT_NEAR(fit.parabola->minimum_y, 12855397.0 / 6246800, 1e3 * epsilon);
  EXPECT_NEAR(fit.parabola->residual, std::sqrt(85.0 / 1358), 1e3 * epsilon);
}

TEST(Parabola, SaysWhyThereIsNone) {
  const auto problem = [](const std::vector<double>& xs, const std::vector<double>& ys) {
    const ParabolaFit fit = fit_parabola(xs, ys);
    EXPECT_FALSE(fit.parabola);
    return fit.problem;
  };
  EXPECT_THAT(problem({}, {}), HasSubstr("fewer than 3"));
  EXPECT_THAT(problem({1, 2, 2, 2}, {3, 1, 2, 2}), HasSubstr("fewer than 3"));
  EXPECT_THAT(problem({1, 2, 3}, {1, 2, 1}), HasSubstr("not curve upwards"));
  EXPECT_THAT(problem({1, 2, 3}, {9, 4, 1}), HasSubstr("largest"));
  EXPECT_THAT(problem({1, 2, 3}, {1, 4, 9}), HasSubstr("smallest"));
  // On a straight line up to rounding; 0.1 i is not exact.
  std::vector<double> xs, ys;
  for (int i = 0; i < 50; ++i) {
    xs.push_back(7 + 0.1 * i);
    ys.push_back(3.3 - 0.1 * i);
  }
  EXPECT_THAT(problem(xs, ys), HasSubstr("not curve upwards"));
}

}  // namespace
}  // namespace dualpath
