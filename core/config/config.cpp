#include "core/config/config.h"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <map>
#include <utility>

#include "core/base/error.h"

namespace dualpath {

void throw_if_any(const ConfigProblems& problems, const ConfigSource& source) {
  if (problems.empty()) return;
  const std::size_t told = std::min(problems.all().size(), most_problems_told);
  std::string text;
  for (const ConfigProblem& problem : problems.all().first(told)) {
    if (!text.empty()) text += '\n';
    if (!problem.field.empty()) {
      text += fmt::format("{}: {}: ", source.origin_of(problem.field), problem.field);
    }
    text += problem.message;
  }
  if (told < problems.all().size())
    text += fmt::format("\nand {} more", problems.all().size() - told);
  DUALPATH_FAIL(ExitCode::configuration, "{}", text);
}

std::string print_fields(std::span<const ConfigField> fields) {
  std::string text;
  for (const ConfigField& field : fields) {
    std::string indent(2 * static_cast<std::size_t>(field.depth), ' ');
    if (field.begins_element) indent[indent.size() - 2] = '-';
    text +=
        fmt::format("{}{}:{}{}\n", indent, field.name, field.text.empty() ? "" : " ", field.text);
  }
  return text;
}

std::string fields_help(std::span<const ConfigField> fields) {
  std::size_t key_width = 0;
  std::size_t text_width = 0;
  for (const ConfigField& field : fields) {
    if (field.kind != ConfigField::Kind::value) continue;
    key_width = std::max(key_width, field.key.size());
    text_width = std::max(text_width, field.text.size());
  }
  std::string help;
  for (const ConfigField& field : fields) {
    if (field.kind != ConfigField::Kind::value) {
      help += fmt::format("\n{}: {}\n", field.key, field.info.help);
      continue;
    }
    const std::string unit = *field.info.unit ? fmt::format("[{}] ", field.info.unit) : "";
    help += fmt::format("  {:<{}}  {:<{}}  {}{}", field.key, key_width, field.text, text_width,
                        unit, field.info.help);
    if (!field.choices.empty()) help += fmt::format(" ({})", fmt::join(field.choices, " | "));
    help += '\n';
  }
  return help;
}

std::vector<ConfigChange> compare_fields(std::span<const ConfigField> before,
                                         std::span<const ConfigField> after) {
  std::map<std::string_view, const ConfigField*> unmatched;
  for (const ConfigField& field : before) {
    if (field.kind == ConfigField::Kind::value) unmatched[field.key] = &field;
  }
  std::vector<ConfigChange> changes;
  for (const ConfigField& field : after) {
    if (field.kind != ConfigField::Kind::value) continue;
    const auto old = unmatched.find(field.key);
    const std::string old_text = old == unmatched.end() ? "" : old->second->text;
    if (old_text != field.text) changes.push_back({field.key, old_text, field.text});
    if (old != unmatched.end()) unmatched.erase(old);
  }
  // List elements that are no more.
  for (const ConfigField& field : before) {
    if (unmatched.contains(field.key)) changes.push_back({field.key, field.text, ""});
  }
  return changes;
}

}  // namespace dualpath
