// What a model is: every option of the architecture, each stated once.
// Source: arXiv 2605.30202 and its authors' configuration files.
#pragma once

#include <cstdint>
#include <vector>

#include "core/config/field.h"
#include "core/ops/ops.h"

namespace dualpath {

// Tokens whose logits exist at once (train.loss_chunk_tokens).
inline constexpr std::int64_t default_loss_chunk_tokens = 512;

enum class Architecture { standard, looped, wide, dual_path };
enum class InitScheme { layers, executed };
enum class BudgetRule { strict, paper };

template <>
struct EnumNames<Architecture> {
  static constexpr std::pair<Architecture, const char*> values[] = {
      {Architecture::standard, "standard"},
      {Architecture::looped, "looped"},
      {Architecture::wide, "wide"},
      {Architecture::dual_path, "dual_path"}};
};
template <>
struct EnumNames<InitScheme> {
  static constexpr std::pair<InitScheme, const char*> values[] = {
      {InitScheme::layers, "layers"}, {InitScheme::executed, "executed"}};
};
template <>
struct EnumNames<BudgetRule> {
  static constexpr std::pair<BudgetRule, const char*> values[] = {{BudgetRule::strict, "strict"},
                                                                  {BudgetRule::paper, "paper"}};
};
template <>
struct EnumNames<QkNorm> {
  static constexpr std::pair<QkNorm, const char*> values[] = {{QkNorm::after_rope, "after_rope"},
                                                              {QkNorm::before_rope, "before_rope"},
                                                              {QkNorm::none, "none"}};
};
template <>
struct EnumNames<LoopCombine> {
  static constexpr std::pair<LoopCombine, const char*> values[] = {
      {LoopCombine::mixture, "mixture"},
      {LoopCombine::final, "final"},
      {LoopCombine::mean, "mean"}};
};
template <>
struct EnumNames<GateMode> {
  static constexpr std::pair<GateMode, const char*> values[] = {
      {GateMode::two_sigmoid, "two_sigmoid"},
      {GateMode::convex, "convex"},
      {GateMode::softmax, "softmax"},
      {GateMode::fixed, "fixed"}};
};
template <>
struct EnumNames<GateTarget> {
  static constexpr std::pair<GateTarget, const char*> values[] = {{GateTarget::states, "states"},
                                                                  {GateTarget::updates, "updates"}};
};

struct DeepConfig {
  std::int64_t iterations = 4;       // K
  std::int64_t ffn_hidden_size = 0;  // h_d; 0: from d_ffn or the budget
  std::int64_t d_ffn = 0;
  LoopCombine combine = LoopCombine::mixture;
  double gain_init = -7;
  double router_bias_init = 0;
  bool iteration_norm = false;
  bool input_injection = false;
};

struct WideConfig {
  std::int64_t ffn_hidden_size = 0;  // h_w, also the FFN of standard layers
  std::int64_t d_ffn = 0;
  double gain_init = -7;
};

struct GateConfig {
  GateMode mode = GateMode::two_sigmoid;
  GateTarget target = GateTarget::states;
};

struct ModelConfig {
  std::vector<Architecture> architecture = {
      Architecture::dual_path};  // one for all, or one a layer
  std::int64_t layers = 4;
  std::int64_t hidden_size = 256;
  std::int64_t attention_heads = 4;
  std::int64_t kv_heads = 0;  // 0: as attention_heads
  std::int64_t sequence_length = 256;
  std::int64_t vocab_size = 0;  // 0: the tokenizer's, padded
  QkNorm qk_norm = QkNorm::after_rope;
  bool shared_attention = false;
  bool tied_embeddings = false;
  double rope_theta = 500000;
  double norm_epsilon = 1e-5;
  double init_std = 0.02;
  InitScheme init_scheme = InitScheme::layers;
  std::int64_t ffn_multiple = 256;
  double layer_flop_budget = 0;
  BudgetRule budget_rule = BudgetRule::strict;
  std::int64_t budget_multiple = 32;
  double deep_share = 0.5;  // α
  DeepConfig deep;
  WideConfig wide;
  GateConfig gate;

  std::int64_t head_size() const { return hidden_size / attention_heads; }
  Architecture architecture_of(std::int64_t layer) const {
    return architecture.size() == 1 ? architecture[0]
                                    : architecture[static_cast<std::size_t>(layer)];
  }
};

// A configuration that leaves nothing open: kv_heads and the used FFN sizes are given, and stand
// verbatim. Only resolve() (model/resolve_config.h) makes one.
class ResolvedModelConfig : public ModelConfig {
  friend ResolvedModelConfig resolve(ModelConfig config);
  explicit ResolvedModelConfig(ModelConfig config) : ModelConfig(std::move(config)) {}
};

// Weights λ of the optional loss terms (all 0 in the paper's runs).
struct RegularizerConfig {
  double ponder = 0;
  double gate_entropy = 0;
  double gate_balance = 0;
};

template <class Visitor>
void visit_fields(Visitor& visit, DeepConfig& c) {
  visit.field("iterations", c.iterations,
              {.help = "K: how often the deep path applies its one set of weights",
               .min = 1,
               .max = 64,
               .synonyms = "num_loops n_loops loops recurrence num_iterations"});
  visit.field("ffn_hidden_size", c.ffn_hidden_size,
              {.help = "hidden units of the deep FFN, used verbatim; 0: from d_ffn or the budget",
               .unit = "units",
               .min = 0,
               .max = bounds::ffn_units,
               .synonyms = "intermediate_size ffn_size mlp_hidden_size d_ff dim_feedforward "
                           "ffn_hidden n_inner ffn_dim mlp_dim"});
  visit.field(
      "d_ffn", c.d_ffn,
      {.help = "nominal deep FFN width; hidden units = multiple of ffn_multiple >= 2/3 of it",
       .unit = "units",
       .min = 0,
       .max = 2 * bounds::ffn_units});
  visit.field("combine", c.combine,
              {.help = "how the K states become one: router mixture, the final one, or the mean"});
  visit.field(
      "gain_init", c.gain_init,
      {.help = "start of the raw gain a_k; the residual scale is softplus(a_k), 0.5413 gives 1",
       .min = -100,
       .max = 100});
  visit.field("router_bias_init", c.router_bias_init,
              {.help = "start of the router's bias", .min = -100, .max = 100});
  visit.field("iteration_norm", c.iteration_norm,
              {.help = "every iteration has norm weights of its own (attention and FFN norm)"});
  visit.field("input_injection", c.input_injection,
              {.help = "iterations after the first take h + x instead of h"});
}

template <class Visitor>
void visit_fields(Visitor& visit, WideConfig& c) {
  visit.field(
      "ffn_hidden_size", c.ffn_hidden_size,
      {.help = "hidden units of the wide FFN and of standard layers' FFN, used verbatim; 0: "
               "from d_ffn or the budget",
       .unit = "units",
       .min = 0,
       .max = bounds::ffn_units,
       .synonyms = "intermediate_size ffn_size mlp_hidden_size d_ff dim_feedforward ffn_hidden "
                   "n_inner ffn_dim mlp_dim"});
  visit.field(
      "d_ffn", c.d_ffn,
      {.help = "nominal wide FFN width; hidden units = multiple of ffn_multiple >= 2/3 of it",
       .unit = "units",
       .min = 0,
       .max = 2 * bounds::ffn_units});
  visit.field("gain_init", c.gain_init,
              {.help = "start of the raw gain β; the residual scale is softplus(β), 0.5413 gives 1",
               .min = -100,
               .max = 100});
}

template <class Visitor>
void visit_fields(Visitor& visit, GateConfig& c) {
  visit.field("mode", c.mode, {.help = "how the two gates are computed from the block input"});
  visit.field("target", c.target, {.help = "what the gates weigh: the paths' states or updates"});
}

// Layers, widths, heads, vocabulary.
template <class Visitor>
void visit_shape(Visitor& visit, ModelConfig& c) {
  visit.field("architecture", c.architecture,
              {.help = "one name for all layers, or a list with one name a layer",
               .synonyms = "model_type arch"});
  visit.field(
      "layers", c.layers,
      {.help = "L: number of layers",
       .unit = "layers",
       .min = 1,
       .max = bounds::layers,
       .synonyms = "n_layer n_layers num_layers num_hidden_layers depth num_blocks n_blocks"});
  visit.field("hidden_size", c.hidden_size,
              {.help = "d: width of the residual stream",
               .min = 1,
               .max = bounds::width,
               .synonyms = "d_model n_embd n_embed dim model_dim embed_dim embedding_dim "
                           "embedding_size width emb_dim"});
  visit.field("attention_heads", c.attention_heads,
              {.help = "query heads",
               .min = 1,
               .max = bounds::width,
               .synonyms = "n_head n_heads num_heads heads num_attention_heads"});
  visit.field("kv_heads", c.kv_heads,
              {.help = "key/value heads, a divisor of attention_heads; 0: as many",
               .min = 0,
               .max = bounds::width,
               .synonyms = "num_key_value_heads n_kv_heads n_kv_head num_kv_heads num_query_groups "
                           "n_query_groups"});
  visit.field(
      "sequence_length", c.sequence_length,
      {.help = "T: tokens a sequence",
       .unit = "tokens",
       .min = 1,
       .max = bounds::sequence,
       .synonyms =
           "block_size seq_length seq_len max_seq_len max_seq_length max_position_embeddings "
           "n_positions n_ctx context_length context_size ctx_len encoder_seq_length"});
  visit.field("vocab_size", c.vocab_size,
              {.help = "V: rows of embedding and head; 0: the tokenizer's, rounded up to 128",
               .unit = "tokens",
               .min = 0,
               .max = bounds::vocabulary,
               .synonyms = "padded_vocab_size n_vocab vocabulary_size"});
}

// FFN sizes from nominal widths or a FLOP budget.
template <class Visitor>
void visit_budget(Visitor& visit, ModelConfig& c) {
  visit.field("ffn_multiple", c.ffn_multiple,
              {.help = "d_ffn rounds up to this multiple",
               .min = 1,
               .max = 1 << 16,
               .synonyms = "multiple_of"});
  visit.field("layer_flop_budget", c.layer_flop_budget,
              {.help = "forward FLOPs per token and layer, from which FFN sizes are solved; 0: off",
               .unit = "FLOPs",
               .min = 0,
               .max = 1e18});
  visit.field(
      "budget_rule", c.budget_rule,
      {.help = "how sizes follow from the budget: strict (causal attention counted) or paper"});
  visit.field("budget_multiple", c.budget_multiple,
              {.help = "strict budgets solve for FFN sizes in multiples of this",
               .unit = "units",
               .min = 1,
               .max = 1 << 16});
  visit.field("deep_share", c.deep_share,
              {.help = "α: the deep path's share of the budget", .min = 0, .max = 1});
}

template <class Visitor>
void visit_fields(Visitor& visit, ModelConfig& c) {
  visit_shape(visit, c);
  visit.field(
      "qk_norm", c.qk_norm,
      {.help = "per-head RMSNorm of queries and keys", .synonyms = "qk_layernorm qk_rmsnorm"});
  visit.field("shared_attention", c.shared_attention,
              {.help = "deep and wide path share one attention (dual_path layers)"});
  visit.field("tied_embeddings", c.tied_embeddings,
              {.help = "the head uses the embedding's weights",
               .synonyms = "tie_word_embeddings tie_embeddings weight_tying"});
  visit.field("rope_theta", c.rope_theta,
              {.help = "base of the rotary frequencies",
               .min = 1,
               .max = 1e12,
               .synonyms = "rotary_base rope_base theta"});
  visit.field(
      "norm_epsilon", c.norm_epsilon,
      {.help = "epsilon of every RMSNorm",
       .min = 1e-12,
       .max = 1,
       .synonyms = "norm_eps rms_norm_eps layer_norm_eps layer_norm_epsilon layernorm_epsilon"});
  visit.field("init_std", c.init_std,
              {.help = "standard deviation of initial weights",
               .min = 1e-6,
               .max = 10,
               .synonyms = "initializer_range init_method_std"});
  visit.field(
      "init_scheme", c.init_scheme,
      {.help = "output projections start with init_std/sqrt(2n), n the layers or the executed "
               "sublayer pairs"});
  visit_budget(visit, c);
  visit.section("deep", c.deep, "the deep path: attention and FFN applied K times");
  visit.section("wide", c.wide, "the wide path: its own attention and a larger FFN, applied once");
  visit.section("gate", c.gate, "the gates that add the two paths");
}

template <class Visitor>
void visit_fields(Visitor& visit, RegularizerConfig& c) {
  visit.field("ponder", c.ponder,
              {.help = "weight of (E-1)/(K-1), E the expected iterations", .min = 0, .max = 1e4});
  visit.field(
      "gate_entropy", c.gate_entropy,
      {.help = "weight of minus the gate entropy, nats, mean over tokens", .min = 0, .max = 1e4});
  visit.field("gate_balance", c.gate_balance,
              {.help = "weight of (mean gate share - 1/2)^2, the mean taken per sequence",
               .min = 0,
               .max = 1e4});
}

}  // namespace dualpath
