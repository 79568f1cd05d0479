// What `dualpath bench` reports.
#pragma once

#include <optional>
#include <string>

#include "launcher/bench/timing.h"
#include "launcher/common/table.h"

namespace dualpath {

// One line of the table that most parts share; what is absent is left out.
struct Measured {
  std::optional<Timing> time = {};
  std::optional<double> value = {};  // a rate, or any figure
  std::string unit = {};             // of the value: "GB/s"
  std::optional<double> share = {};  // of the machine's peak
};

class MeasuredTable {
 public:
  explicit MeasuredTable(const std::string& title);
  void add(const std::string& what, const Measured& measured);
  const Table& table() const { return table_; }

 private:
  Table table_;
};

}  // namespace dualpath
