#include "launcher/evaluate/task_evaluation.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "launcher/common/progress.h"
#include "launcher/common/text_format.h"

namespace dualpath {

namespace {

// What counts for a continuation's length.
std::string_view counted(const TaskItem& item, std::size_t i) {
  const std::string_view text = item.continuations[i];
  return text.starts_with(' ') && !item.counts_leading_space ? text.substr(1) : text;
}

// Code points of UTF-8.
double characters(std::string_view text) {
  return static_cast<double>(
      std::ranges::count_if(text, [](char c) { return (c & '\xc0') != '\x80'; }));
}

// What is scored of a task, item after item: the continuations, then, where wanted, the same behind
// the unconditional context.
std::vector<ScoredText> encode_task(const EvaluatedModel& model, const Task& task,
                                    std::size_t& contexts_cut) {
  std::vector<ScoredText> texts;
  for (const TaskItem& item : task.items) {
    try {
      const auto add = [&](std::string_view context, std::string_view continuation) {
        EncodedPair pair =
            encode_pair(model.tokenizer, context, continuation, model.sequence_length);
        contexts_cut += pair.tokens_cut > 0;
        texts.push_back(std::move(pair.text));
      };
      for (std::size_t i = 0; i < item.continuations.size(); ++i)
        add(item.contexts[i], item.continuations[i]);
      if (!item.unconditional_context) continue;
      for (const std::string& continuation : item.continuations)
        add(*item.unconditional_context, continuation);
    } catch (const Error& error) {
      DUALPATH_FAIL(error.code(), "{}:{}: {}", task.file, item.line, error.what());
    }
  }
  return texts;
}

class MeanOfItems {
 public:
  void add(double value) { values_.push_back(value); }
  Score score() const {
    const auto count = static_cast<double>(values_.size());
    double sum = 0, squares = 0;
    for (const double value : values_) sum += value;
    for (const double value : values_) squares += (value - sum / count) * (value - sum / count);
    return {sum / count, count > 1 ? std::sqrt(squares / (count - 1) / count) : 0};
  }
  // None where not every item has one.
  std::optional<Score> score_of(std::size_t items) const {
    return values_.size() == items ? std::optional(score()) : std::nullopt;
  }

 private:
  std::vector<double> values_;
};

// The results of items, one after another.
struct TaskMeans {
  MeanOfItems accuracy, per_token, per_character, per_byte, unconditional, greedy, bits, nats;

  // scores: of the item's continuations, then behind the unconditional context.
  void add(const TaskItem& item, std::span<const ScoredText> texts,
           std::span<const TextScore> scores) {
    const std::size_t choices = item.continuations.size();
    const auto gold_is_first = [&](const auto& value) {
      std::size_t best = 0;
      for (std::size_t i = 1; i < choices; ++i) {
        if (value(i) > value(best)) best = i;
      }
      return best == item.gold ? 1.0 : 0.0;
    };
    const auto likelihood = [&](std::size_t i) { return scores[i].log_likelihood; };
    const TextScore& gold = scores[item.gold];
    const double gold_bytes = static_cast<double>(item.continuations[item.gold].size());
    greedy.add(gold.is_greedy ? 1 : 0);
    bits.add(-gold.log_likelihood / (std::numbers::ln2 * gold_bytes));
    nats.add(-gold.log_likelihood);
    if (choices == 1) {
      accuracy.add(gold.is_greedy ? 1 : 0);
      return;
    }
    accuracy.add(gold_is_first(likelihood));
    per_token.add(gold_is_first(
        [&](std::size_t i) { return likelihood(i) / static_cast<double>(texts[i].num_scored()); }));
    per_character.add(
        gold_is_first([&](std::size_t i) { return likelihood(i) / characters(counted(item, i)); }));
    per_byte.add(gold_is_first([&](std::size_t i) {
      return likelihood(i) / static_cast<double>(counted(item, i).size());
    }));
    if (!item.unconditional_context) return;
    unconditional.add(
        gold_is_first([&](std::size_t i) { return likelihood(i) - likelihood(choices + i); }));
  }
};

}  // namespace

TaskResult evaluate_task(const EvaluatedModel& model, const Task& task) {
  TaskResult result;
  result.name = task.name;
  result.items = task.items.size();
  const std::vector<ScoredText> texts = encode_task(model, task, result.contexts_cut);
  ProgressLine progress("evaluating " + task.name, 1);
  const std::vector<TextScore> scores = model.scorer.score(texts, [&](double share) {
    progress.update(share, [&](double) { return plural(task.items.size(), "item"); });
  });
  TaskMeans means;
  std::size_t first = 0;
  for (const TaskItem& item : task.items) {
    const std::size_t count = item.continuations.size() * (item.unconditional_context ? 2 : 1);
    means.add(item, std::span(texts).subspan(first, count),
              std::span(scores).subspan(first, count));
    first += count;
  }
  result.accuracy = means.accuracy.score();
  result.per_token = means.per_token.score_of(result.items);
  result.per_character = means.per_character.score_of(result.items);
  result.per_byte = means.per_byte.score_of(result.items);
  result.unconditional = means.unconditional.score_of(result.items);
  result.greedy = means.greedy.score();
  result.bits_per_byte = means.bits.score();
  result.perplexity = std::exp(means.nats.score().mean);
  result.primary_metric = task.primary_metric;
  return result;
}

Json to_json(const TaskResult& result) {
  Json json = {{"name", result.name},
               {"items", result.items},
               {"contexts_cut", result.contexts_cut},
               {"accuracy", result.accuracy.mean},
               {"stderr", result.accuracy.standard_error}};
  const auto add = [&](const std::string& key, const Score& score) {
    json[key] = score.mean;
    json[key + "_stderr"] = score.standard_error;
  };
  if (result.per_token) add("accuracy_per_token", *result.per_token);
  if (result.per_character) add("accuracy_per_character", *result.per_character);
  if (result.per_byte) add("accuracy_per_byte", *result.per_byte);
  if (result.unconditional) add("accuracy_unconditional", *result.unconditional);
  add("greedy_accuracy", result.greedy);
  add("bits_per_byte", result.bits_per_byte);
  json["perplexity"] = result.perplexity;
  if (!result.primary_metric.empty()) json["primary_metric"] = result.primary_metric;
  return json;
}

}  // namespace dualpath
