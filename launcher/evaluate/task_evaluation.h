// The scores of a model on a task.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "launcher/common/table.h"
#include "launcher/evaluate/task.h"
#include "launcher/evaluate/text_evaluation.h"

namespace dualpath {

// A mean over items and its standard error, the sample's standard deviation / √items.
struct Score {
  double mean = 0;
  double standard_error = 0;
};

// Accuracies: the share of items whose gold continuation scores highest; of equal scores the first
// counts. What scores: the log-likelihood, or that divided by the continuation's tokens, its
// characters or its bytes (both without one leading space, but for OLMES's tasks), or less the
// log-likelihood behind the unconditional context.
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
  std::string primary_metric;
};

// Throws Error(data) for an item that cannot be scored. Collective.
TaskResult evaluate_task(const EvaluatedModel& model, const Task& task);

Json to_json(const TaskResult& result);

}  // namespace dualpath
