// Interventions at evaluation: what a model does when its gates or its iterations are not its own.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/config/config.h"
#include "launcher/evaluate/token_classes.h"
#include "model/config.h"
#include "model/scorer.h"

namespace dualpath {

enum class PathChoice { none, deep, wide };

template <>
struct EnumNames<PathChoice> {
  static constexpr std::pair<PathChoice, const char*> values[] = {
      {PathChoice::none, "none"}, {PathChoice::deep, "deep"}, {PathChoice::wide, "wide"}};
};

struct InterventionConfig {
  double gate_deep = -1;
  double gate_wide = -1;
  PathChoice off = PathChoice::none;
  bool shuffle_gates = false;
  std::vector<TokenClass> force_classes;
  PathChoice force_path = PathChoice::none;
  bool random_control = false;
  std::int64_t iterations = 0;
  std::int64_t seed = 1;

  // Whether a row's gates are forced, or another row's.
  bool changes_gates() const {
    return gate_deep >= 0 || gate_wide >= 0 || off != PathChoice::none || shuffle_gates ||
           !force_classes.empty();
  }
};

template <class Visitor>
void visit_fields(Visitor& visit, InterventionConfig& c) {
  visit.field(
      "gate_deep", c.gate_deep,
      {.help = "the deep path's gate of every token; -1: the model's own", .min = -1, .max = 10});
  visit.field(
      "gate_wide", c.gate_wide,
      {.help = "the wide path's gate of every token; -1: the model's own", .min = -1, .max = 10});
  visit.field("off", c.off, {.help = "the path whose gate is 0"});
  visit.field("shuffle_gates", c.shuffle_gates,
              {.help = "each token gets the pair of gates of another token of its text, drawn at "
                       "random"});
  visit.field("force_classes", c.force_classes,
              {.help = "classes of tokens that go one way only, that of force_path"});
  visit.field("force_path", c.force_path,
              {.help = "the path of tokens of force_classes: its gate is 1, the other's 0"});
  visit.field("random_control", c.random_control,
              {.help = "force as many tokens of other classes in their place, drawn at random from "
                       "the same text"});
  visit.field("iterations", c.iterations,
              {.help = "K of the deep paths; 0: the model's own. Beyond it the last gain is used "
                       "again; below it the last iteration gets the mixture's mass that is left",
               .min = 0,
               .max = 64});
  visit.field("seed", c.seed, {.help = "of the random choices", .min = 0, .max = bounds::seed});
}

// Throws Error(configuration) for what does not go together, or not with this model.
void check_intervention(const InterventionConfig& config, const ModelConfig& model);

// Gates that no token's own decide: those that every token gets. For texts that grow token by
// token. Throws Error(configuration) where the configuration has others.
struct GatePair {
  float deep, wide;  // negative: the token's own
};
GatePair constant_gates(const InterventionConfig& config);

// The gates of one text's tokens, in ForcedGates' terms, its first row counted as `first_row`.
// Depends on the text alone. Appends to `gates`.
void force_gates(const InterventionConfig& config, const Tokenizer& tokenizer,
                 std::span<const std::int32_t> text, std::int32_t first_row, ForcedGates& gates);

}  // namespace dualpath
