// Rotary position with per-head norms, and causal attention.
#pragma once

#include <algorithm>
#include <vector>

#include "tests/reference_ops/basic_kernels.h"

namespace dualpath {

// (x_i, x_{i+R}) turned by the angle of (cos_i, sin_i); direction -1 turns back. out is not x.
template <class S>
void rotate(S* out, const S* x, const S* cos, const S* sin, std::int64_t head_size, int direction) {
  const std::int64_t half = head_size / 2;
  for (std::int64_t i = 0; i < half; ++i) {
    const S turn = direction > 0 ? sin[i] : -sin[i];
    out[i] = x[i] * cos[i] - x[i + half] * turn;
    out[i + half] = x[i + half] * cos[i] + x[i] * turn;
  }
}

template <class S>
void ReferenceOpsOf<S>::compute(const op::QkRope& op) {
  const AttentionShape shape = op.shape;
  const QkNorm norm = op.norm;
  const double epsilon = op.epsilon;
  const std::int64_t size = shape.head_size, normed_heads = shape.heads + shape.kv_heads;
  std::vector<S> scratch(static_cast<std::size_t>(size));
  for (std::int64_t t = 0; t < shape.tokens(); ++t) {
    const std::int64_t position = shape.first_position + t % shape.positions;
    const S* cos = elements<S>(op.cos_PR) + position * (size / 2);
    const S* sin = elements<S>(op.sin_PR) + position * (size / 2);
    for (std::int64_t n = 0; n < normed_heads; ++n) {
      const bool query = n < shape.heads;
      const S* x = elements<S>(op.qkv_TC) + t * op.qkv_TC.shape[1] + n * size;
      S* out = query ? elements<S>(op.q_THE) + (t * shape.heads + n) * size
                     : elements<S>(op.k_TGE) + (t * shape.kv_heads + n - shape.heads) * size;
      const S* weight = optional_elements<S>(query ? op.q_weight_E : op.k_weight_E);
      S rstd(0);
      if (norm == QkNorm::before_rope) {
        rstd = norm_row(scratch.data(), x, weight, size, epsilon);
        rotate(out, scratch.data(), cos, sin, size, 1);
      } else {
        rotate(out, x, cos, sin, size, 1);
        if (norm == QkNorm::after_rope) rstd = norm_row(out, out, weight, size, epsilon);
      }
      if (norm != QkNorm::none) elements<S>(op.rstd_TN)[t * normed_heads + n] = rstd;
    }
  }
}

template <class S>
void ReferenceOpsOf<S>::compute(const op::QkRopeBackward& op) {
  const AttentionShape shape = op.shape;
  const QkNorm norm = op.norm;
  const std::int64_t size = shape.head_size, normed_heads = shape.heads + shape.kv_heads;
  std::vector<S> scratch(static_cast<std::size_t>(size)), scratch2(scratch);
  std::vector<Sum<S>> dq_weight, dk_weight;
  if (norm != QkNorm::none) {
    dq_weight.assign(elements<S>(op.dq_weight_E), elements<S>(op.dq_weight_E) + size);
    dk_weight.assign(elements<S>(op.dk_weight_E), elements<S>(op.dk_weight_E) + size);
  }
  for (std::int64_t t = 0; t < shape.tokens(); ++t) {
    const std::int64_t position = shape.first_position + t % shape.positions;
    const S* cos = elements<S>(op.cos_PR) + position * (size / 2);
    const S* sin = elements<S>(op.sin_PR) + position * (size / 2);
    for (std::int64_t n = 0; n < normed_heads; ++n) {
      const bool query = n < shape.heads;
      const std::int64_t column = t * op.qkv_TC.shape[1] + n * size;
      const S* x = elements<S>(op.qkv_TC) + column;
      S* dx = elements<S>(op.dqkv_TC) + column;
      const S* dout = query
                          ? elements<S>(op.dq_THE) + (t * shape.heads + n) * size
                          : elements<S>(op.dk_TGE) + (t * shape.kv_heads + n - shape.heads) * size;
      if (norm == QkNorm::none) {
        rotate(dx, dout, cos, sin, size, -1);
        continue;
      }
      const S* weight = elements<S>(query ? op.q_weight_E : op.k_weight_E);
      Sum<S>* dweight = (query ? dq_weight : dk_weight).data();
      const S rstd = elements<S>(op.rstd_TN)[t * normed_heads + n];
      if (norm == QkNorm::after_rope) {
        rotate(scratch.data(), x, cos, sin, size, 1);
        norm_row_backward<S>(scratch2.data(), dweight, dout, {scratch.data(), weight, rstd, size});
        rotate(dx, scratch2.data(), cos, sin, size, -1);
      } else {
        rotate(scratch.data(), dout, cos, sin, size, -1);
        norm_row_backward<S>(dx, dweight, scratch.data(), {x, weight, rstd, size});
      }
    }
  }
  if (norm == QkNorm::none) return;
  for (std::int64_t e = 0; e < size; ++e) {
    elements<S>(op.dq_weight_E)[e] = dq_weight[e].total();
    elements<S>(op.dk_weight_E)[e] = dk_weight[e].total();
  }
}

// The vectors of one sequence and one query head, at position j of the sequence.
template <class S>
struct AttentionHead {
  AttentionShape shape;
  std::int64_t sequence, head;

  std::int64_t kv_head() const { return head / (shape.heads / shape.kv_heads); }
  std::int64_t token(std::int64_t j) const { return sequence * shape.positions + j; }
  S* query(Tensor q_THE, std::int64_t j) const {
    return elements<S>(q_THE) + (token(j) * shape.heads + head) * shape.head_size;
  }
  S* key(Tensor k_TGE, std::int64_t j) const {
    return elements<S>(k_TGE) + (token(j) * shape.kv_heads + kv_head()) * shape.head_size;
  }
  S* value(Tensor qkv_TC, std::int64_t j) const {
    const std::int64_t before = shape.heads + shape.kv_heads + kv_head();
    return elements<S>(qkv_TC) + token(j) * qkv_TC.shape[1] + before * shape.head_size;
  }
  S& log_sum(Tensor log_sum_TH, std::int64_t j) const {
    return elements<S>(log_sum_TH)[token(j) * shape.heads + head];
  }
};

template <class S>
S dot(const S* a, const S* b, std::int64_t size) {
  Sum<S> sum;
  for (std::int64_t i = 0; i < size; ++i) sum.add(a[i] * b[i]);
  return sum.total();
}

template <class S>
S attention_scale(AttentionShape shape) {
  using std::sqrt;
  return S(1) / sqrt(S(shape.head_size));
}

template <class S>
void ReferenceOpsOf<S>::compute(const op::Attention& op) {
  const AttentionShape shape = op.shape;
  using std::exp, std::log;
  const std::int64_t size = shape.head_size;
  const S scale = attention_scale<S>(shape);
#pragma omp parallel for if (shape.positions * op.q_THE.numel() > parallel_work)
  for (std::int64_t row = 0; row < shape.sequences * shape.heads; ++row) {
    const AttentionHead<S> at{shape, row / shape.heads, row % shape.heads};
    std::vector<S> weights(static_cast<std::size_t>(shape.positions));
    for (std::int64_t t = 0; t < shape.positions; ++t) {
      for (std::int64_t j = 0; j <= t; ++j) {
        weights[j] = dot(at.query(op.q_THE, t), at.key(op.k_TGE, j), size) * scale;
      }
      const S largest = shift(*std::max_element(weights.begin(), weights.begin() + t + 1));
      Sum<S> exponentials;
      for (std::int64_t j = 0; j <= t; ++j) {
        weights[j] = exp(weights[j] - largest);
        exponentials.add(weights[j]);
      }
      const S total = exponentials.total();
      at.log_sum(op.log_sum_TH, t) = largest + log(total);
      for (std::int64_t e = 0; e < size; ++e) {
        Sum<S> out;
        for (std::int64_t j = 0; j <= t; ++j)
          out.add(stored(weights[j], emulated_.operand) * at.value(op.qkv_TC, j)[e]);
        at.query(op.out_THE, t)[e] = out.total() / total;
      }
    }
  }
}

template <class S>
void ReferenceOpsOf<S>::compute(const op::CachedAttention& op) {
  const AttentionShape shape = op.shape;
  using std::exp, std::log;
  const std::int64_t size = shape.head_size, group = shape.heads / shape.kv_heads;
  const std::int64_t kv_width = shape.kv_heads * size, first = shape.first_position;
  const S scale = attention_scale<S>(shape);
  S* values = elements<S>(op.values_PGE);
  for (std::int64_t t = 0; t < shape.positions; ++t) {
    std::copy_n(elements<S>(op.qkv_TC) + (t + 1) * op.qkv_TC.shape[1] - kv_width, kv_width,
                values + (first + t) * kv_width);
  }
  for (std::int64_t t = 0; t < shape.positions; ++t) {
    std::vector<S> weights(static_cast<std::size_t>(first + t + 1));
    for (std::int64_t h = 0; h < shape.heads; ++h) {
      const S* query = elements<S>(op.q_THE) + (t * shape.heads + h) * size;
      const S* keys = elements<S>(op.keys_PGE) + h / group * size;
      for (std::int64_t j = 0; j <= first + t; ++j) {
        weights[j] = dot(query, keys + j * kv_width, size) * scale;
      }
      const S largest = shift(*std::max_element(weights.begin(), weights.end()));
      Sum<S> exponentials;
      for (S& weight : weights) {
        weight = exp(weight - largest);
        exponentials.add(weight);
      }
      const S total = exponentials.total();
      elements<S>(op.log_sum_TH)[t * shape.heads + h] = largest + log(total);
      for (std::int64_t e = 0; e < size; ++e) {
        Sum<S> out;
        for (std::int64_t j = 0; j <= first + t; ++j) {
          out.add(stored(weights[j], emulated_.operand) *
                  values[j * kv_width + h / group * size + e]);
        }
        elements<S>(op.out_THE)[(t * shape.heads + h) * size + e] = out.total() / total;
      }
    }
  }
}

// The rows that row t of a segment attends to.
inline std::vector<std::int64_t> rows_seen(Tensor segments_S3, std::int64_t segment,
                                           std::int64_t t) {
  const auto* segments = segments_S3.as<std::int32_t>();
  std::vector<std::int64_t> rows;
  for (std::int64_t j = segments[segment * 3]; j <= t; ++j) rows.push_back(j);
  for (std::int32_t s = segments[segment * 3 + 2]; s >= 0; s = segments[s * 3 + 2])
    for (std::int64_t j = segments[s * 3]; j < segments[s * 3 + 1]; ++j) rows.push_back(j);
  return rows;
}

template <class S>
void ReferenceOpsOf<S>::compute(const op::SegmentAttention& op) {
  using std::exp;
  const std::int64_t size = op.shape.head_size;
  const S scale = attention_scale<S>(op.shape);
  const auto attend = [&](std::int64_t t, std::int64_t head,
                          const std::vector<std::int64_t>& rows) {
    const AttentionHead<S> at{op.shape, 0, head};
    std::vector<S> weights;
    for (const std::int64_t j : rows)
      weights.push_back(dot(at.query(op.q_THE, t), at.key(op.k_TGE, j), size) * scale);
    const S largest = shift(*std::max_element(weights.begin(), weights.end()));
    Sum<S> exponentials;
    for (S& weight : weights) {
      weight = exp(weight - largest);
      exponentials.add(weight);
    }
    const S total = exponentials.total();
    for (std::int64_t e = 0; e < size; ++e) {
      Sum<S> out;
      for (std::size_t i = 0; i < rows.size(); ++i)
        out.add(stored(weights[i], emulated_.operand) * at.value(op.qkv_TC, rows[i])[e]);
      at.query(op.out_THE, t)[e] = out.total() / total;
    }
  };
  const auto* segments = op.segments_S3.as<std::int32_t>();
  for (std::int64_t s = 0; s < op.segments_S3.rows(); ++s) {
    for (std::int64_t t = segments[s * 3]; t < segments[s * 3 + 1]; ++t) {
      const std::vector<std::int64_t> rows = rows_seen(op.segments_S3, s, t);
      for (std::int64_t head = 0; head < op.shape.heads; ++head) attend(t, head, rows);
    }
  }
}

// With p_j = exp(score_j - log_sum), dp_j = <dout, v_j> and δ = <dout, out> = Σ p_j·dp_j:
// dv_j = Σ p_j·dout, ds_j = p_j·(dp_j - δ), dq = Σ ds_j·k_j/√E, dk_j = Σ ds_j·q/√E; the sums
// of dk and dv run over the later positions and the query heads of the group.
template <class S>
void ReferenceOpsOf<S>::compute(const op::AttentionBackward& op) {
  const AttentionShape shape = op.shape;
  using std::exp;
  const std::int64_t size = shape.head_size, group = shape.heads / shape.kv_heads;
  const S scale = attention_scale<S>(shape);
#pragma omp parallel for if (shape.positions * op.q_THE.numel() > parallel_work)
  for (std::int64_t row = 0; row < shape.sequences * shape.kv_heads; ++row) {
    const std::int64_t sequence = row / shape.kv_heads, kv_head = row % shape.kv_heads;
    std::vector<Sum<S>> dk(static_cast<std::size_t>(shape.positions * size)), dv(dk);
    for (std::int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
      const AttentionHead<S> at{shape, sequence, head};
      for (std::int64_t t = 0; t < shape.positions; ++t) {
        const S* dout = at.query(op.dout_THE, t);
        const S delta = dot(dout, at.query(op.out_THE, t), size);
        std::vector<Sum<S>> dq(static_cast<std::size_t>(size));
        for (std::int64_t j = 0; j <= t; ++j) {
          const S score = dot(at.query(op.q_THE, t), at.key(op.k_TGE, j), size) * scale;
          const S p = exp(score - at.log_sum(op.log_sum_TH, t));
          const S dscore =
              stored(p * (dot(dout, at.value(op.qkv_TC, j), size) - delta), emulated_.operand) *
              scale;
          for (std::int64_t e = 0; e < size; ++e) {
            dv[j * size + e].add(stored(p, emulated_.operand) * dout[e]);
            dk[j * size + e].add(dscore * at.query(op.q_THE, t)[e]);
            dq[e].add(dscore * at.key(op.k_TGE, j)[e]);
          }
        }
        for (std::int64_t e = 0; e < size; ++e) at.query(op.dq_THE, t)[e] = dq[e].total();
      }
    }
    const AttentionHead<S> at{shape, sequence, kv_head * group};
    for (std::int64_t j = 0; j < shape.positions; ++j) {
      for (std::int64_t e = 0; e < size; ++e) {
        at.key(op.dk_TGE, j)[e] = dk[j * size + e].total();
        at.value(op.dqkv_TC, j)[e] = dv[j * size + e].total();
      }
    }
  }
}

}  // namespace dualpath
