#include "launcher/evaluate/task_reader.h"

#include <algorithm>

#include "data/text/input_file.h"
#include "launcher/evaluate/json_lines.h"
#include "launcher/evaluate/task_layouts.h"

namespace dualpath {

namespace {

std::vector<std::string> read_texts(const Json& value, std::string_view field) {
  CHECK_AS(ExitCode::data, value.is_array() && !value.empty(), "\"{}\" is no list of texts", field);
  std::vector<std::string> texts;
  for (const Json& text : value) {
    CHECK_AS(ExitCode::data, text.is_string(), "\"{}\" has {}, which is no text", field,
             text.dump());
    texts.push_back(text.get<std::string>());
  }
  return texts;
}

// One context or continuation stands for as many as there are of the other.
void repeat(std::vector<std::string>& texts, std::size_t count) {
  if (texts.size() == 1) texts.resize(count, texts.front());
}

TaskItem read_item(const Json& line) {
  TaskItem item;
  CHECK_AS(ExitCode::data, line.contains("continuations"), "there is no \"continuations\"");
  item.continuations = read_texts(line["continuations"], "continuations");
  CHECK_AS(ExitCode::data, line.contains("context") != line.contains("contexts"),
           "there must be \"context\" or \"contexts\", one of them");
  item.contexts = line.contains("context") ? std::vector{text_of(line, "context")}
                                           : read_texts(line["contexts"], "contexts");
  const std::size_t choices = std::max(item.contexts.size(), item.continuations.size());
  repeat(item.contexts, choices);
  repeat(item.continuations, choices);
  CHECK_AS(ExitCode::data, item.contexts.size() == item.continuations.size(),
           "{} contexts for {} continuations", item.contexts.size(), item.continuations.size());
  if (line.contains("prefix")) {
    const std::string prefix = text_of(line, "prefix");
    for (std::string& context : item.contexts) context.insert(0, prefix);
  }
  if (line.contains("unconditional_context"))
    item.unconditional_context = text_of(line, "unconditional_context");
  const std::int64_t gold = integer_of(line, "gold");
  CHECK_AS(ExitCode::data, 0 <= gold && gold < static_cast<std::int64_t>(choices),
           "\"gold\" is {}, there are {} continuations, counted from 0", gold, choices);
  item.gold = static_cast<std::size_t>(gold);
  return item;
}

}  // namespace

Task read_task(const std::string& file, std::int64_t limit) {
  Task task;
  task.name = without_compression(file).stem().string();
  task.file = file;
  JsonLines lines(file);
  OlmesRequests olmes;
  const auto wanted = static_cast<std::size_t>(limit);
  const bool all = limit == 0;
  while (const std::optional<Json> line = lines.next()) {
    lines.locate([&] {
      if (OlmesRequests::is_one(*line)) {
        olmes.add(*line, lines.line(), task.items);
      } else if (all || task.items.size() < wanted) {
        task.items.push_back(read_item(as_task_item(*line)));
        task.items.back().line = lines.line();
      }
    });
  }
  CHECK_AS(ExitCode::data, !task.items.empty(), "{}: no items", file);
  if (!olmes.empty()) olmes.finish(task);
  if (!all && task.items.size() > wanted) task.items.resize(wanted);
  return task;
}

}  // namespace dualpath
