// The visitor that lists the fields of a config struct with their present values: what printing,
// comparing and helping have in common.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/config/config_reader.h"
#include "core/config/field.h"

namespace dualpath {

// One line of a printed config.
struct ConfigField {
  enum class Kind { section, list, value };
  Kind kind;
  std::string key;   // dotted: "data.corpora[0].path"
  std::string name;  // "path"
  int depth;         // of nesting; sections and lists each add one
  bool begins_element;
  std::string text;  // the value in YAML; of a list: "" or, without elements, "[]"
  FieldInfo info;
  std::vector<std::string> choices;  // of an enum
  bool is_number = false;            // or a list of numbers
};

// A value as YAML that reads back to the same value.
std::string yaml_value(bool value);
std::string yaml_value(std::int64_t value);
std::string yaml_value(double value);  // the shortest digits that read back
std::string yaml_value(const std::string& value);
template <class Enum>
requires std::is_enum_v<Enum> std::string yaml_value(Enum value) {
  return enum_name(value);
}

class ConfigFieldLister {
 public:
  // element_template: a list shows one default element, under "key[]", instead of its elements.
  explicit ConfigFieldLister(bool element_template) : element_template_(element_template) {}

  template <class T>
  void field(const char* name, const T& value, const FieldInfo& info) {
    using Value = std::conditional_t<IsVector<T>::value, T, std::vector<T>>;
    ConfigField& added = add(ConfigField::Kind::value, name, info);
    if constexpr (IsVector<T>::value) {
      std::vector<std::string> items;
      for (const auto& item : value) items.push_back(yaml_value(item));
      added.text = flow_list(items);
    } else {
      added.text = yaml_value(value);
    }
    using Item = typename Value::value_type;
    if constexpr (std::is_same_v<T, std::int64_t>) {
      if (value == 0 && *info.zero_word != '\0') added.text = info.zero_word;
    }
    added.is_number = std::is_arithmetic_v<Item> && !std::is_same_v<Item, bool>;
    if constexpr (std::is_enum_v<typename Value::value_type>) {
      added.choices = enum_names<typename Value::value_type>();
    }
  }

  template <class Section>
  void section(const char* name, Section& value, const char* help) {
    add(ConfigField::Kind::section, name, {.help = help});
    nested(key_of(name), value);
  }

  template <class Section>
  void list(const char* name, std::vector<Section>& value, const char* help) {
    add(ConfigField::Kind::list, name, {.help = help}).text = value.empty() ? "[]" : "";
    if (element_template_) {
      Section element;
      nested(key_of(name) + "[]", element);
      return;
    }
    for (std::size_t i = 0; i < value.size(); ++i) {
      begins_element_ = true;
      nested(key_of(name) + "[" + std::to_string(i) + "]", value[i]);
    }
  }

  std::vector<ConfigField> take() { return std::move(fields_); }

 private:
  template <class Section>
  void nested(std::string key, Section& value) {
    key.swap(prefix_);
    ++depth_;
    visit_fields(*this, value);
    --depth_;
    key.swap(prefix_);
  }

  ConfigField& add(ConfigField::Kind kind, const char* name, const FieldInfo& info);
  std::string key_of(const std::string& name) const;
  static std::string flow_list(const std::vector<std::string>& items);

  bool element_template_;
  bool begins_element_ = false;
  int depth_ = 0;
  std::string prefix_;
  std::vector<ConfigField> fields_;
};

}  // namespace dualpath
