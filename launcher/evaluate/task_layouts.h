// The public layouts of well-known tasks, as items of our own: eval.tasks takes their files as they
// are published.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "launcher/common/table.h"
#include "launcher/evaluate/task.h"

namespace dualpath {

// A line of a task file as {"contexts" or "context", "continuations", "gold"} (task.h), prompted as
// lm-evaluation-harness 0.4.13 does without examples. The layout is told by the names of the
// fields:
//   ARC            question {stem, choices}, answerKey        "Question: Q\nAnswer:"
//                  question, choices {text, label}, answerKey
//   CommonsenseQA  the same with question_concept             lettered choices, the letter is
//   scored OpenBookQA     question_stem, choices, answerKey          the bare stem HellaSwag
//   activity_label, ctx_a, ctx_b, endings, label PIQA           goal, sol1, sol2, label "Question:
//   GOAL\nAnswer:" WinoGrande     sentence, option1, option2, answer         contexts up to and
//   with the option COPA           premise, choice1, choice2, question, label "PREMISE because" or
//   "therefore" Social IQa     context, question, answerA to answerC, label LAMBADA        text its
//   last word llm-foundry    query, choices, gold; context_options, continuation, gold
// A line of none of these is returned as it is. Throws Error(data), without the place, where a
// field of a layout has another type or the answer is none of the choices.
Json as_task_item(const Json& line);

// Requests as OLMES renders them, a line a continuation: {"request": {"context", "continuation"},
// "doc_id", "idx", "label"}. Lines of one doc_id are an item. Those with 1,000,000 added to it hold
// the unconditional context. A label that is no index (an answer's text) means that there is only
// the gold continuation: bits per byte of worked solutions. Characters and bytes count the leading
// space.
class OlmesRequests {
 public:
  static bool is_one(const Json& line);
  // Throws Error(data), without the place.
  void add(const Json& line, std::size_t line_number, std::vector<TaskItem>& items);
  bool empty() const { return item_of_.empty(); }
  // Checks the items. The name and the primary metric come from config.json beside the file, if it
  // is there.
  void finish(Task& task) const;

 private:
  std::map<std::int64_t, std::size_t> item_of_;  // by doc_id
};

}  // namespace dualpath
