// A tiny model of every architecture and with every option.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "model/config.h"
#include "model/regularizers.h"

namespace dualpath {

inline ModelConfig tiny(Architecture architecture) {
  ModelConfig c;
  c.architecture = {architecture};
  c.layers = 2;
  c.hidden_size = 12;
  c.attention_heads = 2;
  c.sequence_length = 7;
  c.vocab_size = 19;
  c.deep.iterations = 3;
  c.deep.ffn_hidden_size = 10;
  c.wide.ffn_hidden_size = 14;
  // Far from the symmetric start, so that every term of the gradient is seen.
  c.init_std = 0.3;
  c.deep.gain_init = 0.4;
  c.wide.gain_init = -0.3;
  return c;
}

struct Variant {
  std::string name;
  ModelConfig config;
  RegularizerConfig regularizers = {};
};

inline std::vector<Variant> variants() {
  std::vector<Variant> all;
  const auto add = [&](std::string name, Architecture a,
                       const std::function<void(Variant&)>& change = {}) {
    Variant variant{std::move(name), tiny(a)};
    if (change) change(variant);
    all.push_back(std::move(variant));
  };
  const auto dual = Architecture::dual_path;
  add("standard", Architecture::standard);
  add("wide", Architecture::wide);
  add("looped", Architecture::looped);
  add("dual_path", dual);
  add("mixed_layers", dual, [](Variant& v) {
    v.config.layers = 4;
    v.config.architecture = {Architecture::standard, Architecture::looped, Architecture::dual_path,
                             Architecture::wide};
  });
  add("one_iteration", dual, [](Variant& v) { v.config.deep.iterations = 1; });
  add("grouped_kv_heads", dual, [](Variant& v) { v.config.kv_heads = 1; });
  add("norm_before_rope", dual, [](Variant& v) { v.config.qk_norm = QkNorm::before_rope; });
  add("no_qk_norm", dual, [](Variant& v) { v.config.qk_norm = QkNorm::none; });
  add("combine_final", dual, [](Variant& v) { v.config.deep.combine = LoopCombine::final; });
  add("combine_mean", dual, [](Variant& v) { v.config.deep.combine = LoopCombine::mean; });
  add("gate_convex", dual, [](Variant& v) { v.config.gate.mode = GateMode::convex; });
  add("gate_softmax", dual, [](Variant& v) { v.config.gate.mode = GateMode::softmax; });
  add("gate_fixed", dual, [](Variant& v) { v.config.gate.mode = GateMode::fixed; });
  add("gate_updates", dual, [](Variant& v) { v.config.gate.target = GateTarget::updates; });
  add("shared_attention", dual, [](Variant& v) { v.config.shared_attention = true; });
  add("tied_embeddings", dual, [](Variant& v) { v.config.tied_embeddings = true; });
  add("iteration_norm", dual, [](Variant& v) { v.config.deep.iteration_norm = true; });
  add("input_injection", dual, [](Variant& v) { v.config.deep.input_injection = true; });
  add("shared_and_norms_and_injection", dual, [](Variant& v) {
    v.config.shared_attention = true;
    v.config.deep.iteration_norm = true;
    v.config.deep.input_injection = true;
  });
  add("looped_with_injection", Architecture::looped,
      [](Variant& v) { v.config.deep.input_injection = true; });
  add("regularizers", dual, [](Variant& v) {
    v.regularizers = {.ponder = 0.3, .gate_entropy = 0.2, .gate_balance = 0.7};
  });
  return all;
}

}  // namespace dualpath
