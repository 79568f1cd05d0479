#include "launcher/common/table.h"

#include <cmath>
#include <cstdint>

#include "core/base/error.h"
#include "launcher/common/text_format.h"

namespace dualpath {
namespace {

struct Printer {
  std::string operator()(std::monostate) const { return ""; }
  std::string operator()(const std::string& text) const { return text; }
  std::string operator()(double number) const { return readable(number); }
  std::string operator()(Percent p) const { return fmt::format("{:.1f} %", 100 * p.share); }
};

struct JsonMaker {
  Json operator()(std::monostate) const { return nullptr; }
  Json operator()(const std::string& text) const { return text; }
  Json operator()(double number) const { return number; }
  Json operator()(Percent p) const { return p.share; }
};

bool is_text(const Cell& cell) {
  return std::holds_alternative<std::string>(cell);
}

}  // namespace

std::string readable(double value) {
  const double size = std::abs(value);
  if ((size >= 9999.5 || size == std::floor(size)) && size < 1e15) {
    return fmt::format("{}{}", value < 0 ? "-" : "",
                       grouped(static_cast<std::uint64_t>(std::llround(size))));
  }
  if (size >= 99.95) return fmt::format("{:.0f}", value);
  if (size >= 9.995) return fmt::format("{:.1f}", value);
  if (size >= 0.9995) return fmt::format("{:.2f}", value);
  return fmt::format("{:.3g}", value);
}

void Table::add(std::vector<Cell> row) {
  CHECK(row.size() == columns_.size(), "{}: {} cells for {} columns", title_, row.size(),
        columns_.size());
  rows_.push_back(std::move(row));
}

std::string Table::text() const {
  std::vector<std::vector<std::string>> lines(rows_.size() + 1);
  std::vector<bool> left(columns_.size(), false);
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    lines[0].push_back(c == 0 ? title_ : columns_[c].header);
    for (std::size_t r = 0; r < rows_.size(); ++r) {
      lines[r + 1].push_back(std::visit(Printer(), rows_[r][c]));
      if (is_text(rows_[r][c])) left[c] = true;
    }
  }
  std::string text;
  for (const auto& line : lines) {
    std::string row;
    for (std::size_t c = 0; c < columns_.size(); ++c) {
      std::size_t width = 0;
      for (const auto& other : lines) width = std::max(width, other[c].size());
      row += c == 0 ? "" : "  ";
      row +=
          left[c] ? fmt::format("{:<{}}", line[c], width) : fmt::format("{:>{}}", line[c], width);
    }
    row.erase(row.find_last_not_of(' ') + 1);
    text += row + "\n";
  }
  return text;
}

Json Table::json() const {
  Json rows = Json::array();
  for (const auto& row : rows_) {
    Json object;
    for (std::size_t c = 0; c < columns_.size(); ++c) {
      if (std::holds_alternative<std::monostate>(row[c])) continue;
      object[columns_[c].key] = std::visit(JsonMaker(), row[c]);
    }
    rows.push_back(std::move(object));
  }
  return rows;
}

}  // namespace dualpath
