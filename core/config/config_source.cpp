#include "core/config/config_source.h"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unordered_map>
#include <yaml-cpp/yaml.h>

#include "core/config/config_file.h"

namespace dualpath {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view base_key = "base";
constexpr int max_depth = 32;  // an alias inside its own anchor would never end
// The most bytes of a document's values and texts with aliases written out: nested aliases
// multiply.
constexpr std::size_t most_value_bytes = std::size_t{32} << 20;
constexpr std::size_t most_key_length = 100;
constexpr std::size_t most_files = 64;
constexpr std::size_t most_bases_deep = 16;

// Hyphens too, as in other tools' keys: what has one is unknown, and may have a near one.
bool is_word(const std::string& text) {
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
  };
  return !text.empty() && text.size() <= most_key_length && text[0] != '-' &&
         std::all_of(text.begin(), text.end(), fits);
}

std::string shortened(const std::string& text) {
  constexpr std::size_t most = 200;
  return text.size() <= most ? text : text.substr(0, most) + "...";
}

// By name, of many entries as fast as of few.
class EntryIndex {
 public:
  explicit EntryIndex(const ConfigNode& map) {
    for (const auto& [name, node] : map.entries) add(name);
  }
  // Where the name stands, or none yet.
  const std::size_t* find(const std::string& name) const {
    const auto it = positions_.find(name);
    return it == positions_.end() ? nullptr : &it->second;
  }
  // As the map's next.
  void add(const std::string& name) { positions_.emplace(name, positions_.size()); }

 private:
  std::unordered_map<std::string, std::size_t> positions_;
};

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
  Converter(std::string name, std::string origin, ConfigProblems& problems, int file = -1)
      : name_(std::move(name)), origin_(std::move(origin)), problems_(problems), file_(file) {}

  ConfigNode convert(const YAML::Node& yaml, const std::string& key, int depth = 0) {
    ConfigNode node;
    node.origin = where(yaml);
    node.file = file_;
    if (given_up_) return node;
    bytes_ +=
        sizeof(ConfigNode) + node.origin.size() + (yaml.IsScalar() ? yaml.Scalar().size() : 0);
    if (depth > max_depth) {
      give_up(fmt::format("{}: nested deeper than {} levels", node.origin, max_depth));
    } else if (bytes_ > most_value_bytes) {
      give_up(fmt::format("{}: too many values, with all aliases written out", node.origin));
    } else if (yaml.IsScalar()) {
      node.kind = ConfigNode::Kind::scalar;
      node.text = yaml.Scalar();
      node.quoted = yaml.Tag() == "!";
    } else if (yaml.IsSequence()) {
      node.kind = ConfigNode::Kind::list;
      for (const YAML::Node& item : yaml) {
        if (given_up_) break;
        node.items.push_back(
            convert(item, fmt::format("{}[{}]", key, node.items.size()), depth + 1));
      }
    } else if (yaml.IsMap()) {
      node.kind = ConfigNode::Kind::map;
      EntryIndex index(node);
      for (const auto& entry : yaml) {
        if (given_up_) break;
        add_entry(node, index, entry.first, entry.second, key, depth);
      }
    }
    return node;
  }

 private:
  void give_up(std::string problem) {
    given_up_ = true;
    problems_.add("", std::move(problem));
  }

  std::string where(const YAML::Node& yaml) const {
    return origin_.empty() ? fmt::format("{}:{}", name_, yaml.Mark().line + 1) : origin_;
  }

  void add_entry(ConfigNode& map, EntryIndex& index, const YAML::Node& name,
                 const YAML::Node& value, const std::string& prefix, int depth) {
    if (!name.IsScalar() || !is_word(name.Scalar())) {
      problems_.add("",
                    fmt::format("{}: {}: a key must be one word of letters, digits and _; "
                                "sections are nested in YAML, not dotted",
                                where(name), name.IsScalar() ? shortened(name.Scalar()) : prefix));
      return;
    }
    const std::string key = prefix.empty() ? name.Scalar() : prefix + "." + name.Scalar();
    ConfigNode node = convert(value, key, depth + 1);
    // The line of the key, where a reader looks, not of the first line below it.
    node.origin = where(name);
    if (const std::size_t* first = index.find(name.Scalar())) {
      problems_.add("", fmt::format("{}: {}: given twice, first at {}", node.origin, key,
                                    map.entries[*first].node.origin));
      return;
    }
    index.add(name.Scalar());
    map.entries.push_back({name.Scalar(), std::move(node)});
  }

  std::string name_;
  std::string origin_;
  ConfigProblems& problems_;
  int file_;
  std::size_t bytes_ = 0;
  bool given_up_ = false;
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
  below.file = above.file;
  EntryIndex index(below);
  for (auto& [name, node] : above.entries) {
    if (const std::size_t* same = index.find(name)) {
      merge(below.entries[*same].node, std::move(node));
    } else {
      index.add(name);
      below.entries.push_back({name, std::move(node)});
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

void ConfigSource::add_file(const fs::path& path) {
  add_with_bases(path, "");
}

void ConfigSource::add_base(const fs::path& folder, const std::string& base,
                            const std::string& named_at) {
  const fs::path path = (folder / base).lexically_normal();
  std::error_code ignored;
  if (!folder.empty() && !fs::exists(path, ignored) && fs::exists(base, ignored)) {
    problems_.add(
        "", fmt::format("{}{} is not there; a base is looked for from the folder of the "
                        "file that names it: give {}",
                        named_at, path.string(), fs::proximate(base, folder, ignored).string()));
    return;
  }
  add_with_bases(path, named_at);
}

void ConfigSource::add_with_bases(const fs::path& path, const std::string& named_at) {
  std::error_code ignored;
  const auto is_this = [&](const fs::path& other) { return fs::equivalent(path, other, ignored); };
  std::vector<std::string> names;
  for (const fs::path& file : chain_) names.push_back(file.string());
  names.push_back(path.string());
  if (std::any_of(chain_.begin(), chain_.end(), is_this)) {
    problems_.add("",
                  fmt::format("{}a file is its own base: {}", named_at, fmt::join(names, " -> ")));
    return;
  }
  if (chain_.size() >= most_bases_deep || folders_.size() >= most_files) {
    problems_.add("", fmt::format("{}more than {} files, or {} bases one upon the other: {}",
                                  named_at, most_files, most_bases_deep, fmt::join(names, " -> ")));
    return;
  }
  const ConfigText read = read_config_text(path);
  if (!read.problem.empty()) {
    problems_.add("", fmt::format("{}{}: {}", named_at, path.string(), read.problem));
    return;
  }
  folders_.push_back(read.has_folder ? path.parent_path() : fs::path());
  ConfigNode document = parse(read.text, path.string(), static_cast<int>(folders_.size()) - 1);
  const auto base = std::find_if(document.entries.begin(), document.entries.end(),
                                 [](const ConfigEntry& entry) { return entry.name == base_key; });
  if (base != document.entries.end()) {
    const ConfigNode named = std::move(base->node);
    document.entries.erase(base);
    chain_.push_back(path);
    add_bases(named);
    chain_.pop_back();
  }
  merge(root_, std::move(document));
}

void ConfigSource::add_bases(const ConfigNode& base) {
  using Kind = ConfigNode::Kind;
  if (base.kind == Kind::empty) return;
  const fs::path folder = folders_[static_cast<std::size_t>(base.file)];
  const std::string named_at = base.origin + ": base: ";
  const std::span<const ConfigNode> items =
      base.kind == Kind::list ? std::span(base.items) : std::span(&base, 1);
  for (const ConfigNode& item : items) {
    if (item.kind == Kind::scalar && !item.text.empty()) {
      add_base(folder, item.text, named_at);
    } else {
      problems_.add("", named_at + "wants a file, or a list of files");
    }
  }
}

void ConfigSource::add_text(const std::string& text, const std::string& name) {
  merge(root_, parse(text, name, -1));
}

ConfigNode ConfigSource::parse(const std::string& text, const std::string& name, int file) {
  ConfigNode parsed;
  parsed.kind = ConfigNode::Kind::map;
  parsed.file = file;
  try {
    bool is_first = true;
    for (const YAML::Node& document : YAML::LoadAll(text)) {
      if (document.IsNull()) continue;
      const auto tell = [&](const std::string& problem) {
        problems_.add("", fmt::format("{}:{}: {}", name, document.Mark().line + 1, problem));
      };
      if (!document.IsMap()) {
        tell(fmt::format("wants sections (\"model:\"), found {}",
                         document.IsSequence() ? "a list" : "a single value"));
      } else if (!is_first) {
        tell(
            "a second document (after ---): a file has one; a file of its own can be given beside "
            "this one");
      } else {
        parsed = Converter(name, "", problems_, file).convert(document, "");
      }
      is_first = false;
    }
  } catch (const YAML::Exception& error) {
    problems_.add("", fmt::format("{}:{}:{}: {}", name, error.mark.line + 1, error.mark.column + 1,
                                  describe(error)));
  }
  return parsed;
}

void ConfigSource::add_override(const std::string& assignment) {
  const std::string origin = "command line: " + shortened(assignment);
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
  if (key == base_key) {
    problems_.add("", origin +
                          ": a file names its base; here give the files themselves, the base "
                          "first");
    return;
  }
  try {
    // "-" alone would be a list in YAML: it means standard input.
    const std::string text = assignment.substr(equals + 1);
    ConfigNode node = Converter("", origin, problems_)
                          .convert(text == "-" ? YAML::Node(text) : YAML::Load(text), key);
    for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
      ConfigNode parent;
      parent.kind = ConfigNode::Kind::map;
      parent.origin = origin;
      parent.entries.push_back({*part, std::move(node)});
      node = std::move(parent);
    }
    merge(root_, std::move(node));
  } catch (const YAML::Exception& error) {
    problems_.add("", fmt::format("{}: {}", origin, describe(error)));
  }
}

std::filesystem::path ConfigSource::folder_of(std::string_view key) const {
  const ConfigNode* node = &root_;
  for (const std::string& part : split(key)) {
    node = node->find(part);
    if (node == nullptr) return {};
  }
  return node->file < 0 ? fs::path() : folders_[static_cast<std::size_t>(node->file)];
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
