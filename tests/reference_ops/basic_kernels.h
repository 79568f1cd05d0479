// Movement, embedding, matrix product, norms, residual, loss and optimizer.
#pragma once

#include <algorithm>
#include <vector>

#include "core/ops_checks.h"
#include "tests/reference_ops/elements.h"
#include "tests/reference_ops/reference_ops.h"
#include "tests/reference_ops/scalar.h"

namespace dualpath {

// Multiply-adds above which a loop is worth several threads.
inline constexpr std::int64_t parallel_work = 1 << 16;

// ---- movement

template <class S>
void ReferenceOpsOf<S>::fill(Tensor out, double value) {
  std::fill_n(elements<S>(out), out.numel(), S(value));
}

template <class S>
void ReferenceOpsOf<S>::copy(Tensor out, Tensor in) {
  check_copy(out, in);
  if (in.dtype == DType::i32) {
    std::copy_n(in.as<std::int32_t>(), in.numel(), out.as<std::int32_t>());
  } else {
    std::copy_n(elements<S>(in), in.numel(), elements<S>(out));
  }
}

template <class S>
void ReferenceOpsOf<S>::add(Tensor out, Tensor in) {
  check_add(out, in);
  sum(out, out, in);
}

template <class S>
void ReferenceOpsOf<S>::sum(Tensor out, Tensor a, Tensor b) {
  check_sum(out, a, b);
  for (std::int64_t i = 0; i < out.numel(); ++i) {
    elements<S>(out)[i] = elements<S>(a)[i] + elements<S>(b)[i];
  }
}

// ---- embedding

inline std::int64_t checked_row(std::int32_t id, VocabularyRows rows, std::int64_t count) {
  CHECK(0 <= id && id < rows.total, "id {} is outside a vocabulary of {}", id, rows.total);
  return rows.row_of(id, count);
}

template <class S>
void ReferenceOpsOf<S>::embedding(Tensor out_TD, Tensor ids_T, Tensor table_VD,
                                  VocabularyRows rows) {
  check_embedding(out_TD, ids_T, table_VD, rows);
  const std::int64_t width = out_TD.shape[1];
  for (std::int64_t t = 0; t < out_TD.shape[0]; ++t) {
    const std::int64_t row = checked_row(ids_T.as<std::int32_t>()[t], rows, table_VD.shape[0]);
    S* out = elements<S>(out_TD) + t * width;
    if (row < 0) {
      std::fill_n(out, width, S(0));
    } else {
      std::copy_n(elements<S>(table_VD) + row * width, width, out);
    }
  }
}

template <class S>
void ReferenceOpsOf<S>::embedding_backward(Tensor grad_VD, Tensor ids_T, Tensor dout_TD,
                                           VocabularyRows rows) {
  check_embedding_backward(grad_VD, ids_T, dout_TD, rows);
  const std::int64_t width = grad_VD.shape[1];
  S* grad = elements<S>(grad_VD);
  std::vector<Sum<S>> sums(grad, grad + grad_VD.numel());
  for (std::int64_t t = 0; t < dout_TD.shape[0]; ++t) {
    const std::int64_t row = checked_row(ids_T.as<std::int32_t>()[t], rows, grad_VD.shape[0]);
    if (row < 0) continue;
    for (std::int64_t d = 0; d < width; ++d) {
      sums[row * width + d].add(elements<S>(dout_TD)[t * width + d]);
    }
  }
  for (std::int64_t i = 0; i < grad_VD.numel(); ++i) grad[i] = sums[i].total();
}

// ---- matrix product

template <class S>
void ReferenceOpsOf<S>::matmul(Tensor c, Tensor a, Tensor b, MatmulFlags flags) {
  check_matmul(c, a, b, flags);
  const std::int64_t rows = c.shape[0], cols = c.shape[1];
  const std::int64_t inner = a.shape[flags.transpose_a ? 0 : 1];
  const S* left = elements<S>(a);
  const S* right = elements<S>(b);
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
    S* out = elements<S>(c) + i * cols;
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

// dx = and dweight +=. With n = x·rstd and dn = dout·weight: dx = rstd·(dn - n·mean(dn·n)).
template <class S>
void norm_row_backward(S* dx, Sum<S>* dweight, const S* dout, const S* x, const S* weight, S rstd,
                       std::int64_t size) {
  Sum<S> projection;
  for (std::int64_t i = 0; i < size; ++i) projection.add(dout[i] * weight[i] * (x[i] * rstd));
  const S mean = projection.total() / S(size);
  for (std::int64_t i = 0; i < size; ++i) {
    const S n = x[i] * rstd;
    dx[i] = rstd * (dout[i] * weight[i] - n * mean);
    dweight[i].add(dout[i] * n);
  }
}

template <class S>
void ReferenceOpsOf<S>::rms_norm(Tensor out_TD, Tensor rstd_T, Tensor x_TD, Tensor weight_D,
                                 double epsilon) {
  check_rms_norm(out_TD, rstd_T, x_TD, weight_D);
  const std::int64_t width = x_TD.shape[1];
  for (std::int64_t t = 0; t < x_TD.shape[0]; ++t) {
    elements<S>(rstd_T)[t] =
        norm_row(elements<S>(out_TD) + t * width, elements<S>(x_TD) + t * width,
                 elements<S>(weight_D), width, epsilon);
  }
}

template <class S>
void ReferenceOpsOf<S>::rms_norm_backward(Tensor dx_TD, Tensor dweight_D, Tensor dout_TD,
                                          Tensor x_TD, Tensor weight_D, Tensor rstd_T) {
  check_rms_norm_backward(dx_TD, dweight_D, dout_TD, x_TD, weight_D, rstd_T);
  const std::int64_t width = x_TD.shape[1];
  S* dweight = elements<S>(dweight_D);
  std::vector<Sum<S>> dweight_sums(dweight, dweight + width);
  std::vector<S> dx_row(static_cast<std::size_t>(width));
  for (std::int64_t t = 0; t < x_TD.shape[0]; ++t) {
    norm_row_backward(dx_row.data(), dweight_sums.data(), elements<S>(dout_TD) + t * width,
                      elements<S>(x_TD) + t * width, elements<S>(weight_D), elements<S>(rstd_T)[t],
                      width);
    S* dx = elements<S>(dx_TD) + t * width;
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
void ReferenceOpsOf<S>::residual(Tensor out_TD, Tensor x_TD, Tensor y_TD, Tensor gain) {
  check_residual(out_TD, x_TD, y_TD, gain);
  const S scale = residual_scale<S>(gain);
  for (std::int64_t i = 0; i < out_TD.numel(); ++i) {
    elements<S>(out_TD)[i] = elements<S>(x_TD)[i] + scale * elements<S>(y_TD)[i];
  }
}

template <class S>
void ReferenceOpsOf<S>::residual_rms_norm(Tensor out_TD, Tensor normed_TD, Tensor rstd_T,
                                          Tensor x_TD, Tensor y_TD, Tensor gain, Tensor weight_D,
                                          double epsilon) {
  check_residual_rms_norm(out_TD, normed_TD, rstd_T, x_TD, y_TD, gain, weight_D);
  residual(out_TD, x_TD, y_TD, gain);
  const std::int64_t width = out_TD.shape[1];
  std::vector<S> out(elements<S>(out_TD), elements<S>(out_TD) + out_TD.numel());
  for (S& x : out) x = stored(x, emulated_.stream);
  for (std::int64_t t = 0; t < out_TD.shape[0]; ++t) {
    elements<S>(rstd_T)[t] = norm_row(elements<S>(normed_TD) + t * width, out.data() + t * width,
                                      elements<S>(weight_D), width, epsilon);
  }
}

template <class S>
void ReferenceOpsOf<S>::residual_backward(Tensor dy_TD, Tensor dout_TD, Tensor gain) {
  check_residual_backward(dy_TD, dout_TD, gain);
  const S scale = residual_scale<S>(gain);
  for (std::int64_t i = 0; i < dy_TD.numel(); ++i) {
    elements<S>(dy_TD)[i] = scale * elements<S>(dout_TD)[i];
  }
}

template <class S>
void ReferenceOpsOf<S>::residual_gain_backward(Tensor dgain, Tensor da, Tensor a, Tensor gain) {
  check_residual_gain_backward(dgain, da, a, gain);
  Sum<S> product;
  for (std::int64_t i = 0; i < a.numel(); ++i) {
    product.add(elements<S>(da)[i] * elements<S>(a)[i]);
  }
  const S raw = elements<S>(gain)[0];
  elements<S>(dgain)[0] = elements<S>(dgain)[0] + product.total() * sigmoid(raw) / softplus(raw);
}

// ---- loss

template <class S>
void ReferenceOpsOf<S>::cross_entropy(Tensor loss_T, Tensor dlogits_TV, Tensor logits_TV,
                                      Tensor targets_T, double grad_scale) {
  using std::exp, std::log, std::max;
  check_cross_entropy(loss_T, dlogits_TV, logits_TV, targets_T);
  const std::int64_t vocabulary = logits_TV.shape[1];
  for (std::int64_t t = 0; t < logits_TV.shape[0]; ++t) {
    const S* logits = elements<S>(logits_TV) + t * vocabulary;
    S* dlogits = dlogits_TV.empty() ? nullptr : elements<S>(dlogits_TV) + t * vocabulary;
    const std::int32_t target = targets_T.as<std::int32_t>()[t];
    if (target == -1) {
      elements<S>(loss_T)[t] = S(0);
      if (dlogits != nullptr) std::fill_n(dlogits, vocabulary, S(0));
      continue;
    }
    CHECK(0 <= target && target < vocabulary, "target {} of {} rows", target, vocabulary);
    const S largest = shift(*std::max_element(logits, logits + vocabulary));
    Sum<S> exponentials;
    for (std::int64_t v = 0; v < vocabulary; ++v) exponentials.add(exp(logits[v] - largest));
    const S total = exponentials.total();
    elements<S>(loss_T)[t] = largest + log(total) - logits[target];
    if (dlogits == nullptr) continue;
    for (std::int64_t v = 0; v < vocabulary; ++v) {
      const S softmax = exp(logits[v] - largest) / total;
      dlogits[v] = (softmax - S(v == target ? 1 : 0)) * S(grad_scale);
    }
  }
}

template <class S>
void ReferenceOpsOf<S>::vocabulary_statistics(Tensor stats_T3, Tensor logits_TV, Tensor targets_T,
                                              VocabularyRows rows) {
  using std::exp;
  check_vocabulary_statistics(stats_T3, logits_TV, targets_T, rows);
  const std::int64_t vocabulary = logits_TV.shape[1];
  for (std::int64_t t = 0; t < logits_TV.shape[0]; ++t) {
    const S* logits = elements<S>(logits_TV) + t * vocabulary;
    S* stats = elements<S>(stats_T3) + t * 3;
    const std::int32_t target = targets_T.as<std::int32_t>()[t];
    if (target == -1) {
      std::fill_n(stats, 3, S(0));
      continue;
    }
    const std::int64_t row = checked_row(target, rows, vocabulary);
    const S largest = *std::max_element(logits, logits + vocabulary);
    Sum<S> exponentials;
    for (std::int64_t v = 0; v < vocabulary; ++v) exponentials.add(exp(logits[v] - largest));
    stats[0] = largest;
    stats[1] = exponentials.total();
    stats[2] = row < 0 ? S(0) : logits[row];
  }
}

template <class S>
void ReferenceOpsOf<S>::sharded_cross_entropy(Tensor loss_T, Tensor dlogits_TV, Tensor logits_TV,
                                              Tensor stats_RT3, Tensor targets_T,
                                              VocabularyRows rows, double grad_scale) {
  using std::exp, std::log, std::max;
  check_sharded_cross_entropy(loss_T, dlogits_TV, logits_TV, stats_RT3, targets_T, rows);
  const std::int64_t parts = stats_RT3.shape[0], tokens = logits_TV.shape[0];
  const std::int64_t vocabulary = logits_TV.shape[1];
  for (std::int64_t t = 0; t < tokens; ++t) {
    const auto stats = [&](std::int64_t part, std::int64_t column) {
      return elements<S>(stats_RT3)[(part * tokens + t) * 3 + column];
    };
    const S* logits = elements<S>(logits_TV) + t * vocabulary;
    S* dlogits = dlogits_TV.empty() ? nullptr : elements<S>(dlogits_TV) + t * vocabulary;
    const std::int32_t target = targets_T.as<std::int32_t>()[t];
    if (target == -1) {
      elements<S>(loss_T)[t] = S(0);
      if (dlogits != nullptr) std::fill_n(dlogits, vocabulary, S(0));
      continue;
    }
    const std::int64_t row = checked_row(target, rows, vocabulary);
    S largest = stats(0, 0);
    for (std::int64_t part = 1; part < parts; ++part) largest = max(largest, stats(part, 0));
    Sum<S> exponentials, target_logit;
    for (std::int64_t part = 0; part < parts; ++part) {
      exponentials.add(stats(part, 1) * exp(stats(part, 0) - largest));
      target_logit.add(stats(part, 2));
    }
    const S total = exponentials.total();
    elements<S>(loss_T)[t] = largest + log(total) - target_logit.total();
    if (dlogits == nullptr) continue;
    for (std::int64_t v = 0; v < vocabulary; ++v) {
      const S softmax = exp(logits[v] - largest) / total;
      dlogits[v] = (softmax - S(v == row ? 1 : 0)) * S(grad_scale);
    }
  }
}

// ---- optimizer

template <class S>
void ReferenceOpsOf<S>::adamw(Tensor value_N, Tensor m_N, Tensor v_N, Tensor operand_N,
                              Tensor gradient_N, const AdamWStep& step) {
  using std::sqrt;
  check_adamw(value_N, m_N, v_N, operand_N, gradient_N);
  for (std::int64_t i = 0; i < value_N.numel(); ++i) {
    S& value = elements<S>(value_N)[i];
    S& m = elements<S>(m_N)[i];
    S& v = elements<S>(v_N)[i];
    const S g = elements<S>(gradient_N)[i] * S(step.gradient_scale);
    m = S(step.beta1) * m + S(1 - step.beta1) * g;
    v = S(step.beta2) * v + S(1 - step.beta2) * g * g;
    const S direction = m / S(step.correction1) / (sqrt(v / S(step.correction2)) + S(step.epsilon));
    value = value - S(step.learning_rate) * (direction + S(step.weight_decay) * value);
    if (!operand_N.empty()) elements<S>(operand_N)[i] = value;
  }
}

template <class S>
void ReferenceOpsOf<S>::sum_of_squares(Tensor out, Tensor x_N) {
  check_sum_of_squares(out, x_N);
  WideSum<S> squares(elements<S>(out)[0]);
  for (std::int64_t i = 0; i < x_N.numel(); ++i) {
    squares.add(elements<S>(x_N)[i] * elements<S>(x_N)[i]);
  }
  elements<S>(out)[0] = squares.total();
}

}  // namespace dualpath
