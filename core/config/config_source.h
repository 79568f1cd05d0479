// What the user wrote: YAML documents and dotted overrides, merged into one tree that remembers
// where each value came from.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/config/field.h"

namespace dualpath {

struct ConfigEntry;

struct ConfigNode {
  enum class Kind { empty, scalar, list, map };
  Kind kind = Kind::empty;
  std::string text;                  // scalar: without its quotes
  bool quoted = false;               // scalar: stood in quotes, so it is no number and no bool
  std::string origin;                // "base.yaml:12" or "command line: model.layers=4"
  int file = -1;                     // which of the source's files; -1: none
  std::vector<ConfigNode> items;     // list
  std::vector<ConfigEntry> entries;  // map, in the order given

  const ConfigNode* find(std::string_view key) const;  // null if this is no map with that key
};

struct ConfigEntry {
  std::string name;
  ConfigNode node;
};

// Whatever is added later wins, field by field; lists are replaced whole. Nothing here throws: what
// is wrong is kept in problems(), which the reader hands on.
class ConfigSource {
 public:
  // A file's `base` names files that it overrides, seen from its own folder; they are read first,
  // with their own bases.
  void add_file(const std::filesystem::path& path);
  // A file that another in `folder` names as its base. named_at: where, for problems.
  void add_base(const std::filesystem::path& folder, const std::string& base,
                const std::string& named_at);
  // name: what problems call the text, as they would a file.
  void add_text(const std::string& text, const std::string& name);
  // "a.b.c=value", the value in YAML: 3, [0.9, 0.95], [{path: x, weight: 1}].
  void add_override(const std::string& assignment);

  const ConfigNode& root() const { return root_; }
  const ConfigProblems& problems() const { return problems_; }

  // Where the value of a dotted key ("data.corpora[0].path") was given; "default" if nowhere.
  std::string origin_of(std::string_view key) const;
  // The folder of the file that gave a dotted key, which its relative paths are seen from; "" for
  // the working folder.
  std::filesystem::path folder_of(std::string_view key) const;

 private:
  void add_with_bases(const std::filesystem::path& path, const std::string& named_at);
  void add_bases(const ConfigNode& base);
  // The document of the text, empty where there is none. file: of its nodes.
  ConfigNode parse(const std::string& text, const std::string& name, int file);

  ConfigNode root_;
  ConfigProblems problems_;
  std::vector<std::filesystem::path> folders_;  // of all files read
  std::vector<std::filesystem::path>
      chain_;  // of files that are being read, each a base of the last
};

}  // namespace dualpath
