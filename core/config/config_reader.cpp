#include "core/config/config_reader.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <string_view>

#include "core/config/nearest.h"

namespace dualpath {

namespace {

using Kind = ConfigNode::Kind;

// What is told of a value.
std::string shown(const std::string& text) {
  constexpr std::size_t most = 80;
  return text.size() <= most ? text : text.substr(0, most) + "...";
}

// "c" of the key "a.b.c".
std::string_view last_part(std::string_view key) {
  return key.substr(key.rfind('.') + 1);
}

std::vector<std::string_view> words_of(std::string_view text) {
  std::vector<std::string_view> words;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    if (end > 0) words.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return words;
}

std::string wrong_type(const char* wanted, const ConfigNode& node) {
  switch (node.kind) {
    case Kind::empty:
      return fmt::format("wants {}, found nothing", wanted);
    case Kind::list:
      return fmt::format("wants {}, found a list", wanted);
    case Kind::map:
      return fmt::format("wants {}, found a section", wanted);
    case Kind::scalar:
      break;
  }
  return fmt::format("wants {}, found {}{}", wanted, shown(node.text),
                     node.quoted ? " in quotes" : "");
}

// The whole text as one number; a leading + is allowed, as in YAML.
template <class Number>
std::errc parse_number(std::string_view text, Number& value) {
  if (text.size() > 1 && text[0] == '+' && text[1] != '-') text.remove_prefix(1);
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  return stop == end ? error : std::errc::invalid_argument;
}

std::string out_of_range(const FieldInfo& info, double value, const std::string& given) {
  const std::string text = shown(given);
  if (value >= info.min && value <= info.max) return "";
  // Who gives too little need not be told how much would be too much, where that is out of sight.
  constexpr double out_of_sight = 4096;
  if (!std::isfinite(info.max) || (value < info.min && info.max > out_of_sight))
    return fmt::format("must be at least {}, found {}", info.min, text);
  if (!std::isfinite(info.min)) return fmt::format("must be at most {}, found {}", info.max, text);
  if (info.min == info.max) return fmt::format("must be {}, found {}", info.min, text);
  return fmt::format("must lie between {} and {}, found {}", info.min, info.max, text);
}

}  // namespace

std::string parse_value(const ConfigNode& node, const FieldInfo&, bool& value) {
  if (node.kind != Kind::scalar || node.quoted || (node.text != "true" && node.text != "false")) {
    return wrong_type("true or false", node);
  }
  value = node.text == "true";
  return "";
}

std::string parse_value(const ConfigNode& node, const FieldInfo& info, std::int64_t& value) {
  const std::string zero_word = info.zero_word;
  const std::string wanted =
      zero_word.empty() ? "an integer" : fmt::format("an integer or {}", zero_word);
  if (node.kind != Kind::scalar || node.quoted) return wrong_type(wanted.c_str(), node);
  if (!zero_word.empty() && node.text == zero_word) {
    value = 0;
    return "";
  }
  std::int64_t parsed = 0;
  std::errc error = parse_number(node.text, parsed);
  if (error == std::errc::invalid_argument) {  // 1e9 is an integer too
    double real = 0;
    error = parse_number(node.text, real);
    if (error == std::errc::invalid_argument || std::isnan(real))
      return wrong_type(wanted.c_str(), node);
    if (error == std::errc() && std::abs(real) < 0x1p63) {
      if (real != std::trunc(real)) return wrong_type(wanted.c_str(), node);
      parsed = static_cast<std::int64_t>(real);
    } else {
      error = std::errc::result_out_of_range;
    }
  }
  if (error != std::errc()) return wrong_type("an integer of 64 bits", node);
  std::string problem = out_of_range(info, static_cast<double>(parsed), node.text);
  if (problem.empty()) value = parsed;
  return problem;
}

std::string parse_value(const ConfigNode& node, const FieldInfo& info, double& value) {
  if (node.kind != Kind::scalar || node.quoted) return wrong_type("a number", node);
  double parsed = 0;
  const std::errc error = parse_number(node.text, parsed);
  if (error == std::errc::invalid_argument) return wrong_type("a number", node);
  if (error != std::errc() || !std::isfinite(parsed)) {
    return wrong_type("a finite number of 64 bits", node);
  }
  std::string problem = out_of_range(info, parsed, node.text);
  if (problem.empty()) value = parsed;
  return problem;
}

std::string parse_value(const ConfigNode& node, const FieldInfo&, std::string& value) {
  if (node.kind != Kind::scalar && node.kind != Kind::empty) return wrong_type("a text", node);
  value = node.text;
  return "";
}

std::string parse_choice(const ConfigNode& node, std::span<const std::string> names,
                         std::size_t& index) {
  const std::string wanted = fmt::format("one of {}", fmt::join(names, ", "));
  if (node.kind != Kind::scalar) return wrong_type(wanted.c_str(), node);
  const auto found = std::find(names.begin(), names.end(), node.text);
  if (found == names.end()) {
    std::string problem = wrong_type(wanted.c_str(), node);
    const std::string near = nearest(node.text, names);
    if (!near.empty()) problem += fmt::format(", did you mean {}?", near);
    return problem;
  }
  index = static_cast<std::size_t>(found - names.begin());
  return "";
}

ConfigReader::ConfigReader(const ConfigSource& source, ConfigProblems& problems)
    : problems_(problems) {
  for (const ConfigProblem& problem : source.problems().all()) {
    problems_.add(problem.field, problem.message);
  }
  levels_.push_back({"", &source.root()});
}

const ConfigNode* ConfigReader::find(const char* name, const char* synonyms) {
  Level& level = levels_.back();
  level.names.emplace_back(name);
  known_.push_back({key_of(name), synonyms});
  return level.node == nullptr ? nullptr : level.node->find(name);
}

std::span<const ConfigNode> ConfigReader::items_of(const ConfigNode& node) {
  if (node.kind == Kind::empty) return {};
  if (node.kind == Kind::list) return node.items;
  return {&node, 1};
}

std::string ConfigReader::key_of(const std::string& name) const {
  const std::string& section = levels_.back().key;
  return section.empty() ? name : section + "." + name;
}

std::string ConfigReader::element_key(const char* name, std::size_t index) const {
  return fmt::format("{}[{}]", key_of(name), index);
}

void ConfigReader::enter(std::string key, const ConfigNode* node) {
  if (node != nullptr && node->kind != Kind::map) {
    if (node->kind != Kind::empty) note(key, wrong_type("a section", *node));
    node = nullptr;
  }
  levels_.push_back({std::move(key), node});
}

void ConfigReader::leave() {
  const Level& level = levels_.back();
  if (level.node != nullptr) {
    for (const auto& [name, node] : level.node->entries) {
      const auto& names = level.names;
      if (std::find(names.begin(), names.end(), name) == names.end()) {
        unknown_.emplace_back(key_of(name), &node);
      }
    }
  }
  levels_.pop_back();
}

void ConfigReader::finish() {
  leave();
  for (const auto& [key, node] : unknown_) note_unknown(key, *node);
}

void ConfigReader::note_unknown(const std::string& key, const ConfigNode& node) {
  // A search for each of very many keys would take long, and nobody would see its results.
  const bool is_told = problems_.all().size() < most_problems_told;
  const std::string near = is_told ? suggestion(key) : "";
  note(key, near.empty() ? "unknown key" : fmt::format("unknown key, did you mean {}?", near));
  if (!near.empty() || !is_told) return;
  for (const auto& [name, value] : node.entries) {  // of a section that is none
    const std::string child = key + "." + name;
    if (problems_.all().size() >= most_problems_told) return;
    const std::string meant = suggestion(child);
    if (!meant.empty()) note(child, fmt::format("unknown key, did you mean {}?", meant));
  }
}

std::string ConfigReader::suggestion(const std::string& key) const {
  std::string name(last_part(key));
  for (char& c : name) {
    c = c == '-' ? '_' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  // The right name in the wrong section, and what other tools call it, are nearer than any
  // misspelling.
  std::string near = keys_named(name);
  if (near.empty()) near = keys_with_synonym(name);
  std::vector<std::string> keys, names, synonyms;
  for (const KnownKey& known : known_) {
    keys.push_back(known.key);
    names.emplace_back(last_part(known.key));
    for (const std::string_view word : words_of(known.synonyms)) synonyms.emplace_back(word);
  }
  if (near.empty()) near = nearest(key, keys);
  if (name.size() < 4) return near;  // near any short word
  if (near.empty()) near = keys_named(nearest(name, names));
  if (near.empty()) near = keys_with_synonym(nearest(name, synonyms));
  return near;
}

std::string ConfigReader::keys_named(std::string_view name) const {
  std::vector<std::string_view> found;
  for (const KnownKey& known : known_) {
    if (last_part(known.key) == name) found.emplace_back(known.key);
  }
  // Fields of a list element are suggested only where nothing else is.
  const auto is_element = [](std::string_view key) { return key.find('[') != key.npos; };
  if (found.size() > 1)
    found.erase(std::remove_if(found.begin() + 1, found.end(), is_element), found.end());
  return fmt::format("{}", fmt::join(found, " or "));
}

std::string ConfigReader::keys_with_synonym(std::string_view name) const {
  std::vector<std::string_view> found;
  for (const KnownKey& known : known_) {
    const std::vector<std::string_view> words = words_of(known.synonyms);
    if (std::find(words.begin(), words.end(), name) != words.end()) found.emplace_back(known.key);
  }
  return fmt::format("{}", fmt::join(found, " or "));
}

void ConfigReader::note(std::string key, std::string problem) {
  if (!problem.empty()) problems_.add(std::move(key), std::move(problem));
}

}  // namespace dualpath
