#include "core/cuda/libraries/cudnn_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/cuda/libraries/workspaces.h"

// Names of tensors: B sequences, H query heads, G key/value heads, S positions, E head size; the
// last two dimensions are the matrix's that is multiplied.

namespace dualpath {
namespace {

// What both passes have, of a part of an attention.
class AttentionGraph {
  const AttentionShape s_, whole_;

 public:
  CudnnGraph graph;
  const CudnnTensor q = queries(), k = transposed_heads(s_.kv_heads, key_width());
  const CudnnTensor out = queries(), statistics = row_numbers(whole_.heads);

  AttentionGraph(const AttentionShape& part, const AttentionShape& whole)
      : s_(part), whole_(whole) {}

  // Heads of E elements in rows of `width` elements, a row a token.
  CudnnTensor heads(std::int64_t count, std::int64_t width) {
    return graph.in_memory(CUDNN_DATA_BFLOAT16, {s_.sequences, count, s_.positions, s_.head_size},
                           {s_.positions * width, s_.head_size, width, 1});
  }
  CudnnTensor transposed_heads(std::int64_t count, std::int64_t width) {
    return graph.in_memory(CUDNN_DATA_BFLOAT16, {s_.sequences, count, s_.head_size, s_.positions},
                           {s_.positions * width, s_.head_size, 1, width});
  }
  std::int64_t query_width() const { return whole_.heads * s_.head_size; }
  std::int64_t key_width() const { return whole_.kv_heads * s_.head_size; }
  std::int64_t qkv_width() const { return query_width() + 2 * key_width(); }

  // As q lies, or out.
  CudnnTensor queries() { return heads(s_.heads, query_width()); }
  // A number for each query, of `heads_in_memory` heads of which these are some.
  CudnnTensor row_numbers(std::int64_t heads_in_memory) {
    return graph.in_memory(CUDNN_DATA_FLOAT, of_rows(),
                           {heads_in_memory * s_.positions, s_.positions, 1, 1});
  }
  CudnnDims of_rows() const { return {s_.sequences, s_.heads, s_.positions, 1}; }
  CudnnDims of_scores() const { return {s_.sequences, s_.heads, s_.positions, s_.positions}; }

  // q·kᵀ/√E
  CudnnTensor scores() {
    const CudnnTensor products = graph.between(of_scores());
    graph.matmul(products, q, k);
    return scaled(products);
  }
  CudnnTensor scaled(CudnnTensor x) { return graph.apply(CUDNN_POINTWISE_MUL, x, scale()); }
  // -∞ where a key stands behind the query
  CudnnTensor causal(CudnnTensor scores_BHSS) {
    const CudnnTensor query = graph.between(of_scores(), CUDNN_DATA_INT32);
    const CudnnTensor key = graph.between(of_scores(), CUDNN_DATA_INT32);
    const CudnnTensor seen = graph.between(of_scores(), CUDNN_DATA_BOOLEAN);
    const CudnnTensor result = graph.between(of_scores());
    graph.index(query, scores_BHSS, 2);
    graph.index(key, scores_BHSS, 3);
    graph.apply_to(seen, CUDNN_POINTWISE_CMP_GE, query, key);
    graph.select(result, scores_BHSS, graph.number(-std::numeric_limits<float>::infinity()), seen);
    return result;
  }
  // Σ over a row
  CudnnTensor row_sum(CudnnTensor x) {
    const CudnnTensor sum = graph.between(of_rows());
    graph.reduce_to(sum, CUDNN_REDUCE_TENSOR_ADD, x);
    return sum;
  }
  // result_BGSE = weights_BHSSᵀ·rows_BHSE, summed over the query heads of a group
  void multiply_transposed(CudnnTensor result_BGSE, CudnnTensor weights_BHSS,
                           CudnnTensor rows_BHSE) {
    const CudnnTensor transposed = graph.transpose(weights_BHSS, CUDNN_DATA_BFLOAT16);
    if (s_.heads == s_.kv_heads) return graph.matmul(result_BGSE, transposed, rows_BHSE);
    const CudnnTensor of_heads = graph.between(rows_BHSE.dims);
    graph.matmul(of_heads, transposed, rows_BHSE);
    graph.reduce_to(result_BGSE, CUDNN_REDUCE_TENSOR_ADD, of_heads);
  }

 private:
  CudnnTensor scale() {
    if (scale_.id == 0) scale_ = graph.number(1 / std::sqrt(static_cast<float>(s_.head_size)));
    return scale_;
  }

  CudnnTensor scale_{};
};

}  // namespace

CudnnAttention::Forward CudnnAttention::make_forward(const AttentionShape& shape,
                                                     const CudnnTarget& target) {
  AttentionGraph a(shape, shape);
  CudnnGraph& g = a.graph;
  const CudnnTensor v = a.heads(shape.kv_heads, a.qkv_width());

  const CudnnTensor scores = a.causal(a.scores());
  const CudnnTensor largest = g.between(a.of_rows());
  g.reduce_to(largest, CUDNN_REDUCE_TENSOR_MAX, scores);
  const CudnnTensor shifted = g.apply(CUDNN_POINTWISE_SUB, scores, largest);
  const CudnnTensor weights = g.apply(CUDNN_POINTWISE_EXP, shifted);
  const CudnnTensor sum = a.row_sum(weights);
  g.apply_to(a.statistics, CUDNN_POINTWISE_ADD, largest, g.apply(CUDNN_POINTWISE_LOG, sum));
  const CudnnTensor probabilities = g.between(a.of_scores(), CUDNN_DATA_BFLOAT16);
  g.apply_to(probabilities, CUDNN_POINTWISE_DIV, weights, sum);
  g.matmul(a.out, probabilities, v);
  return {a.out, a.statistics, a.q, a.k, v, CudnnPlan(g, target)};
}

CudnnAttention::Backward CudnnAttention::make_backward(const AttentionShape& shape,
                                                       const AttentionShape& part,
                                                       const CudnnTarget& target) {
  AttentionGraph a(part, shape);
  CudnnGraph& g = a.graph;
  const CudnnTensor v = a.transposed_heads(part.kv_heads, a.qkv_width());
  const CudnnTensor dout = a.queries(), delta = a.row_numbers(part.heads);
  const CudnnTensor dq = a.queries();
  const CudnnTensor dk = a.heads(part.kv_heads, a.key_width());
  const CudnnTensor dv = a.heads(part.kv_heads, a.qkv_width());

  // delta = <dout, out>, in memory because a kernel of its own computes it
  const CudnnTensor sum = a.row_sum(g.apply(CUDNN_POINTWISE_MUL, dout, a.out));
  g.apply_to(delta, CUDNN_POINTWISE_MUL, sum, g.number(1));

  // p = exp(score - log_sum), dv = pᵀ·dout
  const CudnnTensor shifted = g.apply(CUDNN_POINTWISE_SUB, a.scores(), a.statistics);
  const CudnnTensor p = g.apply(CUDNN_POINTWISE_EXP, a.causal(shifted));
  a.multiply_transposed(dv, p, dout);

  // ds = p·(dout·vᵀ - delta)/√E, dk = dsᵀ·q, dq = ds·k
  const CudnnTensor dp = g.between(a.of_scores());
  g.matmul(dp, dout, v);
  const CudnnTensor centred = g.apply(CUDNN_POINTWISE_SUB, dp, delta);
  const CudnnTensor ds = a.scaled(g.apply(CUDNN_POINTWISE_MUL, centred, p));
  a.multiply_transposed(dk, ds, a.q);
  g.matmul(dq, ds, g.transpose(a.k, CUDNN_DATA_BFLOAT16));
  return {dq, dk, dv, dout, a.out, a.statistics, a.q, a.k, v, delta, CudnnPlan(g, target)};
}

CudnnAttention::CudnnAttention(const AttentionShape& shape, const AttentionShape& part,
                               const CudnnTarget& target)
    : shape_(shape),
      part_(part),
      delta_bytes_(gpu::row_floats_bytes(part)),
      forward_(make_forward(shape, target)),
      backward_(make_backward(shape, part, target)) {}

std::size_t CudnnAttention::workspace_bytes() const {
  return delta_bytes_ + static_cast<std::size_t>(std::max(forward_.plan.workspace_bytes(),
                                                          backward_.plan.workspace_bytes()));
}

void CudnnAttention::forward(cudnnHandle_t handle, const ForwardOperands& o, void* workspace) {
  Forward& f = forward_;
  f.plan.run(handle,
             {{f.out, o.out}, {f.statistics, o.statistics}, {f.q, o.q}, {f.k, o.k}, {f.v, o.v}},
             workspace);
}

CudnnAttention::BackwardOperands CudnnAttention::part_of(const BackwardOperands& o,
                                                         std::int64_t sequence,
                                                         std::int64_t kv_head) const {
  const AttentionShape& s = shape_;
  const std::int64_t head = s.heads / s.kv_heads * kv_head, row = sequence * s.positions;
  const auto at = [](const void* data, std::int64_t elements, DType type) {
    return static_cast<const std::byte*>(data) + static_cast<std::size_t>(elements) * size_of(type);
  };
  const auto queries = [&](const void* data) {
    return at(data, (row * s.heads + head) * s.head_size, DType::bf16);
  };
  const auto keys = [&](const void* data) {
    return at(data, (row * s.kv_heads + kv_head) * s.head_size, DType::bf16);
  };
  const auto values = [&](const void* data) {
    return at(data, (row * (s.heads + 2 * s.kv_heads) + kv_head) * s.head_size, DType::bf16);
  };
  return {queries(o.dq),  keys(o.dk),
          values(o.dv),   queries(o.dout),
          queries(o.out), at(o.statistics, row * s.heads + head * s.positions, DType::f32),
          queries(o.q),   keys(o.k),
          values(o.v)};
}

void CudnnAttention::backward(cudnnHandle_t handle, const BackwardOperands& operands,
                              void* workspace) {
  Backward& b = backward_;
  std::byte* const rest = static_cast<std::byte*>(workspace) + delta_bytes_;
  for (std::int64_t sequence = 0; sequence < shape_.sequences; sequence += part_.sequences) {
    for (std::int64_t kv_head = 0; kv_head < shape_.kv_heads; kv_head += part_.kv_heads) {
      const BackwardOperands o = part_of(operands, sequence, kv_head);
      b.plan.run(handle,
                 {{b.dq, o.dq},
                  {b.dk, o.dk},
                  {b.dv, o.dv},
                  {b.dout, o.dout},
                  {b.out, o.out},
                  {b.statistics, o.statistics},
                  {b.q, o.q},
                  {b.k, o.k},
                  {b.v, o.v},
                  {b.delta, workspace}},
                 rest);
    }
  }
}

}  // namespace dualpath
