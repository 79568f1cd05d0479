// A config with a field of every type, for the tests of core/config/config.h.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/config/config.h"

namespace dualpath {
namespace test_config {

enum class Color { red, green, dark_blue };

struct Item {
  std::string path;
  double weight = 1;
};

struct Inner {
  std::int64_t layers = 4;
  std::vector<double> betas = {0.9, 0.95};
  std::vector<Color> colors = {Color::red};
};

struct Outer {
  bool flag = false;
  std::int64_t count = 3;
  double rate = 0.1;
  std::string name = "default";
  Color color = Color::green;
  Inner inner;
  std::vector<Item> items;
};

template <class Visitor>
void visit_fields(Visitor& visit, Item& c) {
  visit.field("path", c.path, {.help = "a folder"});
  visit.field("weight", c.weight, {.help = "its share", .min = 0});
}
template <class Visitor>
void visit_fields(Visitor& visit, Inner& c) {
  visit.field("layers", c.layers,
              {.help = "how many",
               .unit = "layers",
               .min = 1,
               .max = 64,
               .synonyms = "num_layers n_layer depth"});
  visit.field("betas", c.betas, {.help = "two numbers", .max = 1});
  visit.field("colors", c.colors, {.help = "one or many"});
}
template <class Visitor>
void visit_fields(Visitor& visit, Outer& c) {
  visit.field("flag", c.flag, {.help = "on or off"});
  visit.field("count", c.count, {.help = "any integer"});
  visit.field("rate", c.rate, {.help = "any number", .synonyms = "speed"});
  visit.field("name", c.name, {.help = "any text"});
  visit.field("color", c.color, {.help = "a color"});
  visit.section("inner", c.inner, "the inner things");
  visit.list("items", c.items, "the items");
}

}  // namespace test_config

template <>
struct EnumNames<test_config::Color> {
  using Color = test_config::Color;
  static constexpr std::pair<Color, const char*> values[] = {
      {Color::red, "red"}, {Color::green, "green"}, {Color::dark_blue, "dark_blue"}};
};

}  // namespace dualpath
