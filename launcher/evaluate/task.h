// A task of ranked continuations: which of several continuations of a context a model finds
// likeliest.
//
// A task is a file of JSON lines, an item each:
//   {"context": TEXT, "continuations": [TEXT, ...], "gold": INDEX}
// "contexts": [TEXT, ...] in place of "context" gives each continuation its own; one continuation
// is then repeated. Optional: "prefix", text before every context of the item (few-shot examples);
// "unconditional_context", for accuracy_unconditional. Other fields are ignored. The files of
// well-known tasks are taken as they are published (task_layouts.h).
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace dualpath {

struct TaskItem {
  std::vector<std::string> contexts;  // of each continuation, prefix included
  std::vector<std::string> continuations;
  std::size_t gold = 0;
  std::optional<std::string> unconditional_context;
  bool counts_leading_space = false;  // among the continuation's characters and bytes
  std::size_t line = 0;               // of the file
};

struct Task {
  std::string name;  // the file's, without folder and extensions
  std::string file;
  std::vector<TaskItem> items;
  std::string primary_metric;  // the JSON key of the one to report; empty: the task names none
};

}  // namespace dualpath
