// The visitor that fills a config struct from a ConfigSource. Use read_config of
// core/config/config.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/config/config_source.h"
#include "core/config/field.h"

namespace dualpath {

template <class T>
struct IsVector : std::false_type {};
template <class T>
struct IsVector<std::vector<T>> : std::true_type {};

// Each sets value and returns "", or leaves value as it is and returns what is wrong.
std::string parse_value(const ConfigNode& node, const FieldInfo& info, bool& value);
std::string parse_value(const ConfigNode& node, const FieldInfo& info, std::int64_t& value);
std::string parse_value(const ConfigNode& node, const FieldInfo& info, double& value);
std::string parse_value(const ConfigNode& node, const FieldInfo& info, std::string& value);
// index: which of the names stands there.
std::string parse_choice(const ConfigNode& node, std::span<const std::string> names,
                         std::size_t& index);

template <class Enum>
std::vector<std::string> enum_names() {
  std::vector<std::string> names;
  for (const auto& entry : EnumNames<Enum>::values) names.emplace_back(entry.second);
  return names;
}

template <class Enum>
requires std::is_enum_v<Enum> std::string parse_value(const ConfigNode& node, const FieldInfo&,
                                                      Enum& value) {
  std::size_t index = 0;
  std::string problem = parse_choice(node, enum_names<Enum>(), index);
  if (problem.empty()) value = EnumNames<Enum>::values[index].first;
  return problem;
}

// The most problems of a configuration that are printed.
inline constexpr std::size_t most_problems_told = 20;

class ConfigReader {
 public:
  ConfigReader(const ConfigSource& source, ConfigProblems& problems);

  template <class T>
  void field(const char* name, T& value, const FieldInfo& info) {
    const ConfigNode* node = find(name, info.synonyms);
    if (node == nullptr) return;
    if constexpr (IsVector<T>::value) {
      value.clear();
      const std::span<const ConfigNode> items = items_of(*node);
      for (std::size_t i = 0; i < items.size(); ++i) {
        typename T::value_type item{};
        note(element_key(name, i), parse_value(items[i], info, item));
        value.push_back(std::move(item));
      }
    } else {
      note(key_of(name), parse_value(*node, info, value));
    }
  }

  template <class Section>
  void section(const char* name, Section& value, const char* /*help*/) {
    enter(key_of(name), find(name));
    visit_fields(*this, value);
    leave();
  }

  template <class Section>
  void list(const char* name, std::vector<Section>& value, const char* /*help*/) {
    const ConfigNode* node = find(name);
    if (node == nullptr) return;
    value.clear();
    const std::span<const ConfigNode> items = items_of(*node);
    for (std::size_t i = 0; i < items.size(); ++i) {
      enter(element_key(name, i), &items[i]);
      visit_fields(*this, value.emplace_back());
      leave();
    }
  }

  // Reports the keys that no field asked for. Call it once, after the visit.
  void finish();

 private:
  struct Level {
    std::string key;                      // of the section; "" for the root
    const ConfigNode* node;               // null where the section was not given
    std::vector<std::string> names = {};  // of its fields
  };

  struct KnownKey {
    std::string key;  // dotted
    const char* synonyms;
  };

  // Makes the field known to its section.
  const ConfigNode* find(const char* name, const char* synonyms = "");
  // A single value counts as a list of one.
  static std::span<const ConfigNode> items_of(const ConfigNode& node);
  std::string key_of(const std::string& name) const;
  std::string element_key(const char* name, std::size_t index) const;
  void enter(std::string key, const ConfigNode* node);
  void leave();
  void note(std::string key, std::string problem);
  void note_unknown(const std::string& key, const ConfigNode& node);
  // The full keys that an unknown one probably meant: "optimizer.lr"; "" for none.
  std::string suggestion(const std::string& key) const;
  std::string keys_named(std::string_view name) const;
  std::string keys_with_synonym(std::string_view name) const;

  ConfigProblems& problems_;
  std::vector<Level> levels_;
  std::vector<KnownKey> known_;
  // All dotted keys given that no field has.
  std::vector<std::pair<std::string, const ConfigNode*>> unknown_;
};

}  // namespace dualpath
