// A task of ranked continuations: which of several continuations of a context a model finds
// likeliest.
//
// A task is a file of JSON lines, an item each:
//   {"context": TEXT, "continuations": [TEXT, ...], "gold": INDEX}
// "contexts": [TEXT, ...] in place of "context" gives each continuation its own; one continuation
// is then repeated. Optional: "prefix", text before every context of the item (few-shot examples);
// "unconditional_context", for accuracy_unconditional. Other fields are ignored.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "launcher/common/table.h"
#include "launcher/evaluate/text_evaluation.h"

namespace dualpath {

struct TaskItem {
  std::vector<std::string> contexts;  // of each continuation, prefix included
  std::vector<std::string> continuations;
  std::size_t gold = 0;
  std::optional<std::string> unconditional_context;
  std::size_t line = 0;  // of the file
};

struct Task {
  std::string name;  // the file's, without folder and extension
  std::string file;
  std::vector<TaskItem> items;
};

// Throws Error(data) with "file:line: what is wrong".
Task read_task(const std::string& file);

// A mean over items and its standard error, the sample's standard deviation / √items.
struct Score {
  double mean = 0;
  double standard_error = 0;
};

// Accuracies: the share of items whose gold continuation scores highest; of equal scores the first
// counts. What scores: the log-likelihood, or that divided by the continuation's tokens, its
// characters or its bytes (both without one leading space), or less the log-likelihood behind the
// unconditional context.
struct TaskResult {
  std::string name;
  std::size_t items = 0;
  std::size_t contexts_cut = 0;  // that were longer than the model takes, on their left
  // Without alternatives to rank (LAMBADA): the share of items whose gold continuation is greedy.
  Score accuracy;
  std::optional<Score> per_token, per_character, per_byte, unconditional;
  Score greedy;           // each token of the gold continuation is the likeliest
  Score bits_per_byte;    // of the gold continuation, its leading space included
  double perplexity = 0;  // exp(-mean log-likelihood of the gold continuation), as for LAMBADA
};

// Throws Error(data) for an item that cannot be scored. Collective.
TaskResult evaluate_task(const EvaluatedModel& model, const Task& task);

Json to_json(const TaskResult& result);

}  // namespace dualpath
