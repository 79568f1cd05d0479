// The one list of config fields. A config struct states every field once, in
//
//   template <class Visitor> void visit_fields(Visitor& visit, OptimizerConfig& c) {
//     visit.field("lr", c.lr, {.help = "peak learning rate", .min = 0});
//     visit.section("deep", c.deep, "the deep path");          // a struct with visit_fields
//     visit.list("corpora", c.corpora, "training corpora");    // a std::vector of such structs
//   }
//
// and the YAML reader, the command-line overrides, the printer, the help text and the comparison
// of two configs all walk that list. Field types: bool, std::int64_t, double, std::string, an
// enum with enum_names, or a std::vector of one of these (a single value is read as a list of
// one). The value that a default-constructed struct holds is the default.
#pragma once

#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dualpath {

struct FieldInfo {
  const char* help;
  const char* unit = "";
  double min = -std::numeric_limits<double>::infinity();  // inclusive
  double max = std::numeric_limits<double>::infinity();   // inclusive
  // What other tools call it, in lower case with spaces between: suggested where one is given.
  const char* synonyms = "";
  // Integer fields: the word that means 0, such as "auto"; it is read and printed in its place.
  const char* zero_word = "";
};

// Bounds that several fields share. Every number has two: what is beyond them is a slip, and is
// refused before anything is made of that size.
namespace bounds {
inline constexpr double steps = 1e12;      // at a millisecond each, thirty years
inline constexpr double tokens = 1e18;     // counted in 64 bits
inline constexpr double flops = 1e35;      // a billion times what anything has been trained with
inline constexpr double layers = 1 << 10;  // the deepest published have a thousand
inline constexpr double width = 1 << 20;   // of the residual stream
inline constexpr double ffn_units = 1 << 22;
inline constexpr double vocabulary = 1 << 24;
inline constexpr double sequence = 1 << 24;  // tokens
inline constexpr double batch = 1 << 24;     // sequences
inline constexpr double ranks = 1 << 20;
inline constexpr double threads = 1024;   // of a rank; more than any host has cores
inline constexpr double seconds = 3.2e7;  // a year
inline constexpr double seed = 0x1p63;    // any
inline constexpr double single = 3e38;    // of what fp32 holds
}  // namespace bounds

// An enum that appears in a config specialises this:
//   template <> struct EnumNames<LoopCombine> {
//     static constexpr std::pair<LoopCombine, const char*> values[] = {{LoopCombine::final,
//     "final"}};
//   };
template <class Enum>
struct EnumNames;

template <class Enum>
constexpr const char* enum_name(Enum value) {
  for (const auto& [candidate, name] : EnumNames<Enum>::values) {
    if (candidate == value) return name;
  }
  return "?";
}

// Everything that is wrong with a configuration, gathered before anything is allocated. `field`
// is the dotted key ("model.deep.iterations"); the reader adds the file and line it came from.
struct ConfigProblem {
  std::string field;
  std::string message;
};

class ConfigProblems {
 public:
  void add(std::string field, std::string message) {
    problems_.push_back({std::move(field), std::move(message)});
  }
  bool empty() const { return problems_.empty(); }
  std::span<const ConfigProblem> all() const { return problems_; }

 private:
  std::vector<ConfigProblem> problems_;
};

}  // namespace dualpath
