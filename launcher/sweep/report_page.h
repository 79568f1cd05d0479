// A sweep's report as one web page.
#pragma once

#include <string>
#include <vector>

#include "launcher/sweep/chart.h"
#include "launcher/sweep/sweep_results.h"

namespace dualpath {

struct ReportSection {
  std::string heading = {};
  std::string html = {};  // before the pictures
  std::vector<Chart> charts = {};
  std::string after = {};  // HTML behind them
};

std::vector<ReportSection> report_sections(const SweepResults& results);

// A whole page that needs nothing else: HTML that is XML as well, light or dark as the reader
// prefers. pictures: <svg> elements of all sections' charts, in their order.
std::string report_page(const std::string& title, const std::vector<ReportSection>& sections,
                        const std::vector<std::string>& pictures);

}  // namespace dualpath
