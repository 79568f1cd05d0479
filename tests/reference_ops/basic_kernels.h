// Movement, embedding, matrix product, norms, residual, loss and optimizer.
#pragma once

#include <algorithm>
#include <vector>

#include "tests/reference_ops/elements.h"
#include "tests/reference_ops/reference_ops.h"
#include "tests/reference_ops/scalar.h"

namespace dualpath {

// Multiply-adds above which a loop is worth several threads.
inline constexpr std::int64_t parallel_work = 1 << 16;

// ---- movement

template <class S>
void ReferenceOpsOf<S>::compute(const op::Fill& op) {
  std::fill_n(elements<S>(op.out), op.out.numel(), S(op.value));
}

template <class S>
void ReferenceOpsOf<S>::compute(const op::Copy& op) {
  if (op.in.dtype == DType::i32) {
    std::copy_n(op.in.as<std::int32_t>(), op.in.numel(), op.out.as<std::int32_t>());
  } else {
    std::copy_n(elements<S>(op.in), op.in.numel(), elements<S>(op.out));
  }
}

template <class S>
void ReferenceOpsOf<S>::compute(const op::Add& op) {
  compute(op::Sum{.out = op.out, .a = op.out, .b = op.in});
}

template <class S>
void ReferenceOpsOf<S>::compute(const op::Sum& op) {
  for (std::int64_t i = 0; i < op.out.numel(); ++i) {
    elements<S>(op.out)[i] = elements<S>(op.a)[i] + elements<S>(op.b)[i];
  }
}

// ---- embedding

inline std::int64_t checked_row(std::int32_t id, VocabularyRows rows, std::int64_t count) {
  CHECK(0 <= id && id < rows.total, "id {} is outside a vocabulary of {}", id, rows.total);
  return rows.row_of(id, count);
}

template <class S>
void ReferenceOpsOf<S>::compute(const op::Embedding& op) {
  const std::int64_t width = op.out_TD.shape[1];
  for (std::int64_t t = 0; t < op.out_TD.shape[0]; ++t) {
    const std::int64_t row =
        checked_row(op.ids_T.as<std::int32_t>()[t], op.rows, op.table_VD.shape[0]);
    S* out = elements<S>(op.out_TD) + t * width;
    if (row < 0) {
      std::fill_n(out, width, S(0));
    } else {
      std::copy_n(elements<S>(op.table_VD) + row * width, width, out);
    }
  }
}

template <class S>
void ReferenceOpsOf<S>::compute(const op::EmbeddingBackward& op) {
  const std::int64_t width = op.grad_VD.shape[1];
  S* grad = elements<S>(op.grad_VD);
  std::vector<Sum<S>> sums(grad, grad + op.grad_VD.numel());
  for (std::int64_t t = 0; t < op.dout_TD.shape[0]; ++t) {
    const std::int64_t row =
        checked_row(op.ids_T.as<std::int32_t>()[t], op.rows, op.grad_VD.shape[0]);
    if (row < 0) continue;
    for (std::int64_t d = 0; d < width; ++d) {
      sums[row * width + d].add(elements<S>(op.dout_TD)[t * width + d]);
    }
  }
  for (std::int64_t i = 0; i < op.grad_VD.numel(); ++i) grad[i] = sums[i].total();
}

// ---- matrix product

template <class S>
void ReferenceOpsOf<S>::compute(const op::Matmul& op) {
  const MatmulFlags flags = op.flags;
  const std::int64_t rows = op.c.shape[0], cols = op.c.shape[1];
  const std::int64_t inner = op.a.shape[flags.transpose_a ? 0 : 1];
  const S* left = elements<S>(op.a);
  const S* right = elements<S>(op.b);
  std::vector<S> transposed;
  if (flags.transpose_b) {  // so that the innermost loop walks along memory
    transposed.resize(static_cast<std::size_t>(inner * cols));
    for (std::int64_t j = 0; j < cols; ++j) {
      for (std::int64_t p = 0; p < inner; ++p) transposed[p * cols + j] = right[j * inner + p];
    }
    right = transposed.data();
  }
#pragma omp parallel for if (rows * cols * inner > parallel_work)
  for (std::int64_t i = 0; i < rows; ++i) {
    S* out = elements<S>(op.c) + i * cols;
    std::vector<Sum<S>> sums(static_cast<std::size_t>(cols));
    if (flags.accumulate) sums.assign(out, out + cols);
    for (std::int64_t p = 0; p < inner; ++p) {
      const S factor = flags.transpose_a ? left[p * rows + i] : left[i * inner + p];
      for (std::int64_t j = 0; j < cols; ++j) sums[j].add(factor * right[p * cols + j]);
    }
    for (std::int64_t j = 0; j < cols; ++j) out[j] = sums[j].total();
  }
}

// ---- RMSNorm of one row; qk_rope applies it to heads

template <class S>
S mean_of_squares(const S* x, std::int64_t size) {
  Sum<S> squares;
  for (std::int64_t i = 0; i < size; ++i) squares.add(x[i] * x[i]);
  return squares.total() / S(size);
}

// Returns rstd. out may be x.
template <class S>
S norm_row(S* out, const S* x, const S* weight, std::int64_t size, double epsilon) {
  using std::sqrt;
  const S rstd = S(1) / sqrt(mean_of_squares(x, size) + S(epsilon));
  for (std::int64_t i = 0; i < size; ++i) out[i] = x[i] * rstd * weight[i];
  return rstd;
}

// A row that was normalised to x·rstd·weight.
template <class S>
struct NormalizedRow {
  const S* x;
  const S* weight;
  S rstd;
  std::int64_t size;
};

// dx = and dweight +=. With n = x·rstd and dn = dout·weight: dx = rstd·(dn - n·mean(dn·n)).
template <class S>
void norm_row_backward(S* dx, Sum<S>* dweight, const S* dout, const NormalizedRow<S>& row) {
  Sum<S> projection;
  for (std::int64_t i = 0; i < row.size; ++i)
    projection.add(dout[i] * row.weight[i] * (row.x[i] * row.rstd));
  const S mean = projection.total() / S(row.size);
  for (std::int64_t i = 0; i < row.size; ++i) {
    const S n = row.x[i] * row.rstd;
    dx[i] = row.rstd * (dout[i] * row.weight[i] - n * mean);
    dweight[i].add(dout[i] * n);
  }
}

template <class S>
void ReferenceOpsOf<S>::compute(const op::RmsNorm& op) {
  const std::int64_t width = op.x_TD.shape[1];
  for (std::int64_t t = 0; t < op.x_TD.shape[0]; ++t) {
    elements<S>(op.rstd_T)[t] =
        norm_row(elements<S>(op.out_TD) + t * width, elements<S>(op.x_TD) + t * width,
                 elements<S>(op.weight_D), width, op.epsilon);
  }
}

template <class S>
void ReferenceOpsOf<S>::compute(const op::RmsNormBackward& op) {
  const std::int64_t width = op.x_TD.shape[1];
  S* dweight = elements<S>(op.dweight_D);
  std::vector<Sum<S>> dweight_sums(dweight, dweight + width);
  std::vector<S> dx_row(static_cast<std::size_t>(width));
  for (std::int64_t t = 0; t < op.x_TD.shape[0]; ++t) {
    norm_row_backward<S>(dx_row.data(), dweight_sums.data(), elements<S>(op.dout_TD) + t * width,
                         {elements<S>(op.x_TD) + t * width, elements<S>(op.weight_D),
                          elements<S>(op.rstd_T)[t], width});
    S* dx = elements<S>(op.dx_TD) + t * width;
    for (std::int64_t d = 0; d < width; ++d) dx[d] = dx[d] + dx_row[d];
  }
  for (std::int64_t d = 0; d < width; ++d) dweight[d] = dweight_sums[d].total();
}

// ---- scaled residual

template <class S>
S residual_scale(Tensor gain) {
  return gain.empty() ? S(1) : softplus(elements<S>(gain)[0]);
}

template <class S>
void ReferenceOpsOf<S>::compute(const op::Residual& op) {
  const S scale = residual_scale<S>(op.gain);
  for (std::int64_t i = 0; i < op.out_TD.numel(); ++i) {
    elements<S>(op.out_TD)[i] = elements<S>(op.x_TD)[i] + scale * elements<S>(op.y_TD)[i];
  }
}

template <class S>
void ReferenceOpsOf<S>::compute(const op::ResidualRmsNorm& op) {
  compute(op::Residual{.out_TD = op.out_TD, .x_TD = op.x_TD, .y_TD = op.y_TD, .gain = op.gain});
  const std::int64_t width = op.out_TD.shape[1];
  std::vector<S> out(elements<S>(op.out_TD), elements<S>(op.out_TD) + op.out_TD.numel());
  for (S& x : out) x = stored(x, emulated_.stream);
  for (std::int64_t t = 0; t < op.out_TD.shape[0]; ++t) {
    elements<S>(op.rstd_T)[t] =
        norm_row(elements<S>(op.normed_TD) + t * width, out.data() + t * width,
                 elements<S>(op.weight_D), width, op.epsilon);
  }
}

template <class S>
void ReferenceOpsOf<S>::compute(const op::ResidualBackward& op) {
  const S scale = residual_scale<S>(op.gain);
  for (std::int64_t i = 0; i < op.dy_TD.numel(); ++i) {
    elements<S>(op.dy_TD)[i] = scale * elements<S>(op.dout_TD)[i];
  }
}

template <class S>
void ReferenceOpsOf<S>::compute(const op::ResidualGainBackward& op) {
  Sum<S> product;
  for (std::int64_t i = 0; i < op.a.numel(); ++i) {
    product.add(elements<S>(op.da)[i] * elements<S>(op.a)[i]);
  }
  const S raw = elements<S>(op.gain)[0];
  elements<S>(op.dgain)[0] =
      elements<S>(op.dgain)[0] + product.total() * sigmoid(raw) / softplus(raw);
}

// ---- loss

template <class S>
void ReferenceOpsOf<S>::compute(const op::CrossEntropy& op) {
  using std::exp, std::log, std::max;
  const std::int64_t vocabulary = op.logits_TV.shape[1];
  for (std::int64_t t = 0; t < op.logits_TV.shape[0]; ++t) {
    const S* logits = elements<S>(op.logits_TV) + t * vocabulary;
    S* dlogits = op.dlogits_TV.empty() ? nullptr : elements<S>(op.dlogits_TV) + t * vocabulary;
    const std::int32_t target = op.targets_T.as<std::int32_t>()[t];
    if (target == -1) {
      elements<S>(op.loss_T)[t] = S(0);
      if (dlogits != nullptr) std::fill_n(dlogits, vocabulary, S(0));
      continue;
    }
    CHECK(0 <= target && target < vocabulary, "target {} of {} rows", target, vocabulary);
    const S largest = shift(*std::max_element(logits, logits + vocabulary));
    Sum<S> exponentials;
    for (std::int64_t v = 0; v < vocabulary; ++v) exponentials.add(exp(logits[v] - largest));
    const S total = exponentials.total();
    elements<S>(op.loss_T)[t] = largest + log(total) - logits[target];
    if (dlogits == nullptr) continue;
    for (std::int64_t v = 0; v < vocabulary; ++v) {
      const S softmax = exp(logits[v] - largest) / total;
      dlogits[v] = (softmax - S(v == target ? 1 : 0)) * S(op.grad_scale);
    }
  }
}

template <class S>
void ReferenceOpsOf<S>::compute(const op::VocabularyStatistics& op) {
  using std::exp;
  const std::int64_t vocabulary = op.logits_TV.shape[1];
  for (std::int64_t t = 0; t < op.logits_TV.shape[0]; ++t) {
    const S* logits = elements<S>(op.logits_TV) + t * vocabulary;
    S* stats = elements<S>(op.stats_T3) + t * 3;
    const std::int32_t target = op.targets_T.as<std::int32_t>()[t];
    if (target == -1) {
      std::fill_n(stats, 3, S(0));
      continue;
    }
    const std::int64_t row = checked_row(target, op.rows, vocabulary);
    const S largest = *std::max_element(logits, logits + vocabulary);
    Sum<S> exponentials;
    for (std::int64_t v = 0; v < vocabulary; ++v) exponentials.add(exp(logits[v] - largest));
    stats[0] = largest;
    stats[1] = exponentials.total();
    stats[2] = row < 0 ? S(0) : logits[row];
  }
}

template <class S>
void ReferenceOpsOf<S>::compute(const op::ShardedCrossEntropy& op) {
  using std::exp, std::log, std::max;
  const std::int64_t parts = op.stats_RT3.shape[0], tokens = op.logits_TV.shape[0];
  const std::int64_t vocabulary = op.logits_TV.shape[1];
  for (std::int64_t t = 0; t < tokens; ++t) {
    const auto stats = [&](std::int64_t part, std::int64_t column) {
      return elements<S>(op.stats_RT3)[(part * tokens + t) * 3 + column];
    };
    const S* logits = elements<S>(op.logits_TV) + t * vocabulary;
    S* dlogits = op.dlogits_TV.empty() ? nullptr : elements<S>(op.dlogits_TV) + t * vocabulary;
    const std::int32_t target = op.targets_T.as<std::int32_t>()[t];
    if (target == -1) {
      elements<S>(op.loss_T)[t] = S(0);
      if (dlogits != nullptr) std::fill_n(dlogits, vocabulary, S(0));
      continue;
    }
    const std::int64_t row = checked_row(target, op.rows, vocabulary);
    S largest = stats(0, 0);
    for (std::int64_t part = 1; part < parts; ++part) largest = max(largest, stats(part, 0));
    Sum<S> exponentials, target_logit;
    for (std::int64_t part = 0; part < parts; ++part) {
      exponentials.add(stats(part, 1) * exp(stats(part, 0) - largest));
      target_logit.add(stats(part, 2));
    }
    const S total = exponentials.total();
    elements<S>(op.loss_T)[t] = largest + log(total) - target_logit.total();
    if (dlogits == nullptr) continue;
    for (std::int64_t v = 0; v < vocabulary; ++v) {
      const S softmax = exp(logits[v] - largest) / total;
      dlogits[v] = (softmax - S(v == row ? 1 : 0)) * S(op.grad_scale);
    }
  }
}

// ---- optimizer

template <class S>
void ReferenceOpsOf<S>::compute(const op::AdamW& op) {
  const AdamWStep& step = op.step;
  using std::sqrt;
  for (std::int64_t i = 0; i < op.value_N.numel(); ++i) {
    S& value = elements<S>(op.value_N)[i];
    S& m = elements<S>(op.m_N)[i];
    S& v = elements<S>(op.v_N)[i];
    const S g = elements<S>(op.gradient_N)[i] * S(step.gradient_scale);
    m = S(step.beta1) * m + S(1 - step.beta1) * g;
    v = S(step.beta2) * v + S(1 - step.beta2) * g * g;
    const S direction = m / S(step.correction1) / (sqrt(v / S(step.correction2)) + S(step.epsilon));
    value = value - S(step.learning_rate) * (direction + S(step.weight_decay) * value);
    if (!op.operand_N.empty()) elements<S>(op.operand_N)[i] = value;
  }
}

template <class S>
void ReferenceOpsOf<S>::compute(const op::SumOfSquares& op) {
  WideSum<S> squares(elements<S>(op.out)[0]);
  for (std::int64_t i = 0; i < op.x_N.numel(); ++i) {
    squares.add(elements<S>(op.x_N)[i] * elements<S>(op.x_N)[i]);
  }
  elements<S>(op.out)[0] = squares.total();
}

}  // namespace dualpath
