#include "core/config_source.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fmt/format.h>
#include <fstream>
#include <iterator>
#include <yaml-cpp/yaml.h>

namespace dualpath {

namespace {

constexpr int max_depth = 32;  // an alias inside its own anchor would never end

bool is_word(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  });
}

std::vector<std::string> split(std::string_view key) {
  std::vector<std::string> parts(1);
  for (char c : key) {
    if (c == '.') {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

// Turns the nodes of yaml-cpp into ours and reports what YAML allows but a config does not.
class Converter {
 public:
  // origin: for all nodes; empty: "name:line" of each.
  Converter(std::string name, std::string origin, ConfigProblems& problems)
      : name_(std::move(name)), origin_(std::move(origin)), problems_(problems) {}

  ConfigNode convert(const YAML::Node& yaml, const std::string& key, int depth = 0) {
    ConfigNode node;
    node.origin = where(yaml);
    if (too_deep_) return node;
    if (depth > max_depth) {
      too_deep_ = true;
      problems_.add("", fmt::format("{}: nested deeper than {} levels", node.origin, max_depth));
    } else if (yaml.IsScalar()) {
      node.kind = ConfigNode::Kind::scalar;
      node.text = yaml.Scalar();
      node.quoted = yaml.Tag() == "!";
    } else if (yaml.IsSequence()) {
      node.kind = ConfigNode::Kind::list;
      for (const YAML::Node& item : yaml) {
        node.items.push_back(
            convert(item, fmt::format("{}[{}]", key, node.items.size()), depth + 1));
      }
    } else if (yaml.IsMap()) {
      node.kind = ConfigNode::Kind::map;
      for (const auto& entry : yaml) add_entry(node, entry.first, entry.second, key, depth);
    }
    return node;
  }

 private:
  std::string where(const YAML::Node& yaml) const {
    return origin_.empty() ? fmt::format("{}:{}", name_, yaml.Mark().line + 1) : origin_;
  }

  void add_entry(ConfigNode& map, const YAML::Node& name, const YAML::Node& value,
                 const std::string& prefix, int depth) {
    if (!name.IsScalar() || !is_word(name.Scalar())) {
      problems_.add("", fmt::format("{}: {}: a key must be one word of letters, digits and _; "
                                    "sections are nested in YAML, not dotted",
                                    where(name), name.IsScalar() ? name.Scalar() : prefix));
      return;
    }
    const std::string key = prefix.empty() ? name.Scalar() : prefix + "." + name.Scalar();
    ConfigNode node = convert(value, key, depth + 1);
    // The line of the key, where a reader looks, not of the first line below it.
    node.origin = where(name);
    if (const ConfigNode* first = map.find(name.Scalar())) {
      problems_.add(
          "", fmt::format("{}: {}: given twice, first at {}", node.origin, key, first->origin));
      return;
    }
    map.entries.emplace_back(name.Scalar(), std::move(node));
  }

  std::string name_;
  std::string origin_;
  ConfigProblems& problems_;
  bool too_deep_ = false;
};

void merge(ConfigNode& below, ConfigNode above) {
  if (below.kind != ConfigNode::Kind::map || above.kind != ConfigNode::Kind::map) {
    // A section header with nothing under it takes nothing away.
    const bool empty_section =
        below.kind == ConfigNode::Kind::map && above.kind == ConfigNode::Kind::empty;
    if (!empty_section) below = std::move(above);
    return;
  }
  below.origin = above.origin;
  for (auto& [name, node] : above.entries) {
    const auto same = std::find_if(below.entries.begin(), below.entries.end(),
                                   [&](const auto& entry) { return entry.first == name; });
    if (same == below.entries.end()) {
      below.entries.emplace_back(name, std::move(node));
    } else {
      merge(same->second, std::move(node));
    }
  }
}

std::string describe(const YAML::Exception& error) {
  // what() of yaml-cpp repeats the position in a form of its own.
  return "malformed YAML: " + error.msg;
}

}  // namespace

const ConfigNode* ConfigNode::find(std::string_view key) const {
  for (const auto& [name, node] : entries) {
    if (name == key) return &node;
  }
  return nullptr;
}

void ConfigSource::add_file(const std::filesystem::path& path) {
  std::error_code ignored;
  std::ifstream file(path, std::ios::binary);
  if (!file || std::filesystem::is_directory(path, ignored)) {
    problems_.add("", fmt::format("{}: cannot be read: {}", path.string(),
                                  file ? "it is a folder" : std::strerror(errno)));
    return;
  }
  add_text(std::string(std::istreambuf_iterator<char>(file), {}), path.string());
}

void ConfigSource::add_text(const std::string& text, const std::string& name) {
  try {
    for (const YAML::Node& document : YAML::LoadAll(text)) {
      if (document.IsNull()) continue;
      if (!document.IsMap()) {
        problems_.add("", fmt::format("{}:{}: wants sections (\"model:\"), found {}", name,
                                      document.Mark().line + 1,
                                      document.IsSequence() ? "a list" : "a single value"));
        continue;
      }
      merge(root_, Converter(name, "", problems_).convert(document, ""));
    }
  } catch (const YAML::Exception& error) {
    problems_.add("", fmt::format("{}:{}:{}: {}", name, error.mark.line + 1, error.mark.column + 1,
                                  describe(error)));
  }
}

void ConfigSource::add_override(const std::string& assignment) {
  const std::string origin = "command line: " + assignment;
  const std::size_t equals = assignment.find('=');
  if (equals == std::string::npos) {
    problems_.add("", fmt::format("{}: wants key=value", origin));
    return;
  }
  const std::string key = assignment.substr(0, equals);
  const std::vector<std::string> parts = split(key);
  if (const std::size_t bracket = key.find('['); bracket != std::string::npos) {
    problems_.add("", fmt::format("{}: elements cannot be set one by one, give the whole list: "
                                  "{}=[...]",
                                  origin, key.substr(0, bracket)));
    return;
  }
  if (!std::all_of(parts.begin(), parts.end(), is_word)) {
    problems_.add(
        "", fmt::format("{}: wants a dotted key such as model.layers before the '='", origin));
    return;
  }
  try {
    ConfigNode node =
        Converter("", origin, problems_).convert(YAML::Load(assignment.substr(equals + 1)), key);
    for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
      ConfigNode parent;
      parent.kind = ConfigNode::Kind::map;
      parent.origin = origin;
      parent.entries.emplace_back(*part, std::move(node));
      node = std::move(parent);
    }
    merge(root_, std::move(node));
  } catch (const YAML::Exception& error) {
    problems_.add("", fmt::format("{}: {}", origin, describe(error)));
  }
}

std::string ConfigSource::origin_of(std::string_view key) const {
  const ConfigNode* node = &root_;
  // What an element of a list leaves out is best looked for at that element.
  std::string not_given = "default";
  for (const std::string& part : split(key)) {
    const std::size_t bracket = part.find('[');
    node = node->find(std::string_view(part).substr(0, bracket));
    if (node == nullptr) return not_given;
    if (bracket == std::string::npos) continue;
    std::size_t index = 0;
    std::from_chars(part.data() + bracket + 1, part.data() + part.size(), index);
    if (node->kind == ConfigNode::Kind::list && index < node->items.size()) {
      node = &node->items[index];
    }
    not_given = node->origin;
  }
  return node->origin;
}

}  // namespace dualpath
