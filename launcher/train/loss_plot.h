// The loss curve of a run, as text for a terminal or as an SVG picture.
#pragma once

#include <string>
#include <vector>

namespace dualpath {

struct LossCurve {
  std::vector<double> steps;
  std::vector<double> losses;  // as many, all finite
};

struct RunLosses {
  LossCurve training;
  LossCurve validation;
};

// Reads a metrics.jsonl. Losses that are not finite are left out. Throws Error(checkpoint) where
// the file cannot be opened.
RunLosses read_losses(const std::string& metrics_path);

// `columns` x `rows` characters of UTF-8, axes and legend included, each line ended by a newline:
// training as a line of Braille dots, validation as marks upon it. "" without any loss.
// REQUIRES: columns >= 30, rows >= 6.
std::string draw_losses_as_text(const RunLosses& losses, int columns, int rows);

// A whole SVG file of that many pixels. "" without any loss.
// REQUIRES: width >= 200, height >= 120.
std::string draw_losses_as_svg(const RunLosses& losses, int width, int height);

}  // namespace dualpath
