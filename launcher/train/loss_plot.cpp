#include "launcher/train/loss_plot.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fmt/format.h>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/base/error.h"
#include "data/files/file_io.h"

namespace dualpath {

namespace {

// A range whose ends are whole ticks; a tick is 1, 2 or 5 times a power of ten.
struct Axis {
  double low;
  double high;
  double tick;

  double share(double value) const { return (value - low) / (high - low); }  // 0 at low, 1 at high
  int num_ticks() const { return static_cast<int>(std::lround((high - low) / tick)) + 1; }
  double tick_value(int index) const { return low + index * tick; }
  std::string tick_label(int index) const {
    const int decimals = std::max(0, static_cast<int>(-std::floor(std::log10(tick) + 1e-9)));
    return fmt::format("{:.{}f}", tick_value(index), decimals);
  }
};

Axis axis_around(double low, double high, int max_intervals) {
  if (high <= low) high = low + std::max(1e-3, std::abs(low) * 1e-3);
  const auto fit = [&](double tick) {
    return Axis{std::floor(low / tick) * tick, std::ceil(high / tick) * tick, tick};
  };
  const double smallest = (high - low) / max_intervals;
  for (double power = std::pow(10, std::floor(std::log10(smallest)));; power *= 10) {
    for (const double factor : {1, 2, 5}) {
      const Axis axis = fit(factor * power);
      if (axis.num_ticks() - 1 <= max_intervals) return axis;
    }
  }
}

struct Axes {
  Axis step;
  Axis loss;
};

Axes axes_of(const RunLosses& losses, int max_step_intervals, int max_loss_intervals) {
  double last_step = 0;
  double low = HUGE_VAL;
  double high = -HUGE_VAL;
  for (const LossCurve* curve : {&losses.training, &losses.validation}) {
    for (const double step : curve->steps) last_step = std::max(last_step, step);
    for (const double loss : curve->losses) {
      low = std::min(low, loss);
      high = std::max(high, loss);
    }
  }
  return {axis_around(0, last_step, max_step_intervals),
          axis_around(low, high, max_loss_intervals)};
}

std::string last_of(const LossCurve& curve) {
  return fmt::format("{:.4f} at step {:.0f}", curve.losses.back(), curve.steps.back());
}

std::string utf8(unsigned code) {  // of a code point from U+0800 to U+FFFF
  return {static_cast<char>(0xe0 | code >> 12), static_cast<char>(0x80 | (code >> 6 & 63)),
          static_cast<char>(0x80 | (code & 63))};
}

constexpr unsigned kMark = 0x25c6;  // a black diamond

// Cells of 2 x 4 Braille dots, row 0 on top.
class Canvas {
 public:
  Canvas(int columns, int rows)
      : columns_(columns),
        rows_(rows),
        cells_(static_cast<std::size_t>(columns) * static_cast<std::size_t>(rows), 0x2800) {}

  // x and y are shares of the canvas, from its lower left corner.
  void line(double x0, double y0, double x1, double y1) {
    const double dots =
        std::max(std::abs(x1 - x0) * (columns_ * 2 - 1), std::abs(y1 - y0) * (rows_ * 4 - 1));
    const int pieces = std::max(1, static_cast<int>(std::ceil(dots)));
    for (int i = 0; i <= pieces; ++i) {
      const double t = static_cast<double>(i) / pieces;
      dot(x0 + t * (x1 - x0), y0 + t * (y1 - y0));
    }
  }
  void mark(double x, double y) { cell(dot_column(x) / 2, dot_row(y) / 4) = kMark; }

  int row_of(double y) const { return dot_row(y) / 4; }
  int column_of(double x) const { return dot_column(x) / 2; }
  std::string row_text(int row) const {
    std::string text;
    for (int column = 0; column < columns_; ++column) text += utf8(cells_[index(column, row)]);
    return text;
  }

 private:
  int dot_column(double x) const { return static_cast<int>(std::lround(x * (columns_ * 2 - 1))); }
  int dot_row(double y) const { return static_cast<int>(std::lround((1 - y) * (rows_ * 4 - 1))); }
  std::size_t index(int column, int row) const {
    return static_cast<std::size_t>(row) * static_cast<std::size_t>(columns_) +
           static_cast<std::size_t>(column);
  }
  unsigned& cell(int column, int row) { return cells_[index(column, row)]; }
  void dot(double x, double y) {
    static constexpr unsigned bits[4][2] = {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};
    const int column = dot_column(x);
    const int row = dot_row(y);
    cell(column / 2, row / 4) |= bits[row % 4][column % 2];
  }

  int columns_;
  int rows_;
  std::vector<unsigned> cells_;  // code points
};

void draw(Canvas& canvas, const RunLosses& losses, const Axes& axes) {
  const auto& [steps, values] = losses.training;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const std::size_t before = i == 0 ? 0 : i - 1;
    canvas.line(axes.step.share(steps[before]), axes.loss.share(values[before]),
                axes.step.share(steps[i]), axes.loss.share(values[i]));
  }
  for (std::size_t i = 0; i < losses.validation.steps.size(); ++i) {
    canvas.mark(axes.step.share(losses.validation.steps[i]),
                axes.loss.share(losses.validation.losses[i]));
  }
}

}  // namespace

RunLosses read_losses(const std::string& metrics_path) {
  std::istringstream text(
      read_file(metrics_path, ExitCode::checkpoint, std::numeric_limits<std::int64_t>::max()));
  RunLosses losses;
  const auto add = [](LossCurve& curve, const nlohmann::json& row, const char* name) {
    if (!row.contains(name) || !row[name].is_number()) return;
    curve.steps.push_back(row["step"].get<double>());
    curve.losses.push_back(row[name].get<double>());
  };
  for (std::string line; std::getline(text, line);) {
    const auto row = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!row.is_object() || !row.contains("step") || !row["step"].is_number()) continue;
    add(losses.training, row, "loss");
    add(losses.validation, row, "validation_loss");
  }
  return losses;
}

std::string draw_losses_as_text(const RunLosses& losses, int columns, int rows) {
  CHECK(columns >= 30 && rows >= 6, "a plot of {}x{} characters is too small", columns, rows);
  if (losses.training.steps.empty() && losses.validation.steps.empty()) return "";
  constexpr int kLabelWidth = 8;   // of the loss axis, its bar included
  const int plot_rows = rows - 3;  // below: the step axis, its labels, the legend
  const Axes axes = axes_of(losses, (columns - kLabelWidth) / 12, std::max(2, plot_rows / 2));
  Canvas canvas(columns - kLabelWidth, plot_rows);
  draw(canvas, losses, axes);

  std::vector<std::string> loss_labels(static_cast<std::size_t>(plot_rows));
  for (int i = 0; i < axes.loss.num_ticks(); ++i) {
    const int row = canvas.row_of(axes.loss.share(axes.loss.tick_value(i)));
    loss_labels[static_cast<std::size_t>(row)] = axes.loss.tick_label(i);
  }
  std::string text;
  for (int row = 0; row < plot_rows; ++row) {
    const std::string& label = loss_labels[static_cast<std::size_t>(row)];
    text += fmt::format("{:>{}} {}{}\n", label, kLabelWidth - 2, label.empty() ? "│" : "┤",
                        canvas.row_text(row));
  }
  std::string step_axis;
  std::string step_labels(static_cast<std::size_t>(columns), ' ');
  std::vector<bool> is_tick(static_cast<std::size_t>(columns - kLabelWidth));
  for (int i = 0; i < axes.step.num_ticks(); ++i) {
    const int column = canvas.column_of(axes.step.share(axes.step.tick_value(i)));
    is_tick[static_cast<std::size_t>(column)] = true;
    const std::string label = axes.step.tick_label(i);
    const int length = static_cast<int>(label.size());
    const int start = std::min(kLabelWidth + column - length / 2, columns - length);
    step_labels.replace(static_cast<std::size_t>(start), label.size(), label);
  }
  for (const bool tick : is_tick) step_axis += tick ? "┬" : "─";
  text += fmt::format("{:>{}}{}\n{}\n", "└", kLabelWidth, step_axis, step_labels);

  std::string legend;
  if (!losses.training.steps.empty()) legend += "  ⠒⠒ training loss " + last_of(losses.training);
  if (!losses.validation.steps.empty()) {
    legend += "  " + utf8(kMark) + " validation loss " + last_of(losses.validation);
  }
  return text + legend + "\n";
}

std::string draw_losses_as_svg(const RunLosses& losses, int width, int height) {
  CHECK(width >= 200 && height >= 120, "a picture of {}x{} pixels is too small", width, height);
  if (losses.training.steps.empty() && losses.validation.steps.empty()) return "";
  constexpr int kLeft = 60, kRight = 20, kTop = 30, kBottom = 40;
  const Axes axes = axes_of(losses, (width - kLeft - kRight) / 80, (height - kTop - kBottom) / 40);
  const auto x = [&](double step) {
    return kLeft + axes.step.share(step) * (width - kLeft - kRight);
  };
  const auto y = [&](double loss) {
    return height - kBottom - axes.loss.share(loss) * (height - kTop - kBottom);
  };

  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" "
      "viewBox=\"0 0 {0} {1}\" font-family=\"sans-serif\" font-size=\"12\">\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
      width, height);
  for (int i = 0; i < axes.loss.num_ticks(); ++i) {
    const double at = y(axes.loss.tick_value(i));
    svg += fmt::format(
        "<path d=\"M{} {:.1f}H{}\" stroke=\"#ddd\"/><text x=\"{}\" y=\"{:.1f}\" "
        "text-anchor=\"end\">{}</text>\n",
        kLeft, at, width - kRight, kLeft - 6, at + 4, axes.loss.tick_label(i));
  }
  for (int i = 0; i < axes.step.num_ticks(); ++i) {
    svg += fmt::format("<text x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n",
                       x(axes.step.tick_value(i)), height - kBottom + 16, axes.step.tick_label(i));
  }
  svg += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">step</text>\n",
                     (kLeft + width - kRight) / 2, height - 6);

  if (!losses.training.steps.empty()) {
    svg += "<polyline fill=\"none\" stroke=\"#1f77b4\" stroke-width=\"1.5\" points=\"";
    for (std::size_t i = 0; i < losses.training.steps.size(); ++i) {
      svg +=
          fmt::format("{:.1f},{:.1f} ", x(losses.training.steps[i]), y(losses.training.losses[i]));
    }
    svg += fmt::format("\"/>\n<text x=\"{}\" y=\"18\" fill=\"#1f77b4\">training loss {}</text>\n",
                       kLeft, last_of(losses.training));
  }
  for (std::size_t i = 0; i < losses.validation.steps.size(); ++i) {
    svg += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3.5\" fill=\"#d62728\"/>\n",
                       x(losses.validation.steps[i]), y(losses.validation.losses[i]));
  }
  if (!losses.validation.steps.empty()) {
    svg += fmt::format(
        "<text x=\"{}\" y=\"18\" text-anchor=\"end\" fill=\"#d62728\">validation loss {}</text>\n",
        width - kRight, last_of(losses.validation));
  }
  return svg + "</svg>\n";
}

}  // namespace dualpath
