// Line charts as SVG for a web page, drawn by gnuplot.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace dualpath {

struct Series {
  enum class Style { line, points, line_and_points };
  std::string name = {};   // in the legend; "": not there
  std::size_t colour = 0;  // series of one colour belong together; from 8 on they look otherwise
  Style style = Style::line_and_points;
  std::vector<double> x = {};
  std::vector<double> y = {};
  std::vector<double> error = {};  // of y, to both sides; empty: none
};

struct Chart {
  std::string title = {};
  std::string x_label = {};  // with the unit
  std::string y_label = {};
  bool logarithmic_x = false;
  std::vector<Series> series = {};  // finite numbers; x > 0 where it is logarithmic
};

// The page gives so many colours as CSS variables --series-0 to --series-7; and --axis, --text,
// --grid and --background.
inline constexpr std::size_t num_chart_colours = 8;

// The gnuplot commands that draw the chart into an SVG file, without its title and legend: text of
// the page, which finds room for them.
std::string gnuplot_script(const Chart& chart, const std::string& svg_path);

// Gnuplot's file as an element of an HTML page: without its header, with colours that are the
// page's variables, and with ids that begin with `prefix`, so that pictures do not share them.
std::string embedded_svg(const std::string& file, const std::string& prefix,
                         const std::string& title);

// A list of HTML: each name with its line and point as the picture has them.
std::string legend(const Chart& chart);

// An <svg> element for each chart. Throws Error(configuration) where gnuplot is not there, or
// fails.
std::vector<std::string> draw(const std::vector<Chart>& charts);

}  // namespace dualpath
