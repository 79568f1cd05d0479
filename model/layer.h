// One layer of any of the four architectures (arXiv 2605.30202):
//   standard   y = Φ(x; 1)
//   wide       y = h_wide = Φ(x; softplus(β))
//   looped     y = h_deep                               (model/deep_path.h)
//   dual_path  y = g_d·h_deep + g_w·h_wide, or x + g_d·(h_deep-x) + g_w·(h_wide-x);
//              the gates are read from x, and there is no outer residual
#pragma once

#include <optional>

#include "model/deep_path.h"
#include "model/wide_path.h"

namespace dualpath {

// What is needed of a layer per token and logged: the columns of PathReadout, then the expected
// iterations.
inline constexpr std::int64_t readout_expected_iterations = op::PathReadout::num_columns;
inline constexpr std::int64_t num_readouts = op::PathReadout::num_columns + 1;

// The regularisers' weights, divided by what their means are taken over; 0: off.
struct RegularizerScales {
  double ponder = 0;   // of Σ_tokens E
  double entropy = 0;  // of Σ_tokens (-H(p))
  double balance = 0;  // of Σ_sequences (mean p - ½)²
  Tensor gate_losses;  // [2] f64 += Σ(-H), Σ(mean p - ½)² in the backward pass
};

struct LayerStash {
  Tensor x_TD;  // the layer's input, set by the caller
  // The rest is filled by the forward pass, unless the whole layer is recomputed.
  WideStash wide;
  DeepStash deep;
  Tensor h_wide_TD;
  Tensor h_deep_TD;
  Tensor gates_T2;
  AttentionStash shared;
  Tensor shared_y_TD;
};

class Layer {
 public:
  // Declares "layers.INDEX.…". output_std: of the output and down projections' initial values.
  Layer(ParameterStore& store, const ModelConfig& config, std::int64_t index, double output_std);

  // y = layer(x), x = stash.x_TD. Keeps in ctx.stash what `recompute` leaves for the backward pass.
  void forward(const Context& ctx, LayerStash& stash, Tensor y_TD, Recompute recompute) const;
  // In place: d = ∂L/∂y becomes ∂L/∂x; parameter gradients +=. `recompute` as in the forward pass.
  // `rebuilt` is a work place for Recompute::layer.
  void backward(const Context& ctx, LayerStash& stash, LayerStash& rebuilt, Tensor d_TD,
                const RegularizerScales& regularizers, Recompute recompute) const;
  // What backward() left in ctx.deferred; parameter gradients +=. REQUIRES: has_wide_path().
  void backward_weights(const Context& ctx, const FfnWeightInputs& inputs) const;

  // DeepPath::force_iterations() of a deep path.
  void force_iterations(std::int64_t iterations) {
    if (deep_) deep_->force_iterations(iterations);
  }

  bool has_wide_path() const { return wide_.has_value(); }
  bool has_both_paths() const { return deep_.has_value() && wide_.has_value(); }
  bool has_router() const { return deep_.has_value() && deep_->has_router(); }
  // How many attentions a pass executes.
  std::int64_t num_attentions() const;
  std::int64_t iterations() const { return deep_.has_value() ? deep_->iterations() : 1; }

 private:
  void allocate_stash(const Context& ctx, Arena& arena, Recompute recompute,
                      LayerStash& stash) const;
  void run(const Context& ctx, LayerStash& stash, Tensor y_TD) const;
  void run_both(const Context& ctx, LayerStash& stash, Tensor y_TD) const;
  void backward_kept(const Context& ctx, LayerStash& stash, Tensor d_TD,
                     const RegularizerScales& regularizers) const;
  void backward_both(const Context& ctx, LayerStash& stash, Tensor d_TD,
                     const RegularizerScales& regularizers) const;
  void run_wide(const Context& ctx, LayerStash& stash, Tensor out_TD) const;
  void run_paths(const Context& ctx, LayerStash& stash) const;
  void backward_wide(const Context& ctx, LayerStash& stash, Tensor d_TD,
                     const SharedAttention& shared) const;
  void backward_deep(const Context& ctx, LayerStash& stash, const DeepPath::Backward& pass,
                     double ponder_scale) const;
  void backward_paths(const Context& ctx, LayerStash& stash, Tensor dh_wide_TD,
                      const DeepPath::Backward& deep_pass, double ponder_scale) const;
  void run_shared_attention(const Context& ctx, LayerStash& stash) const;
  SharedAttention begin_shared_backward(const Context& ctx, LayerStash& stash) const;
  void finish_shared_backward(const Context& ctx, const LayerStash& stash,
                              const SharedAttention& shared, Tensor dx_TD) const;
  Tensor gate_regularizer(const Context& ctx, Tensor gates_T2,
                          const RegularizerScales& regularizers) const;
  void add_readouts(const Context& ctx, const LayerStash& stash) const;
  void read_tokens(const Context& ctx, const LayerStash& stash) const;
  void run_gate(const Context& ctx, LayerStash& stash, Tensor y_TD) const;

  std::int64_t index_;
  std::int64_t width_;
  GateConfig gate_;
  std::optional<Attention> shared_attention_;
  std::optional<DeepPath> deep_;
  std::optional<WidePath> wide_;  // also the one path of a standard layer
  Parameter gate_weight_;
  Parameter gate_bias_;
};

}  // namespace dualpath
