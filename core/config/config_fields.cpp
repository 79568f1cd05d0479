#include "core/config/config_fields.h"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <string_view>

namespace dualpath {

namespace {

// Text that YAML reads as itself without quotes, whatever stands around it.
bool is_plain(const std::string& text) {
  const auto is_word = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '/';
  };
  const auto is_inner = [&](char c) { return is_word(c) || c == '.' || c == '-' || c == '+'; };
  if (text.empty() || !is_word(text[0]) || !std::all_of(text.begin(), text.end(), is_inner)) {
    return false;
  }
  for (const char* word : {"null", "Null", "NULL"}) {
    if (text == word) return false;
  }
  return true;
}

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (byte < 0x20 || byte == 0x7f) {
      result += fmt::format("\\x{:02x}", byte);
    } else {
      result += c;  // UTF-8 stands as it is
    }
  }
  return result + '"';
}

}  // namespace

std::string yaml_value(bool value) {
  return value ? "true" : "false";
}

std::string yaml_value(std::int64_t value) {
  return fmt::format("{}", value);
}

std::string yaml_value(double value) {
  std::string text = fmt::format("{}", value);
  // YAML 1.1 readers take 1e-05 for a text, 1.0e-05 for a number.
  const std::size_t exponent = text.find('e');
  if (exponent != std::string::npos && text.find('.') == std::string::npos) {
    text.insert(exponent, ".0");
  }
  return text;
}

std::string yaml_value(const std::string& value) {
  return is_plain(value) ? value : quoted(value);
}

ConfigField& ConfigFieldLister::add(ConfigField::Kind kind, const char* name,
                                    const FieldInfo& info) {
  fields_.push_back({kind, key_of(name), name, depth_, begins_element_, "", info, {}, false});
  begins_element_ = false;
  return fields_.back();
}

std::string ConfigFieldLister::key_of(const std::string& name) const {
  return prefix_.empty() ? name : prefix_ + "." + name;
}

std::string ConfigFieldLister::flow_list(const std::vector<std::string>& items) {
  return fmt::format("[{}]", fmt::join(items, ", "));
}

}  // namespace dualpath
