// Ops: every kernel the model needs, stated once as mathematics. An implementation issues all of
// them on the one stream it was made with.
//
// Shape suffixes: T tokens (T = sequences·positions), D model width, F FFN hidden units,
// V vocabulary rows, H query heads, G key/value heads, E head size, K loop iterations.
// A tensor named x_TD has shape [T, D]. Each output says whether it is overwritten (=) or added
// to (+=). Outputs do not alias inputs unless a line says so. All kernels are deterministic: the
// same inputs and thread count give the same bits. Shapes and types are checked; a mismatch throws
// Error(internal).
//
// Types (NumericTypes in core/tensor.h): x_TD, h_TD, u_TD, their gradients and what else is marked
// `stream` belong to the residual stream; what is marked `operand` goes into or comes out of matrix
// products and attention; both may be bf16 (the stream only if the operands are). All other reals
// are master (f32; f64 in the reference of the tests), f64 where a line says so. Kernels compute in
// the master type whatever the tensors' types, and round once, to nearest even, when they store;
// attention alone may also round its probabilities and their gradients to the operand type before
// it multiplies with them.
//
// Source of the formulas: "A Dual-Path Architecture for Scaling Compute and Capacity in LLMs",
// arXiv 2605.30202, and the named references below.
#pragma once

#include <compare>
#include <cstdint>

#include "core/tensor.h"

namespace dualpath {

struct MatmulFlags {
  bool transpose_a = false;
  bool transpose_b = false;
  bool accumulate = false;  // += instead of =
  auto operator<=>(const MatmulFlags&) const = default;
};

struct AttentionShape {
  std::int64_t sequences;  // attention never crosses a sequence
  std::int64_t positions;  // tokens per sequence
  std::int64_t heads;      // H
  std::int64_t kv_heads;   // G, divides H; query head i reads key/value head i / (H/G)
  std::int64_t head_size;  // E, even
  // Where each sequence's first token stands: not 0 where earlier tokens are in a cache.
  std::int64_t first_position = 0;
  std::int64_t tokens() const { return sequences * positions; }
  // Of one product with the half of the positions × positions scores that causality leaves, and
  // with those of all tokens in the cache.
  double causal_product_flops() const {
    return static_cast<double>(tokens() * heads * head_size) *
           static_cast<double>(positions + 2 * first_position);
  }
};

// Which rows of the vocabulary a table or a row of logits holds: `first` and those behind it, as
// many as it has, of `total`. Ids and targets count from the vocabulary's first row.
struct VocabularyRows {
  std::int64_t first;
  std::int64_t total;
  // Which of `count` rows held is the id's; -1: none.
  std::int64_t row_of(std::int64_t id, std::int64_t count) const {
    const std::int64_t row = id - first;
    return 0 <= row && row < count ? row : -1;
  }
};

enum class QkNorm { after_rope, before_rope, none };
enum class LoopCombine { mixture, final, mean };
enum class GateMode { two_sigmoid, convex, softmax, fixed };
enum class GateTarget { states, updates };

// One iteration of the deep loop as the router sees it.
struct LoopStep {
  LoopCombine combine = LoopCombine::mixture;
  std::int64_t index = 0;       // k-1, counted from 0
  std::int64_t iterations = 1;  // K
  // (k-1)/max(1, K-1): the router's last input.
  double feature() const {
    return iterations == 1 ? 0.0 : static_cast<double>(index) / static_cast<double>(iterations - 1);
  }
  bool first() const { return index == 0; }
  bool last() const { return index + 1 == iterations; }
};

// Columns of path_readout.
struct PathReadout {
  enum Column { gate_deep, gate_wide, gate_entropy, deep_share, cosine, input_norm, num_columns };
};

struct AdamWStep {
  double learning_rate;
  double beta1, beta2, epsilon;
  double weight_decay;    // decoupled: value -= learning_rate·weight_decay·value
  double correction1;     // 1 - beta1^t
  double correction2;     // 1 - beta2^t
  double gradient_scale;  // multiplies the gradient first (clipping)
};

class Ops {
 public:
  virtual ~Ops() = default;

  // ---- movement
  virtual void fill(Tensor out, double value) = 0;  // out = value
  virtual void copy(Tensor out, Tensor in) = 0;     // out = in, equal numel; f32 to bf16 rounds
  virtual void add(Tensor out, Tensor in) = 0;      // out += in, stream or operand
  virtual void sum(Tensor out, Tensor a, Tensor b) = 0;  // out = a + b (out may alias a or b), too

  // ---- embedding; ids_T is i32 in [0, rows.total)
  // out = table[ids - rows.first], or 0 where the table does not hold the id's row
  virtual void embedding(Tensor out_TD, Tensor ids_T, Tensor table_VD, VocabularyRows rows) = 0;
  // grad[v] += Σ_{t: ids[t] = rows.first + v} dout[t]
  virtual void embedding_backward(Tensor grad_VD, Tensor ids_T, Tensor dout_TD,
                                  VocabularyRows rows) = 0;

  // ---- matrix product: c (= or +=) op(a)·op(b), op transposes or not; a and b operand, c operand
  // or master. Sums are held in the master type.
  virtual void matmul(Tensor c, Tensor a, Tensor b, MatmulFlags flags) = 0;
  // Between these two, which do not nest, the b of every product without transpose_a is a weight
  // that nothing changes: it may be brought once into the form that suits products with it.
  virtual void hold_weights() = 0;
  virtual void release_weights() = 0;

  // ---- RMSNorm: rstd = 1/sqrt(mean(x²) + epsilon), out = x·rstd·weight   (arXiv 1910.07467)
  // out and dout are operand.
  virtual void rms_norm(Tensor out_TD, Tensor rstd_T, Tensor x_TD, Tensor weight_D,
                        double epsilon) = 0;
  // dx += ∂L/∂x, dweight += ∂L/∂weight, given dout = ∂L/∂out
  virtual void rms_norm_backward(Tensor dx_TD, Tensor dweight_D, Tensor dout_TD, Tensor x_TD,
                                 Tensor weight_D, Tensor rstd_T) = 0;

  // ---- scaled residual: s = softplus(gain), or 1 where gain is empty; gain has one element
  // out = x + s·y (out may alias x, or y of the same type); y is operand
  virtual void residual(Tensor out_TD, Tensor x_TD, Tensor y_TD, Tensor gain) = 0;
  // out = x + s·y, normed = RMSNorm(out; weight): residual and rms_norm in one pass. normed and y
  // are operand.
  virtual void residual_rms_norm(Tensor out_TD, Tensor normed_TD, Tensor rstd_T, Tensor x_TD,
                                 Tensor y_TD, Tensor gain, Tensor weight_D, double epsilon) = 0;
  // dy = s·dout (dy may alias dout of the same type); dy is operand, dout stream
  virtual void residual_backward(Tensor dy_TD, Tensor dout_TD, Tensor gain) = 0;
  // The gain's own gradient. With y = a·W a linear map and da = dy·Wᵀ = s·dout·Wᵀ,
  // ∂L/∂s = <dout, y> = <da, a>/s, hence dgain += <da, a>·σ(gain)/softplus(gain):
  // y itself need not be kept. a and da, operand, have any equal shape.
  virtual void residual_gain_backward(Tensor dgain, Tensor da, Tensor a, Tensor gain) = 0;

  // ---- rotary position (arXiv 2104.09864, half-split) and per-head RMSNorm of q and k
  // qkv_TC holds per token H query heads, G key heads, G value heads, each of E elements:
  // C = (H+2G)·E. cos_PR, sin_PR (R = E/2, P >= first_position + positions): token t stands at
  // position first_position + t mod positions and rotates (x_i, x_{i+R}) by its angle.
  // after_rope: q = norm(rotate(q0)); before_rope: q = rotate(norm(q0)); none: q = rotate(q0),
  // weights and rstd are empty.
  // rstd_TN, N = H+G: query heads first. Values are not touched. q, k, qkv and their gradients are
  // operand.
  virtual void qk_rope(Tensor q_THE, Tensor k_TGE, Tensor rstd_TN, Tensor qkv_TC, Tensor q_weight_E,
                       Tensor k_weight_E, Tensor cos_PR, Tensor sin_PR, AttentionShape shape,
                       QkNorm norm, double epsilon) = 0;
  // dqkv = gradient in its query and key columns (value columns untouched); dq/dk_weight +=.
  virtual void qk_rope_backward(Tensor dqkv_TC, Tensor dq_weight_E, Tensor dk_weight_E,
                                Tensor dq_THE, Tensor dk_TGE, Tensor rstd_TN, Tensor qkv_TC,
                                Tensor q_weight_E, Tensor k_weight_E, Tensor cos_PR, Tensor sin_PR,
                                AttentionShape shape, QkNorm norm) = 0;

  // ---- causal attention, scale 1/√E, per sequence; no positions × positions matrix in memory;
  // first_position is 0
  // out[t,h] = Σ_{j<=t} softmax_j(q[t,h]·k[j,g]/√E)·v[j,g]; log_sum_TH = log Σ_j exp(score).
  // v is read from the value columns of qkv_TC. All but log_sum is operand.
  virtual void attention(Tensor out_THE, Tensor log_sum_TH, Tensor q_THE, Tensor k_TGE,
                         Tensor qkv_TC, AttentionShape shape) = 0;
  // dq =, dk =, value columns of dqkv =
  virtual void attention_backward(Tensor dq_THE, Tensor dk_TGE, Tensor dqkv_TC, Tensor dout_THE,
                                  Tensor out_THE, Tensor log_sum_TH, Tensor q_THE, Tensor k_TGE,
                                  Tensor qkv_TC, AttentionShape shape) = 0;

  // Causal attention of tokens that go on behind a cache: one sequence, token t at position
  // p = first_position + t; keys_PGE and values_PGE (P >= first_position + positions) hold a row
  // for each position. keys: in, the new tokens' among them; values: in for the positions before
  // first_position, = the value columns of qkv_TC for the new ones, others untouched.
  // out[t,h] = Σ_{j<=p} softmax_j(q[t,h]·keys[j,g]/√E)·values[j,g]; log_sum_TH as above.
  // All but log_sum is operand.
  virtual void cached_attention(Tensor out_THE, Tensor log_sum_TH, Tensor values_PGE, Tensor q_THE,
                                Tensor keys_PGE, Tensor qkv_TC, AttentionShape shape) = 0;

  // ---- SwiGLU (arXiv 2002.05202): gate_up_T2F holds gate columns, then up columns; all operand
  // out = silu(gate)·up, silu(x) = x·σ(x)
  virtual void swiglu(Tensor out_TF, Tensor gate_up_T2F) = 0;
  // dgate_up =, and the forward's output again, out = (dgate_up may alias gate_up)
  virtual void swiglu_backward(Tensor dgate_up_T2F, Tensor out_TF, Tensor dout_TF,
                               Tensor gate_up_T2F) = 0;

  // ---- deep loop: router and mixture over iterations, one call per iteration k in order
  // mixture: q = σ(router_w·[h ; feature] + router_b); weight = remaining·q for k < K,
  // weight = remaining for k = K; then remaining *= 1-q. final: weight = [k = K];
  // mean: weight = 1/K; router tensors, q_T and remaining_T are then empty.
  // h_deep (= if first, += after) weight·h;  q_T =, weight_T =;
  // remaining_T: = 1 taken as its value at the first iteration, then in and out.
  // router_w has D+1 elements, router_b one.
  virtual void mixture_step(Tensor h_deep_TD, Tensor weight_T, Tensor q_T, Tensor remaining_T,
                            Tensor h_TD, Tensor router_w, Tensor router_b, LoopStep step) = 0;
  // out_T = Σ_d a[t,d]·b[t,d], a and b stream
  virtual void row_dot(Tensor out_T, Tensor a_TD, Tensor b_TD) = 0;
  // c_KT[k] = <∂L/∂h_deep, h^k>; ponder_scale·k is added to c (the gradient of
  // ponder_scale·Σ_t E_t, E the expected iterations). With R_K = c_K and
  // R_k = q_k·c_k + (1-q_k)·R_{k+1}:  ∂L/∂q_k = π_k·(c_k - R_{k+1}), π_k = Π_{j<k}(1-q_j).
  // dlogit_KT[k] = ∂L/∂q_k·q_k·(1-q_k), and 0 for k = K.   Only for `mixture`.
  virtual void mixture_weights_backward(Tensor dlogit_KT, Tensor c_KT, Tensor q_KT,
                                        double ponder_scale) = 0;
  // dh += weight·dh_deep + dlogit·router_w[0:D]; drouter_w += Σ_t dlogit·[h ; feature];
  // drouter_b += Σ_t dlogit. Without a router (final, mean) the dlogit terms are absent.
  virtual void mixture_step_backward(Tensor dh_TD, Tensor drouter_w, Tensor drouter_b,
                                     Tensor dh_deep_TD, Tensor h_TD, Tensor weight_T,
                                     Tensor dlogit_T, Tensor router_w, LoopStep step) = 0;
  // out_T = Σ_k k·weight_KT[k] (k from 1): expected iterations
  virtual void expected_iterations(Tensor out_T, Tensor weight_KT) = 0;

  // ---- gates: ℓ = x·Wᵀ + b, W_ND and b_N with N = 2 (two_sigmoid, softmax) or 1 (convex),
  // empty for fixed. gates_T2 = (g_d, g_w): two_sigmoid σ(ℓ_d), σ(ℓ_w); convex σ(ℓ), 1-σ(ℓ);
  // softmax over (ℓ_d, ℓ_w); fixed ½, ½.
  // states: y = g_d·h_deep + g_w·h_wide; updates: y = x + g_d·(h_deep-x) + g_w·(h_wide-x).
  virtual void gate(Tensor y_TD, Tensor gates_T2, Tensor x_TD, Tensor h_deep_TD, Tensor h_wide_TD,
                    Tensor weight_ND, Tensor bias_N, GateMode mode, GateTarget target) = 0;
  // dx =, dh_deep =, dh_wide =, dweight +=, dbias +=. dgates_T2 (may be empty) is added to
  // ∂L/∂gates: the regularisers' part. dx may alias dy.
  virtual void gate_backward(Tensor dx_TD, Tensor dh_deep_TD, Tensor dh_wide_TD, Tensor dweight_ND,
                             Tensor dbias_N, Tensor dy_TD, Tensor dgates_T2, Tensor x_TD,
                             Tensor h_deep_TD, Tensor h_wide_TD, Tensor gates_T2, Tensor weight_ND,
                             GateMode mode, GateTarget target) = 0;
  // Regularisers of one layer, p = g_d/(g_d+g_w) (½ where both vanish), H(p) = -p·ln p -
  // (1-p)·ln(1-p) with 0·ln 0 = 0:
  //   entropy_scale·Σ_t (-H(p_t))  +  balance_scale·Σ_sequences (mean_{t in sequence} p_t - ½)²
  // dgates_T2 = its gradient, 0 for a token with a gate of exactly 0; losses_2 (f64) += the two
  // sums Σ(-H) and Σ(mean p - ½)², unscaled.
  virtual void gate_regularizer(Tensor dgates_T2, Tensor losses_2, Tensor gates_T2,
                                std::int64_t positions, double entropy_scale,
                                double balance_scale) = 0;
  // Per token the columns of PathReadout: g_d, g_w, H(p), ρ_d, cos(Δ_d, Δ_w), ‖x‖, where
  // Δ_d = h_deep-x, Δ_w = h_wide-x, ρ_d = g_d‖Δ_d‖/(g_d‖Δ_d‖+g_w‖Δ_w‖) (½ where both vanish,
  // cos = 0 where one does).
  virtual void path_readout(Tensor readout_TC, Tensor x_TD, Tensor h_deep_TD, Tensor h_wide_TD,
                            Tensor gates_T2) = 0;
  // out_C (f64) += Σ_t in_TC[t]; a rank-1 input counts as [T, 1]
  virtual void column_sums(Tensor out_C, Tensor in_TC) = 0;

  // ---- loss: loss_T = log Σ_v exp(logits) - logits[target]; target -1 is ignored: loss 0,
  // gradient 0. dlogits = (softmax - onehot)·grad_scale, operand; empty: not wanted. It may alias
  // logits of the same type. Uses up logits unless dlogits is empty.
  virtual void cross_entropy(Tensor loss_T, Tensor dlogits_TV, Tensor logits_TV, Tensor targets_T,
                             double grad_scale) = 0;
  // The same where R ranks hold a part of the vocabulary each, V rows here: each rank finds the
  // statistics of its logits, all gather them, and from all R each finds the loss, the same
  // everywhere, and the gradient of its own logits.
  // stats_T3 = (m, s, z): m = max_v logits[v], s = Σ_v exp(logits[v] - m),
  // z = logits[target - rows.first], or 0 where the target's row is in another part. For target -1
  // all three are 0.
  virtual void vocabulary_statistics(Tensor stats_T3, Tensor logits_TV, Tensor targets_T,
                                     VocabularyRows rows) = 0;
  // (m_r, s_r, z_r) = stats[r, t], M = max_r m_r, S = Σ_r s_r·exp(m_r - M):
  // loss_T = log S + M - Σ_r z_r, dlogits = (exp(logits - M)/S - onehot)·grad_scale. Target -1 and
  // dlogits as in cross_entropy, but where dlogits is empty logits are not read.
  virtual void sharded_cross_entropy(Tensor loss_T, Tensor dlogits_TV, Tensor logits_TV,
                                     Tensor stats_RT3, Tensor targets_T, VocabularyRows rows,
                                     double grad_scale) = 0;

  // ---- optimizer; all tensors flat and of one length
  // g = gradient·gradient_scale; m = β1·m+(1-β1)·g; v = β2·v+(1-β2)·g²;
  // value -= lr·(m/c1/(sqrt(v/c2)+ε) + weight_decay·value)             (arXiv 1711.05101)
  // operand_N = value, rounded to its type; empty: not wanted.
  virtual void adamw(Tensor value_N, Tensor m_N, Tensor v_N, Tensor operand_N, Tensor gradient_N,
                     const AdamWStep& step) = 0;
  // out (f64, one element) += Σ x²
  virtual void sum_of_squares(Tensor out, Tensor x_N) = 0;
};

// Ops::hold_weights() for the life of this.
class HeldWeights {
 public:
  explicit HeldWeights(Ops& ops) : ops_(ops) { ops_.hold_weights(); }
  ~HeldWeights() { ops_.release_weights(); }
  HeldWeights(const HeldWeights&) = delete;
  HeldWeights& operator=(const HeldWeights&) = delete;

 private:
  Ops& ops_;
};

}  // namespace dualpath
