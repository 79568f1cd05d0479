#include "launcher/bench/report.h"

namespace dualpath {
namespace {

Cell cell_of(const std::optional<double>& value) {
  return value ? Cell(*value) : Cell();
}

}  // namespace

MeasuredTable::MeasuredTable(const std::string& title)
    : table_(title, {{"what", ""},
                     {"median_ms", "median ms"},
                     {"best_ms", "best ms"},
                     {"value", "rate"},
                     {"unit", ""},
                     {"share_of_peak", "of peak"}}) {}

void MeasuredTable::add(const std::string& what, const Measured& m) {
  table_.add({what, m.time ? Cell(1e3 * m.time->median) : Cell(),
              m.time ? Cell(1e3 * m.time->best) : Cell(), cell_of(m.value),
              m.unit.empty() ? Cell() : Cell(m.unit), m.share ? Cell(Percent{*m.share}) : Cell()});
}

}  // namespace dualpath
