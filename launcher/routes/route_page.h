// The routing report: one HTML page that needs no other file and no network.
#pragma once

#include <string>

#include "launcher/routes/route_summary.h"

namespace dualpath {

struct RoutePage {
  const RouteTable& table;
  const RouteTexts& texts;
  const RouteSummary& summary;
  const Tokenizer& tokenizer;
  std::string model;  // where it comes from, a line
};

std::string route_page(const RoutePage& page);

}  // namespace dualpath
