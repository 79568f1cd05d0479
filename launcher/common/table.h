// Tables for people, the same numbers as JSON.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <variant>
#include <vector>

namespace dualpath {

using Json = nlohmann::ordered_json;

struct Percent {
  double share;  // 1 is 100 %; JSON holds the share
};
// monostate: not known, left out.
using Cell = std::variant<std::monostate, std::string, double, Percent>;

struct Column {
  std::string key;     // in JSON
  std::string header;  // above the column
};

class Table {
 public:
  Table(std::string title, std::vector<Column> columns)
      : title_(std::move(title)), columns_(std::move(columns)) {}

  const std::string& title() const { return title_; }
  void add(std::vector<Cell> row);
  bool empty() const { return rows_.empty(); }

  // The first column begins with the title; numbers stand right, texts left.
  std::string text() const;
  Json json() const;  // an object for each row

 private:
  std::string title_;
  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
};

// A number with about three digits: 12,345 | 123 | 12.3 | 1.23 | 0.123; integers whole.
std::string readable(double value);

}  // namespace dualpath
