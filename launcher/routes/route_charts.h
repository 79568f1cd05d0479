// The pictures of a routing report, as SVG and HTML in the page's colours.
#pragma once

#include <string>
#include <vector>

#include "launcher/routes/route_summary.h"

namespace dualpath {

// The densities of the deep share, a row a layer.
std::string density_picture(const RouteSummary& summary);
// Mean and quartiles of the deep share by layer, and the mean cosine of both updates.
std::string share_picture(const RouteSummary& summary);

// A table whose cells are shaded by their value within [low, high].
struct HeatMap {
  std::string corner;
  std::vector<std::string> columns;
  struct Row {
    std::string name;
    std::vector<double> values;  // NaN: an empty cell
  };
  std::vector<Row> rows;
  double low = 0, high = 1;
};
std::string heat_table(const HeatMap& map);

}  // namespace dualpath
