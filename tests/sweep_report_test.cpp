// A sweep's report: text that is safe, pictures by gnuplot, and the whole page of a made-up sweep.
#include "launcher/sweep/sweep_report.h"

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <regex>

#include "data/files/file_io.h"
#include "launcher/common/markup.h"
#include "launcher/common/text_format.h"
#include "launcher/sweep/chart.h"
#include "launcher/sweep/report_page.h"
#include "launcher/sweep/sweep_folder.h"
#include "launcher/train/metrics_writer.h"
#include "tests/expect_error.h"
#include "tests/temporary_folder.h"

namespace dualpath {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::SizeIs;
using testing::StartsWith;

std::string read(const std::filesystem::path& path) {
  return read_file(path.string(), ExitCode::internal);
}

TEST(Markup, WhatMeansSomethingIsWrittenOtherwise) {
  EXPECT_EQ(escaped("a<b> & \"c\" α\n"), "a&lt;b&gt; &amp; &quot;c&quot; α\n");
  EXPECT_EQ(escaped(std::string("\x1b[31m\0x", 7)), "[31mx");
  EXPECT_EQ(escaped("cut \xce"), "cut \uFFFD");
  EXPECT_EQ(csv_field("plain α"), "plain α");
  EXPECT_EQ(csv_field("a,b"), "\"a,b\"");
  EXPECT_EQ(csv_field("say \"no\"\n"), "\"say \"\"no\"\"\n\"");
}

TEST(TextFormat, ScaledNumbers) {
  EXPECT_EQ(scaled(0), "0");
  EXPECT_EQ(scaled(999), "999");
  EXPECT_EQ(scaled(80e6), "80M");
  EXPECT_EQ(scaled(483156880), "483.2M");
  EXPECT_EQ(scaled(999'960), "1M");
  EXPECT_EQ(scaled(999'940'000), "999.9M");
  EXPECT_EQ(scaled(2.2e20), "2.2e+20");
}

Chart example_chart() {
  return {
      .title = "It's <one> & `only`",
      .x_label = "it's $x_1",
      .y_label = "loss",
      .logarithmic_x = true,
      .series = {{.name = "one & two",
                  .colour = 0,
                  .x = {3e8, 5e8, 7e8},
                  .y = {3, 2.5, 2.75},
                  .error = {0.1, 0, 0.2}},
                 {.name = "", .colour = 9, .style = Series::Style::line, .x = {4e8}, .y = {3}}}};
}

TEST(Chart, ScriptQuotesItsTextsAndPicksRoundTicks) {
  const std::string script = gnuplot_script(example_chart(), "/tmp/o'clock.svg");
  EXPECT_THAT(script, HasSubstr("set output '/tmp/o''clock.svg'\n"));
  EXPECT_THAT(script, HasSubstr("set xlabel 'it''s $x_1'"));
  EXPECT_THAT(script, HasSubstr("300000000 3 0.1\n500000000 2.5 0\n700000000 2.75 0.2\nEND\n"));
  EXPECT_THAT(script, HasSubstr("set xtics ('300M' 300000000, '400M' 400000000,"));
}

// The places that "set xtics ('1k' 1000, ...)" labels.
std::vector<std::pair<std::string, double>> ticks_of(const std::string& script) {
  const std::size_t begin = script.find("set xtics (") + 11;
  const std::string list = script.substr(begin, script.find(")\n", begin) - begin);
  static const std::regex tick("'([^']*)' ([0-9.e+-]+)");
  std::vector<std::pair<std::string, double>> ticks;
  for (std::sregex_iterator it(list.begin(), list.end(), tick), end; it != end; ++it)
    ticks.emplace_back((*it)[1], std::stod((*it)[2]));
  return ticks;
}

// "750k800k850k" stood below an axis.
TEST(Chart, LabelsOfTheAxisStandApart) {
  for (const auto& [low, high] : std::vector<std::pair<double, double>>{{684'800, 895'300},
                                                                        {1.2e5, 1.23e6},
                                                                        {2048, 1.2e6},
                                                                        {100, 101},
                                                                        {8.1234e8, 8.1235e8},
                                                                        {1, 1e12},
                                                                        {1e-3, 5},
                                                                        {7e8, 1.3e9},
                                                                        {3, 3},
                                                                        {1e6, 3.2e14}}) {
    const Chart chart{.logarithmic_x = true, .series = {{.x = {low, high}, .y = {1, 2}}}};
    const std::string script = gnuplot_script(chart, "o.svg");
    const auto ticks = ticks_of(script);
    EXPECT_GE(ticks.size(), 2u) << low << " to " << high;
    EXPECT_LE(ticks.size(), 8u);
    // Of the plot's 340, a character 9 wide.
    const std::size_t at = script.find("set xrange [") + 12;
    const double begin = std::stod(script.substr(at));
    const double end = std::stod(script.substr(script.find(':', at) + 1));
    for (std::size_t i = 1; i < ticks.size(); ++i) {
      const auto& [text, x] = ticks[i];
      const auto& [text_before, x_before] = ticks[i - 1];
      EXPECT_NE(text, text_before);
      const double distance = 340 * std::log(x / x_before) / std::log(end / begin);
      EXPECT_GT(distance, 4.5 * static_cast<double>(text.size() + text_before.size()))
          << text_before << " and " << text << " of " << low << " to " << high;
    }
  }
}

// Of 28 lines gnuplot's own legend shows 20, and names cut off.
TEST(Chart, TheLegendNamesEverySeries) {
  Chart chart;
  for (std::size_t i = 0; i < 28; ++i)
    chart.series.push_back({.name = fmt::format("series <{}>", i), .colour = i});
  chart.series.push_back({.name = ""});
  const std::string html = legend(chart);
  for (std::size_t i = 0; i < 28; ++i)
    EXPECT_THAT(html, HasSubstr(fmt::format("</svg>series &lt;{}&gt;</li>", i)));
  std::size_t items = 0;
  for (std::size_t at = html.find("<li>"); at != html.npos; at = html.find("<li>", at + 1)) ++items;
  EXPECT_EQ(items, 28u);
  EXPECT_THAT(html, AllOf(HasSubstr("color: var(--series-0)"), HasSubstr("color: var(--series-7)"),
                          HasSubstr("stroke-dasharray")));
  EXPECT_EQ(legend({}), "");
}

TEST(Chart, LayersHaveWholeTicks) {
  Chart chart{.title = "by layer", .series = {{.name = "a", .x = {0, 1, 2}, .y = {1, 2, 3}}}};
  EXPECT_THAT(gnuplot_script(chart, "o.svg"), HasSubstr("set xtics 1\n"));
  chart.series[0].x = {0, 0.5, 2};
  EXPECT_THAT(gnuplot_script(chart, "o.svg"), Not(HasSubstr("set xtics 1")));
}

TEST(Chart, PicturesAreElementsOfThePage) {
  const std::vector<std::string> pictures = draw({example_chart(), example_chart()});
  ASSERT_THAT(pictures, SizeIs(2));
  for (const std::string& svg : pictures) {
    EXPECT_THAT(svg, StartsWith("<svg role=\"img\" aria-label=\"It's &lt;one&gt; &amp; `only`\""));
    EXPECT_THAT(svg, AllOf(HasSubstr("var(--series-0)"), HasSubstr("var(--series-1)"),
                           HasSubstr("var(--axis)"), HasSubstr("var(--text)"),
                           HasSubstr("var(--grid)"), HasSubstr(">it's $x_1</text>")));
    EXPECT_THAT(svg, Not(HasSubstr("<title>")));
    EXPECT_THAT(svg, Not(HasSubstr("rgb(")));
  }
  EXPECT_THAT(pictures[0],
              AllOf(HasSubstr("id='chart0-gpPt5'"), HasSubstr("href='#chart0-gpPt6'")));
  EXPECT_THAT(pictures[1], Not(HasSubstr("chart0-")));
  EXPECT_THAT(draw({}), SizeIs(0));
}

// Three models in four seeds, of which one has failed, one is at work and one has not begun.
class SweepReport : public testing::Test {
 protected:
  SweepReport() {
    plan_.infeasible = {
        {{SweepArchitecture::dual_path, 4, 0.25, 8e7}, "attention takes all & more"}};
    for (const std::int64_t iterations : {2, 3, 4}) {
      for (const std::int64_t seed : {1, 2, 3, 4}) {
        SweepRun run;
        run.name = fmt::format("looped_k{}_s{}", iterations, seed);
        run.cell = {SweepArchitecture::looped, iterations, 0, 8e7};
        run.seed = seed;
        run.parameters = 1'000'000'000 >> iterations;
        run.flops_per_token = 1e9;
        run.steps = 40;
        run.tokens = 4000;
        plan_.runs.push_back(run);
      }
    }
    write_sweep_plan(sweep_, plan_);
  }

  std::filesystem::path folder_of(const SweepRun& run) const {
    const std::filesystem::path folder = run_folder(sweep_, run.name);
    std::filesystem::create_directories(folder);
    return folder;
  }
  // Steps with a loss that is NaN at last, where asked for, and gates.
  void train(const SweepRun& run, std::int64_t steps, bool diverges = false) const {
    MetricsWriter writer(folder_of(run) / "metrics.jsonl", 0);
    for (std::int64_t i = 1; i <= steps; ++i) {
      StepMetrics m;
      m.step = i;
      m.consumed_tokens = 100 * i;
      m.loss = diverges && i == steps ? std::nan("") : 3 + 1.0 / static_cast<double>(i);
      m.expected_iterations = {1.5, diverges ? std::nan("") : 1.25};
      writer.write(m);
    }
    ValidationMetrics m;
    m.step = steps;
    m.consumed_tokens = 100 * steps;
    m.validation_loss = 3 + 0.01 * std::pow(static_cast<double>(run.cell.iterations) - 2.75, 2) +
                        0.001 * static_cast<double>(run.seed);
    writer.write(m);
  }
  void finish(const SweepRun& run) const { std::ofstream(folder_of(run) / "DONE"); }
  void train_all() const {
    for (const SweepRun& run : plan_.runs) {
      if (&run == &plan_.runs[0]) {
        train(run, 7, true);
        record_exit(folder_of(run), 5, "step 7: <loss> is not finite\nsee \"output\"");
      } else if (&run == &plan_.runs[1]) {
        train(run, 2);
        std::ofstream(folder_of(run) / ".lock");
      } else if (&run != &plan_.runs[2]) {
        train(run, 40);
        finish(run);
      }
    }
  }

  // By xmllint: each tag closed, each attribute quoted, nothing unescaped, no id twice.
  std::string page() const {
    const std::string file = sweep_ / "report.html";
    EXPECT_EQ(std::system(fmt::format("xmllint --noout --nonet '{}'", file).c_str()), 0);
    return read(file);
  }
  std::vector<std::string> csv_lines() const {
    std::vector<std::string> lines;
    std::ifstream file(sweep_ / "report.csv");
    for (std::string line; std::getline(file, line);) lines.push_back(line);
    return lines;
  }

  const TemporaryFolder scratch_;
  const std::filesystem::path sweep_ = scratch_ / "a & b";
  SweepPlan plan_;
};

TEST_F(SweepReport, OfASweepUnderWay) {
  train_all();
  write_sweep_report(sweep_);
  const std::string html = page();
  EXPECT_THAT(html, HasSubstr("<title>Sweep a &amp; b</title>"));
  EXPECT_THAT(html, HasSubstr("12 runs: 1 planned, 9 finished, 1 failed, 1 stopped; "
                              "1 cell of the grid has no model."));
  EXPECT_THAT(html, HasSubstr("★ looped"));
  // Seeds 1 to 4 of K 3, the best: 3 + 0.01/16 + 0.0025, sqrt(5/3) thousandths apart.
  EXPECT_THAT(html, HasSubstr("<td>3.0031 ±\u00a00.0013</td>"));
  EXPECT_THAT(html, HasSubstr("<td>1 of 4</td>"));
  EXPECT_THAT(html, HasSubstr("looped: loss = "));
  EXPECT_THAT(html, HasSubstr("through 3 sizes, exactly"));
  EXPECT_THAT(html, HasSubstr("step 7: &lt;loss&gt; is not finite\nsee &quot;output&quot;"));
  EXPECT_THAT(html, HasSubstr("<td>2 of 40</td>"));
  EXPECT_THAT(html, HasSubstr("attention takes all &amp; more"));
  EXPECT_THAT(html, HasSubstr("aria-label=\"Expected iterations of the deep path, 80M FLOPs per "
                              "token and layer\""));
  // Of the one seed of K 2 that has finished: not of the one whose last values are NaN.
  EXPECT_THAT(html, HasSubstr("<td class=\"text\">looped, K 2</td><td>1.5000</td><td>1.2500</td>"));
  EXPECT_THAT(html, HasSubstr("prefers-color-scheme: dark"));
  EXPECT_THAT(html, HasSubstr("name=\"viewport\""));
  for (const char* outside : {"<script", "<link", "<img", "@import", "url(http"})
    EXPECT_THAT(html, Not(HasSubstr(outside)));

  const std::vector<std::string> csv = csv_lines();
  ASSERT_THAT(csv, SizeIs(1 + plan_.runs.size() + 1));  // a reason has a line break
  EXPECT_THAT(csv[0], StartsWith("run,state,reason,architecture,iterations,"));
  for (const SweepRun& run : plan_.runs)
    EXPECT_THAT(read(sweep_ / "report.csv"), HasSubstr("\n" + run.name + ","));
  EXPECT_THAT(csv[1], StartsWith("looped_k2_s1,failed,\"step 7: <loss> is not finite"));
  EXPECT_THAT(csv.back(), StartsWith("looped_k4_s4,finished,,looped,4,,80000000,,"));
  const auto num_commas = [](const std::string& line) { return std::ranges::count(line, ','); };
  EXPECT_EQ(num_commas(csv.back()), num_commas(csv[0]));
}

TEST_F(SweepReport, BeforeAnyRun) {
  write_sweep_report(sweep_);
  const std::string html = page();
  EXPECT_THAT(html, HasSubstr("12 runs: 12 planned"));
  EXPECT_THAT(html, HasSubstr("<td>0 of 40</td>"));
  EXPECT_THAT(html, Not(HasSubstr("<svg")));
  EXPECT_THAT(csv_lines(), SizeIs(13));
}

TEST_F(SweepReport, OfOneSeed) {
  train(plan_.runs[0], 40);
  finish(plan_.runs[0]);
  write_sweep_report(sweep_);
  EXPECT_THAT(page(), AllOf(HasSubstr("<td>3.0066</td>"), HasSubstr("no minimum, fewer than 3")));
}

TEST_F(SweepReport, WithoutGnuplotTheTableIsWritten) {
  train_all();
  const std::string path = std::getenv("PATH");
  ::setenv("PATH", scratch_.path().c_str(), 1);
  const std::string message =
      error_of(ExitCode::configuration, [&] { write_sweep_report(sweep_); });
  ::setenv("PATH", path.c_str(), 1);
  EXPECT_THAT(message, HasSubstr("apt-get install gnuplot-nox"));
  EXPECT_THAT(csv_lines(), SizeIs(14));
  EXPECT_FALSE(std::filesystem::exists(sweep_ / "report.html"));
}

TEST_F(SweepReport, DualSingleIsThePointOfDualPathAtKOne) {
  plan_.runs.resize(2);
  plan_.runs[0].cell = {SweepArchitecture::dual_single, 1, 0.5, 8e7};
  plan_.runs[1].cell = {SweepArchitecture::dual_path, 2, 0.5, 8e7};
  write_sweep_plan(sweep_, plan_);
  for (const SweepRun& run : plan_.runs) {
    train(run, 40);
    finish(run);
  }
  write_sweep_report(sweep_);
  EXPECT_THAT(page(),
              AllOf(HasSubstr(">Loss against K"), HasSubstr("</svg>dual_path, α 0.5</li>")));
}

// A scroll bar hid the loss that models are compared by, in a window of 1,100 pixels.
TEST_F(SweepReport, TheLossStandsBeforeWhatAModelCosts) {
  train_all();
  write_sweep_report(sweep_);
  const std::string html = page();
  EXPECT_THAT(html, HasSubstr("<th class=\"text\">architecture</th><th>K</th><th>α</th>"
                              "<th>validation loss</th><th>training loss</th>"));
  EXPECT_THAT(html, Not(HasSubstr("nowrap")));
}

// Models of two layer budgets were joined by one line.
TEST_F(SweepReport, LinesJoinModelsOfOneLayerBudget) {
  plan_.runs.resize(12);
  for (std::size_t i = 0; i < plan_.runs.size(); ++i) {
    SweepRun& run = plan_.runs[i];
    run.cell = {SweepArchitecture::dual_path, 2 + static_cast<std::int64_t>(i / 3 % 2),
                0.25 * static_cast<double>(1 + i % 3), i < 6 ? 8e7 : 16e7};
    run.training_flops = 1e18;
    run.seed = 1;
    run.parameters += 1'000'000 * static_cast<std::int64_t>(i);
  }
  write_sweep_plan(sweep_, plan_);
  for (const SweepRun& run : plan_.runs) {
    train(run, 40);
    finish(run);
  }
  const std::vector<ReportSection> sections = report_sections(read_sweep_results(sweep_));
  const auto sizes =
      std::ranges::find(sections, "Sizes, 1e+18 FLOPs of training", &ReportSection::heading);
  ASSERT_NE(sizes, sections.end());
  ASSERT_THAT(sizes->charts, SizeIs(2));
  for (const Series& series : sizes->charts[0].series)
    EXPECT_EQ(series.style, Series::Style::points) << series.name;
  std::vector<std::string> names;
  for (const Series& series : sizes->charts[1].series) {
    names.push_back(series.name);
    EXPECT_THAT(series.x, ElementsAre(0.25, 0.5, 0.75));
  }
  EXPECT_THAT(names, ElementsAre("dual_path, K 2, F 160M", "dual_path, K 2, F 80M",
                                 "dual_path, K 3, F 160M", "dual_path, K 3, F 80M"));
}

TEST(NoSweep, IsRefused) {
  const TemporaryFolder folder;
  EXPECT_THAT(error_of(ExitCode::checkpoint, [&] { write_sweep_report(folder.path()); }),
              HasSubstr("no sweep is here"));
}

}  // namespace
}  // namespace dualpath
