#include "launcher/sweep/chart.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <iterator>
#include <limits>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/error.h"
#include "data/file_io.h"
#include "launcher/sweep/markup.h"
#include "launcher/text_format.h"
#include "launcher/work_folder.h"

namespace dualpath {

namespace {

namespace fs = std::filesystem;

// Gnuplot has no names for colours that a page gives later: these stand for them until then.
std::string stand_in(std::size_t index) {
  return fmt::format("rgb '#0101{:02x}'", index);
}
constexpr const char* page_variables[] = {"--series-0", "--series-1", "--series-2", "--series-3",
                                          "--series-4", "--series-5", "--series-6", "--series-7",
                                          "--axis",     "--text",     "--grid"};
constexpr std::size_t axis_colour = 8, text_colour = 9, grid_colour = 10;

// Within single quotes gnuplot gives a meaning to the quote alone.
std::string in_quotes(std::string_view text) {
  std::string result = "'";
  for (const char c : text) {
    if (c == '\'') result += '\'';
    result += c == '\n' ? ' ' : c;
  }
  return result + "'";
}

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();

  void include(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  // By a twentieth to both sides, or what makes room around a single value.
  Range widened() const {
    const double margin = high > low ? (high - low) / 20 : std::max(0.1, std::abs(low) / 20);
    return {low - margin, high + margin};
  }
};

// Of x, as its logarithm where that is the axis.
Range x_range(const Chart& chart) {
  Range range;
  for (const Series& series : chart.series)
    for (const double x : series.x) range.include(chart.logarithmic_x ? std::log10(x) : x);
  return range.widened();
}

Range y_range(const Chart& chart) {
  Range range;
  for (const Series& series : chart.series) {
    for (std::size_t i = 0; i < series.y.size(); ++i) {
      const double error = series.error.empty() ? 0 : series.error[i];
      range.include(series.y[i] - error);
      range.include(series.y[i] + error);
    }
  }
  return range.widened();
}

// Round numbers between 10^low and 10^high: as few to the decade as give four of them.
std::vector<double> logarithmic_ticks(Range range) {
  const std::vector<double> choices[] = {
      {1}, {1, 3}, {1, 2, 5}, {1, 1.5, 2, 3, 4, 5, 6, 8}, {1,   1.2, 1.4, 1.6, 1.8, 2,   2.5,
                                                           3,   3.5, 4,   4.5, 5,   5.5, 6,
                                                           6.5, 7,   7.5, 8,   8.5, 9,   9.5}};
  std::vector<double> ticks;
  for (const std::vector<double>& factors : choices) {
    ticks.clear();
    for (double decade = std::floor(range.low); decade <= range.high; ++decade) {
      for (const double factor : factors) {
        const double tick = factor * std::pow(10, decade);
        if (std::log10(tick) >= range.low && std::log10(tick) <= range.high) ticks.push_back(tick);
      }
    }
    if (ticks.size() >= 4) break;
  }
  return ticks;
}

bool has_whole_x(const Chart& chart) {
  return std::ranges::all_of(chart.series, [](const Series& series) {
    return std::ranges::all_of(series.x, [](double x) { return x == std::floor(x); });
  });
}

std::string x_axis(const Chart& chart) {
  const Range range = x_range(chart);
  if (!chart.logarithmic_x) {
    const bool few = range.high - range.low <= 12 && has_whole_x(chart);
    return fmt::format("set xrange [{}:{}]\n{}", range.low, range.high, few ? "set xtics 1\n" : "");
  }
  std::vector<std::string> ticks;
  for (const double tick : logarithmic_ticks(range))
    ticks.push_back(fmt::format("{} {}", in_quotes(scaled(tick)), tick));
  return fmt::format("set logscale x\nset xrange [{}:{}]\nset xtics ({})\n",
                     std::pow(10, range.low), std::pow(10, range.high), fmt::join(ticks, ", "));
}

std::string data_block(const Series& series, std::size_t index) {
  std::string text = fmt::format("$series{} << END\n", index);
  for (std::size_t i = 0; i < series.x.size(); ++i)
    text += fmt::format("{} {} {}\n", series.x[i], series.y[i],
                        series.error.empty() ? 0 : series.error[i]);
  return text + "END\n";
}

std::string plot_clause(const Series& series, std::size_t index) {
  const std::size_t round = series.colour / num_chart_colours;
  const std::string look = fmt::format(
      "lc {} lw {} dt {} pt {} ps 0.7", stand_in(series.colour % num_chart_colours),
      series.style == Series::Style::line ? "1.5" : "1.2", round + 1, round % 2 == 0 ? 7 : 6);
  const auto clause = [&](const char* columns, const char* style, bool named) {
    return fmt::format(
        "$series{} using {} with {} {} {}", index, columns, style, look,
        named && !series.name.empty() ? "title " + in_quotes(series.name) : "notitle");
  };
  if (series.style == Series::Style::line) return clause("1:2", "lines", true);
  const bool line = series.style == Series::Style::line_and_points;
  if (series.error.empty()) return clause("1:2", line ? "linespoints" : "points", true);
  const std::string points = clause("1:2:3", "yerrorbars", true);
  return line ? points + ", " + clause("1:2", "lines", false) : points;
}

// Of the legend below the plot, which has two columns where the names are short.
std::size_t legend_rows(const Chart& chart) {
  std::size_t entries = 0, longest = 0;
  for (const Series& series : chart.series) {
    entries += series.name.empty() ? 0 : 1;
    longest = std::max(longest, series.name.size());
  }
  return longest <= 26 ? (entries + 1) / 2 : entries;
}

// Throws unless gnuplot has carried out the script.
void run_gnuplot(const fs::path& script, const fs::path& messages) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, messages.c_str(),
                                   O_WRONLY | O_CREAT | O_TRUNC, 0600);
  std::string program = "gnuplot", argument = script.string();
  char* const words[] = {program.data(), argument.data(), nullptr};
  pid_t process = 0;
  const int error = posix_spawnp(&process, words[0], &actions, nullptr, words, environ);
  posix_spawn_file_actions_destroy(&actions);
  CHECK_AS(ExitCode::configuration, error != ENOENT,
           "gnuplot, which draws the pictures, is not installed; on Debian and Ubuntu: apt-get "
           "install gnuplot-nox");
  CHECK_AS(ExitCode::configuration, error == 0, "gnuplot cannot be started: {}",
           std::strerror(error));
  int status = 0;
  pid_t ended = 0;
  while ((ended = ::waitpid(process, &status, 0)) < 0 && errno == EINTR) {
  }
  CHECK(ended == process, "waitpid: {}", std::strerror(errno));
  CHECK_AS(ExitCode::configuration, WIFEXITED(status) && WEXITSTATUS(status) == 0,
           "gnuplot failed: {}", read_file(messages.string(), ExitCode::configuration));
}

// Where scratch folders lie; those that killed processes left are removed.
fs::path scratch_prefix() {
  std::error_code error;
  const fs::path prefix = fs::temp_directory_path(error) / "dualpath-charts-";
  CHECK_AS(ExitCode::configuration, !error, "TMPDIR: {}", error.message());
  remove_abandoned(prefix);
  return prefix;
}

}  // namespace

std::string gnuplot_script(const Chart& chart, const std::string& svg_path) {
  constexpr double plot = 250, above = 34, axis_text = 48, legend_row = 19;  // heights
  const std::size_t rows = legend_rows(chart);
  const double below = axis_text + legend_row * (static_cast<double>(rows) + 0.5);
  const double height = above + plot + below;
  const Range y = y_range(chart);
  const std::string text = "textcolor " + stand_in(text_colour);
  std::string script = fmt::format(
      "reset\nset encoding utf8\n"
      "set terminal svg size 520,{} dynamic noenhanced rounded font 'sans-serif,13'\n"
      "set output {}\n",
      height, in_quotes(svg_path));
  script += fmt::format("set tmargin at screen {}\nset bmargin at screen {}\n", 1 - above / height,
                        below / height);
  script += fmt::format("set title {} {}\nset xlabel {} offset 0,0.4 {}\nset ylabel {} {}\n",
                        in_quotes(chart.title), text, in_quotes(chart.x_label), text,
                        in_quotes(chart.y_label), text);
  script += fmt::format("set border 3 lc {}\nset tics nomirror {}\nset grid lc {} dt 1 lw 0.6\n",
                        stand_in(axis_colour), text, stand_in(grid_colour));
  script += fmt::format(
      "set errorbars 0.6\nset pointintervalbox 0\n"
      "set key at screen 0.12,{} left top Left reverse vertical maxrows {} samplen 2 width -3 {}\n",
      (below - axis_text) / height, std::max<std::size_t>(1, rows), text);
  script += fmt::format("set yrange [{}:{}]\n{}", y.low, y.high, x_axis(chart));
  std::vector<std::string> clauses;
  for (std::size_t i = 0; i < chart.series.size(); ++i) {
    script += data_block(chart.series[i], i);
    clauses.push_back(plot_clause(chart.series[i], i));
  }
  return script + fmt::format("plot {}\nset output\n", fmt::join(clauses, ", "));
}

void replace_all(std::string& text, const std::string& from, const std::string& to) {
  for (std::size_t at = text.find(from); at != text.npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
}

// Both ends included.
void remove_between(std::string& text, const std::string& first, const std::string& last) {
  const std::size_t begin = text.find(first);
  const std::size_t end = text.find(last, begin);
  if (begin != text.npos && end != text.npos) text.erase(begin, end + last.size() - begin);
}

std::string embedded_svg(const std::string& file, const std::string& prefix,
                         const std::string& title) {
  const std::size_t begin = file.find("<svg");
  CHECK(begin != std::string::npos, "gnuplot wrote no SVG");
  std::string svg = file.substr(begin);
  svg.insert(4, fmt::format(" role=\"img\" aria-label=\"{}\"", escaped(title)));
  remove_between(svg, "<title>", "</title>");
  remove_between(svg, "<desc>", "</desc>");
  for (const std::string reference : {" id='", " id=\"", "href='#", "url(#"})
    replace_all(svg, reference, reference + prefix);
  for (std::size_t i = 0; i < std::size(page_variables); ++i) {
    const std::string variable = fmt::format("var({})", page_variables[i]);
    replace_all(svg, fmt::format("rgb({:3}, {:3}, {:3})", 1, 1, i), variable);  // of lines
    replace_all(svg, fmt::format("rgb({},{},{})", 1, 1, i), variable);          // of text
  }
  replace_all(svg, "color='white'", "color='var(--background)'");  // around points
  return svg;
}

std::vector<std::string> draw(const std::vector<Chart>& charts) {
  if (charts.empty()) return {};
  const WorkFolder scratch(scratch_prefix(), ExitCode::configuration);
  const auto file = [&](std::size_t i) {
    return (scratch.path() / fmt::format("{}.svg", i)).string();
  };
  std::string script;
  for (std::size_t i = 0; i < charts.size(); ++i) script += gnuplot_script(charts[i], file(i));
  const fs::path script_file = scratch.path() / "charts.gnuplot";
  write_file(script_file.string(), script, ExitCode::configuration);
  run_gnuplot(script_file, scratch.path() / "messages");
  std::vector<std::string> pictures;
  for (std::size_t i = 0; i < charts.size(); ++i)
    pictures.push_back(embedded_svg(read_file(file(i), ExitCode::configuration),
                                    fmt::format("chart{}-", i), charts[i].title));
  return pictures;
}

}  // namespace dualpath
