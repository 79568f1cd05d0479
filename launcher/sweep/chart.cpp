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

#include "core/base/error.h"
#include "data/files/file_io.h"
#include "launcher/common/markup.h"
#include "launcher/common/text_format.h"
#include "launcher/common/work_folder.h"

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

// The range of x, or of its logarithm where the axis is logarithmic.
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

// Sizes in the picture's own units; a page shows a unit as about a pixel.
constexpr double picture_width = 480, plot_height = 250, axis_height = 58, top_margin = 12;
constexpr double least_plot_width = 340;  // beside the y axis with its numbers
constexpr double digit_width = 9;         // of the axes' font, 14 high, at the most

// Whether labels at these places, in a plot of the range, stand apart by a digit at least.
bool labels_fit(const std::vector<double>& ticks, Range logarithms) {
  const double scale = least_plot_width / (logarithms.high - logarithms.low);
  for (std::size_t i = 1; i < ticks.size(); ++i) {
    const std::string before = scaled(ticks[i - 1]), label = scaled(ticks[i]);
    const double wanted = digit_width * (static_cast<double>(before.size() + label.size()) / 2 + 1);
    if (before == label || scale * std::log10(ticks[i] / ticks[i - 1]) < wanted) return false;
  }
  return true;
}

// Multiples of the step from 10^low to 10^high; none where there are too many to be labelled.
std::vector<double> multiples(double step, Range logarithms) {
  constexpr double most = 100;
  std::vector<double> ticks;
  const double first = std::ceil(std::pow(10, logarithms.low) / step);
  const double last = std::floor(std::pow(10, logarithms.high) / step);
  if (last - first > most) return {};
  for (double i = std::max(1.0, first); i <= last; ++i) ticks.push_back(i * step);
  return ticks;
}

// Factors of every n-th power of ten.
std::vector<double> powers(const std::vector<double>& factors, int every, Range logarithms) {
  std::vector<double> ticks;
  for (double decade = every * std::floor(logarithms.low / every); decade <= logarithms.high;
       decade += every) {
    for (const double factor : factors) {
      const double tick = factor * std::pow(10, decade);
      if (std::log10(tick) >= logarithms.low && std::log10(tick) <= logarithms.high)
        ticks.push_back(tick);
    }
  }
  return ticks;
}

// As many round numbers between 10^low and 10^high as have labels that stand apart, at most 8.
std::vector<double> logarithmic_ticks(Range range) {
  constexpr std::size_t most = 8;
  std::vector<std::vector<double>> choices = {powers({1, 2, 5}, 1, range),
                                              powers({1, 3}, 1, range)};
  for (const int every : {1, 2, 3, 5, 10, 20}) choices.push_back(powers({1}, every, range));
  const double decade = std::floor(range.high);
  for (double exponent = decade; exponent > decade - 6; --exponent) {
    for (const double factor : {5.0, 2.0, 1.0})
      choices.push_back(multiples(factor * std::pow(10, exponent), range));
  }
  std::vector<double> best;
  for (std::vector<double>& ticks : choices) {
    if (ticks.size() > best.size() && ticks.size() <= most && labels_fit(ticks, range))
      best = std::move(ticks);
  }
  return best;
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

// How the series of one colour differ, eight colours at a time.
struct Look {
  int gnuplot_dashes, gnuplot_point;
  const char* dashes;  // of SVG; "": none
  const char* point;   // an SVG element around (0, 0)
};
constexpr Look looks[] = {
    {1, 7, "", R"(<circle r="3.2" fill="currentColor"/>)"},
    {2, 6, "6 4", R"(<circle r="2.8" fill="none" stroke="currentColor"/>)"},
    {3, 5, "2 3", R"(<path d="M-3-3H3V3H-3Z" fill="currentColor"/>)"},
    {4, 8, "7 3 2 3", R"(<path d="M-3.5 2.8H3.5L0-3.4Z" fill="none" stroke="currentColor"/>)"},
};
const Look& look_of(const Series& series) {
  return looks[series.colour / num_chart_colours % std::size(looks)];
}

std::string plot_clause(const Series& series, std::size_t index) {
  const Look& own = look_of(series);
  const std::string look = fmt::format(
      "lc {} lw {} dt {} pt {} ps 0.7", stand_in(series.colour % num_chart_colours),
      series.style == Series::Style::line ? "1.5" : "1.2", own.gnuplot_dashes, own.gnuplot_point);
  const auto clause = [&](const char* columns, const char* style) {
    return fmt::format("$series{} using {} with {} {} notitle", index, columns, style, look);
  };
  if (series.style == Series::Style::line) return clause("1:2", "lines");
  const bool line = series.style == Series::Style::line_and_points;
  if (series.error.empty()) return clause("1:2", line ? "linespoints" : "points");
  const std::string points = clause("1:2:3", "yerrorbars");
  return line ? points + ", " + clause("1:2", "lines") : points;
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
  CHECK_AS(ExitCode::configuration, !error, "TMPDIR names no folder: {}", error.message());
  remove_abandoned(prefix);
  return prefix;
}

}  // namespace

std::string gnuplot_script(const Chart& chart, const std::string& svg_path) {
  constexpr double height = top_margin + plot_height + axis_height;
  const Range y = y_range(chart);
  const std::string text = "textcolor " + stand_in(text_colour);
  std::string script = fmt::format(
      "reset\nset encoding utf8\n"
      "set terminal svg size {},{} dynamic noenhanced rounded font 'sans-serif,14'\n"
      "set output {}\n",
      picture_width, height, in_quotes(svg_path));
  script += fmt::format("set tmargin at screen {}\nset bmargin at screen {}\n",
                        1 - top_margin / height, axis_height / height);
  script += fmt::format("set xlabel {} offset 0,0.2 {}\nset ylabel {} {}\n",
                        in_quotes(chart.x_label), text, in_quotes(chart.y_label), text);
  script += fmt::format("set border 3 lc {}\nset tics nomirror {}\nset grid lc {} dt 1 lw 0.6\n",
                        stand_in(axis_colour), text, stand_in(grid_colour));
  script += "set errorbars 0.6\nset pointintervalbox 0\nunset key\n";
  script += fmt::format("set yrange [{}:{}]\n{}", y.low, y.high, x_axis(chart));
  std::vector<std::string> clauses;
  for (std::size_t i = 0; i < chart.series.size(); ++i) {
    script += data_block(chart.series[i], i);
    clauses.push_back(plot_clause(chart.series[i], i));
  }
  return script + fmt::format("plot {}\nset output\n", fmt::join(clauses, ", "));
}

std::string legend(const Chart& chart) {
  std::string items;
  for (const Series& series : chart.series) {
    if (series.name.empty()) continue;
    const Look& look = look_of(series);
    std::string sign;
    if (series.style != Series::Style::points) {
      const std::string dashes =
          *look.dashes ? fmt::format(" stroke-dasharray=\"{}\"", look.dashes) : "";
      sign = fmt::format("<path d=\"M-14 0H14\" stroke=\"currentColor\" stroke-width=\"1.5\"{}/>",
                         dashes);
    }
    if (series.style != Series::Style::line) sign += look.point;
    items += fmt::format(
        "<li><svg style=\"color: var({})\" viewBox=\"-14 -5 28 10\" aria-hidden=\"true\">{}</svg>"
        "{}</li>\n",
        page_variables[series.colour % num_chart_colours], sign, escaped(series.name));
  }
  return items.empty() ? "" : "<ul class=\"legend\">\n" + items + "</ul>\n";
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
  remove_between(svg, "<desc>", "</desc>");
  while (svg.find("<title>") != svg.npos) remove_between(svg, "<title>", "</title>");
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
