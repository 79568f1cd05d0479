#include <algorithm>
#include <cstring>

#include "core/base/element_types.h"
#include "core/cpu/cpu_ops.h"
#include "core/cpu/parallel_for.h"
#include "core/cpu/row_math.h"

namespace dualpath {
namespace {

template <class T>
void fill_with(int num_threads, Tensor out, double value) {
  T* data = out.as<T>();
  parallel_for(num_threads, {out.numel()}, [=](Piece piece) {
    std::fill(data + piece.begin, data + piece.end, static_cast<T>(value));
  });
}

void check_ids(const std::int32_t* ids, std::int64_t count, std::int64_t vocabulary) {
  for (std::int64_t t = 0; t < count; ++t)
    CHECK(0 <= ids[t] && ids[t] < vocabulary, "id {} of token {} is outside the table of {} rows",
          ids[t], t, vocabulary);
}

}  // namespace

void CpuOps::compute(const op::Fill& op) {
  switch (op.out.dtype) {
    case DType::f32:
      return fill_with<float>(num_threads_, op.out, op.value);
    case DType::f64:
      return fill_with<double>(num_threads_, op.out, op.value);
    case DType::i32:
      return fill_with<std::int32_t>(num_threads_, op.out, op.value);
    case DType::bf16:
      return fill_with<bfloat16>(num_threads_, op.out, op.value);
  }
}

void CpuOps::compute(const op::Copy& op) {
  if (op.in.dtype != op.out.dtype) {
    auto* rounded = op.out.as<bfloat16>();
    const float* values = op.in.as<float>();
    parallel_for(num_threads_, {op.out.numel()}, [=](Piece piece) {
      copy_row(rounded + piece.begin, values + piece.begin, piece.size());
    });
    return;
  }
  auto* to = static_cast<std::byte*>(op.out.data);
  const auto* from = static_cast<const std::byte*>(op.in.data);
  parallel_for(num_threads_, {static_cast<std::int64_t>(op.out.bytes())}, [=](Piece piece) {
    std::memcpy(to + piece.begin, from + piece.begin,
                static_cast<std::size_t>(piece.end - piece.begin));
  });
}

void CpuOps::compute(const op::Add& op) {
  compute(op::Sum{.out = op.out, .a = op.out, .b = op.in});
}

void CpuOps::compute(const op::Sum& op) {
  with_type(op.out, [&]<class T>() {
    T* sums = op.out.as<T>();
    const T* left = op.a.as<T>();
    const T* right = op.b.as<T>();
    parallel_for(num_threads_, {op.out.numel()}, [=](Piece piece) {
#pragma omp simd
      for (std::int64_t i = piece.begin; i < piece.end; ++i) sums[i] = left[i] + right[i];
    });
  });
}

void CpuOps::compute(const op::Embedding& op) {
  const VocabularyRows rows = op.rows;
  const std::int64_t V = op.table_VD.shape[0], D = op.table_VD.shape[1];
  const std::int32_t* ids = op.ids_T.as<std::int32_t>();
  const float* table = op.table_VD.as<float>();
  check_ids(ids, op.ids_T.numel(), rows.total);
  with_type(op.out_TD, [&]<class S>() {
    S* out = op.out_TD.as<S>();
    parallel_for(num_threads_, {op.ids_T.numel(), D}, [=](Piece piece) {
      for (std::int64_t t = piece.begin; t < piece.end; ++t)
        if (const std::int64_t row = rows.row_of(ids[t], V); row >= 0) {
          copy_row(out + t * D, table + row * D, D);
        } else {
          std::fill_n(out + t * D, D, S(0.0F));
        }
    });
  });
}

// Each thread owns a range of columns, in whole cache lines, and adds the tokens in order.
void CpuOps::compute(const op::EmbeddingBackward& op) {
  const VocabularyRows rows = op.rows;
  constexpr std::int64_t line = 16;
  const std::int64_t T = op.ids_T.numel();
  const std::int64_t V = op.grad_VD.shape[0], D = op.grad_VD.shape[1];
  float* grad = op.grad_VD.as<float>();
  const std::int32_t* ids = op.ids_T.as<std::int32_t>();
  check_ids(ids, T, rows.total);
  with_type(op.dout_TD, [&]<class S>() {
    const S* dout = op.dout_TD.as<S>();
    parallel_for(num_threads_, {(D + line - 1) / line, T * line}, [=](Piece piece) {
      const std::int64_t end = std::min(piece.end * line, D);
      for (std::int64_t t = 0; t < T; ++t) {
        const std::int64_t row = rows.row_of(ids[t], V);
        if (row < 0) continue;
        float* sums = grad + row * D;
        const S* terms = dout + t * D;
#pragma omp simd
        for (std::int64_t d = piece.begin * line; d < end; ++d) sums[d] += terms[d];
      }
    });
  });
}

}  // namespace dualpath
