#include "launcher/train/initial_weights.h"

#include <algorithm>
#include <fmt/ranges.h>
#include <set>
#include <sstream>

#include "data/checkpoints/checkpoint_folder.h"
#include "parallel/run_together.h"

namespace dualpath {

namespace {

// Fields that make no other function of given weights: what a resolved model's sizes came from,
// and how long its sequences are.
bool keeps_function(const std::string& key) {
  constexpr std::string_view keys[] = {"model.sequence_length", "model.ffn_multiple",
                                       "model.budget_rule", "model.budget_multiple",
                                       "model.deep_share"};
  return is_init_only(key) || std::ranges::find(keys, key) != std::end(keys);
}

// Fields that give the tensors other shapes: no permission helps there.
bool changes_shapes(const std::string& key) {
  constexpr std::string_view keys[] = {"model.architecture",
                                       "model.layers",
                                       "model.hidden_size",
                                       "model.attention_heads",
                                       "model.kv_heads",
                                       "model.vocab_size",
                                       "model.deep.ffn_hidden_size",
                                       "model.wide.ffn_hidden_size",
                                       "model.deep.iterations"};
  return std::ranges::find(keys, key) != std::end(keys);
}

}  // namespace

Checkpoint find_initial_weights(const std::filesystem::path& folder, Log& log,
                                Communicator& ranks) {
  namespace fs = std::filesystem;
  const std::string of_run = run_on_root(ranks, "train.init_from", [&]() -> std::string {
    std::error_code error;
    if (fs::exists(folder / "manifest.yaml", error)) return "";
    for (const fs::path& place : {folder / "checkpoints", folder}) {
      if (!list_steps(place).empty()) return place;
    }
    DUALPATH_FAIL(ExitCode::checkpoint,
                  "train.init_from: {} is neither a checkpoint, with a manifest.yaml, nor a run "
                  "with one in its folder checkpoints",
                  folder.string());
  });
  if (!of_run.empty()) {
    const auto report = [&](const std::string& line) {
      if (ranks.rank() == 0) log.warning("{}", line);
    };
    std::optional<Checkpoint> newest = newest_whole(of_run, report, ranks);
    CHECK_AS(ExitCode::checkpoint, newest.has_value(), "train.init_from: {} has no checkpoint left",
             of_run);
    return *std::move(newest);
  }
  return open_whole_checkpoint(folder, ranks);
}

std::vector<ConfigChange> check_same_function(const ModelConfig& source, const ModelConfig& model,
                                              std::span<const std::string> allowed) {
  std::vector<ConfigChange> knowingly;
  std::vector<std::string> names;
  std::string refused;
  for (ConfigChange change : compare_configs(source, model)) {
    change.key = "model." + change.key;
    if (keeps_function(change.key)) continue;
    if (std::ranges::find(allowed, change.key) != allowed.end()) {
      knowingly.push_back(change);
    } else {
      refused += fmt::format("\n{}: {} there, {} here", change.key, change.before, change.after);
      names.push_back(change.key);
    }
  }
  const std::string advice = std::ranges::any_of(names, changes_shapes)
                                 ? "; their tensors have other shapes"
                                 : fmt::format(
                                       ", or train.init_changes=[{}] to take them all the "
                                       "same",
                                       fmt::join(names, ","));
  CHECK_AS(ExitCode::configuration, names.empty(),
           "the weights of train.init_from were trained as part of another model; give the same "
           "model{}{}",
           advice, refused);
  return knowingly;
}

std::vector<std::string> weights_left_out(const Checkpoint& checkpoint,
                                          std::span<const TensorSlice> wanted,
                                          Communicator& ranks) {
  std::string mine;
  for (const TensorSlice& slice : wanted) mine += slice.name + '\n';
  std::set<std::string> loaded;
  for (const std::string& names : ranks.all_gather(mine)) {
    std::istringstream lines(names);
    for (std::string name; std::getline(lines, name);) loaded.insert(name);
  }
  std::vector<std::string> left_out;
  for (const CheckpointTensor& tensor : checkpoint.tensors) {
    if (tensor.name.starts_with("parameters/") && !loaded.contains(tensor.name))
      left_out.push_back(tensor.name);
  }
  return left_out;
}

}  // namespace dualpath
