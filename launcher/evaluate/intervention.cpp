#include "launcher/evaluate/intervention.h"

#include <algorithm>

#include "core/base/random.h"
#include "data/files/file_io.h"

namespace dualpath {

void check_intervention(const InterventionConfig& config, const ModelConfig& model) {
  const auto refuse_unless = [](bool condition, const char* field, const char* message) {
    CHECK_AS(ExitCode::configuration, condition, "intervene.{}: {}", field, message);
  };
  const auto has_layer = [&](auto... architectures) {
    return std::ranges::any_of(model.architecture,
                               [&](Architecture a) { return (... || (a == architectures)); });
  };
  for (const auto& [name, value] :
       {std::pair{"gate_deep", config.gate_deep}, {"gate_wide", config.gate_wide}})
    refuse_unless(value == -1 || value >= 0, name, "a gate is not negative; -1: the model's own");
  refuse_unless(!config.changes_gates() || has_layer(Architecture::dual_path), "gate_deep",
                "the model has no gates: none of its layers is dual_path");
  refuse_unless(config.iterations == 0 || has_layer(Architecture::dual_path, Architecture::looped),
                "iterations", "the model has no deep path");
  refuse_unless(config.force_classes.empty() == (config.force_path == PathChoice::none),
                "force_path", "force_classes and force_path go together");
  refuse_unless(!config.random_control || !config.force_classes.empty(), "random_control",
                "is the control of force_classes, which is not given");
  refuse_unless(config.off == PathChoice::none || (config.gate_deep < 0 && config.gate_wide < 0),
                "off", "goes without gate_deep and gate_wide");
}

namespace {

// Of tokens that force_classes does not take.
GatePair gates_of_others(const InterventionConfig& config) {
  const auto gate = [&](PathChoice path, double own) {
    return config.off == path ? 0.0F : static_cast<float>(own);
  };
  return {gate(PathChoice::deep, config.gate_deep), gate(PathChoice::wide, config.gate_wide)};
}

}  // namespace

GatePair constant_gates(const InterventionConfig& config) {
  CHECK_AS(
      ExitCode::configuration, !config.shuffle_gates && config.force_classes.empty(),
      "intervene.{}: needs a whole text; a text that grows takes gate_deep, gate_wide, off and "
      "iterations",
      config.shuffle_gates ? "shuffle_gates" : "force_classes");
  return gates_of_others(config);
}

namespace {

// Of the text's tokens: those that go one way.
std::vector<bool> forced_tokens(const InterventionConfig& config, const Tokenizer& tokenizer,
                                std::span<const std::int32_t> text, const CounterRng& rng) {
  std::vector<bool> is_forced;
  for (const TokenClass c : token_classes(tokenizer, text))
    is_forced.push_back(std::ranges::count(config.force_classes, c) > 0);
  if (!config.random_control) return is_forced;
  std::vector<std::size_t> others;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (!is_forced[i]) others.push_back(i);
  }
  const auto wanted = static_cast<std::size_t>(std::ranges::count(is_forced, true));
  std::vector<bool> control(text.size(), false);
  for (std::size_t i = 0; i < std::min(wanted, others.size()); ++i) {
    // Fisher and Yates
    std::swap(others[i], others[i + rng.below(i, others.size() - i)]);
    control[others[i]] = true;
  }
  return control;
}

}  // namespace

void force_gates(const InterventionConfig& config, const Tokenizer& tokenizer,
                 std::span<const std::int32_t> text, std::int32_t first_row, ForcedGates& gates) {
  // The text decides what is drawn, so that it does not depend on the texts around it.
  const std::uint64_t seed =
      static_cast<std::uint64_t>(config.seed) ^ checksum_of(std::as_bytes(text));
  const CounterRng rng(seed, "forced tokens");
  std::vector<bool> is_forced(text.size(), false);
  if (!config.force_classes.empty()) is_forced = forced_tokens(config, tokenizer, text, rng);
  const Permutation permutation(seed, "shuffled gates", text.size());
  const float deep = config.force_path == PathChoice::deep ? 1 : 0;
  const GatePair others = gates_of_others(config);
  for (std::size_t i = 0; i < text.size(); ++i) {
    const std::size_t source = config.shuffle_gates ? permutation(i) : i;
    gates.source.push_back(first_row + static_cast<std::int32_t>(source));
    if (is_forced[i]) {
      gates.forced.insert(gates.forced.end(), {deep, 1 - deep});
    } else {
      gates.forced.insert(gates.forced.end(), {others.deep, others.wide});
    }
  }
}

}  // namespace dualpath
