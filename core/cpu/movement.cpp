#include <algorithm>
#include <cstring>

#include "core/cpu/cpu_ops.h"
#include "core/element_types.h"
#include "core/cpu/parallel_for.h"
#include "core/cpu/row_math.h"
#include "core/ops_checks.h"

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

void CpuOps::fill(Tensor out, double value) {
  switch (out.dtype) {
    case DType::f32:
      return fill_with<float>(num_threads_, out, value);
    case DType::f64:
      return fill_with<double>(num_threads_, out, value);
    case DType::i32:
      return fill_with<std::int32_t>(num_threads_, out, value);
    case DType::bf16:
      return fill_with<bfloat16>(num_threads_, out, value);
  }
}

void CpuOps::copy(Tensor out, Tensor in) {
  check_copy(out, in);
  if (in.dtype != out.dtype) {
    auto* rounded = out.as<bfloat16>();
    const float* values = in.as<float>();
    parallel_for(num_threads_, {out.numel()}, [=](Piece piece) {
      copy_row(rounded + piece.begin, values + piece.begin, piece.size());
    });
    return;
  }
  auto* to = static_cast<std::byte*>(out.data);
  const auto* from = static_cast<const std::byte*>(in.data);
  parallel_for(num_threads_, {static_cast<std::int64_t>(out.bytes())}, [=](Piece piece) {
    std::memcpy(to + piece.begin, from + piece.begin,
                static_cast<std::size_t>(piece.end - piece.begin));
  });
}

void CpuOps::add(Tensor out, Tensor in) {
  check_add(out, in);
  sum(out, out, in);
}

void CpuOps::sum(Tensor out, Tensor a, Tensor b) {
  check_sum(out, a, b);
  with_type(out, [&]<class T>() {
    T* sums = out.as<T>();
    const T* left = a.as<T>();
    const T* right = b.as<T>();
    parallel_for(num_threads_, {out.numel()}, [=](Piece piece) {
#pragma omp simd
      for (std::int64_t i = piece.begin; i < piece.end; ++i) sums[i] = left[i] + right[i];
    });
  });
}

void CpuOps::embedding(Tensor out_TD, Tensor ids_T, Tensor table_VD, VocabularyRows rows) {
  check_embedding(out_TD, ids_T, table_VD, rows);
  const std::int64_t V = table_VD.shape[0], D = table_VD.shape[1];
  const std::int32_t* ids = ids_T.as<std::int32_t>();
  const float* table = table_VD.as<float>();
  check_ids(ids, ids_T.numel(), rows.total);
  with_type(out_TD, [&]<class S>() {
    S* out = out_TD.as<S>();
    parallel_for(num_threads_, {ids_T.numel(), D}, [=](Piece piece) {
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
void CpuOps::embedding_backward(Tensor grad_VD, Tensor ids_T, Tensor dout_TD, VocabularyRows rows) {
  check_embedding_backward(grad_VD, ids_T, dout_TD, rows);
  constexpr std::int64_t line = 16;
  const std::int64_t T = ids_T.numel();
  const std::int64_t V = grad_VD.shape[0], D = grad_VD.shape[1];
  float* grad = grad_VD.as<float>();
  const std::int32_t* ids = ids_T.as<std::int32_t>();
  check_ids(ids, T, rows.total);
  with_type(dout_TD, [&]<class S>() {
    const S* dout = dout_TD.as<S>();
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
