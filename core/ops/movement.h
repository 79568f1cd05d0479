// Fills, copies and sums of tensors; the rows of an embedding table.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/ops/contract.h"

namespace dualpath {

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
  void require(Contract& call, std::int64_t count) const {
    call.require(0 <= first && first + count <= total, "rows [{}, {}) of {}", first, first + count,
                 total);
  }
};

namespace op {

// out = value
struct Fill {
  static constexpr const char* name = "fill";
  Tensor out;
  double value;

  void operands(Contract& call) const { call.write("out", out, TypeClass::any, out.shape); }
};

// out = in, rounded where in is f32 and out bf16
struct Copy {
  static constexpr const char* name = "copy";
  Tensor out, in;

  void operands(Contract& call) const {
    const bool rounds = in.dtype == DType::f32 && out.dtype == DType::bf16;
    call.require(in.dtype == out.dtype || rounds, "{} does not become {}", name_of(in.dtype),
                 name_of(out.dtype));
    call.write("out", out, TypeClass::any, out.shape);
    call.read("in", in, TypeClass::any, flat(out.numel()));
  }
};

// out += in, streams or operands
struct Add {
  static constexpr const char* name = "add";
  Tensor out, in;

  void operands(Contract& call) const {
    call.update("out", out, TypeClass::stream, out.shape);
    call.read("in", in, TypeClass::stream, flat(out.numel()));
  }
};

// out = a + b, streams or operands
struct Sum {
  static constexpr const char* name = "sum";
  Tensor out, a, b;

  void operands(Contract& call) const {
    call.write("out", out, TypeClass::stream, out.shape);
    call.read_in_place("a", a, TypeClass::stream, flat(out.numel()), out);
    call.read_in_place("b", b, TypeClass::stream, flat(out.numel()), out);
  }
};

// How many of the ids have their row in the table, if they are spread evenly over the vocabulary.
inline std::int64_t ids_held(Tensor ids_T, Tensor table_VD, VocabularyRows rows) {
  return ids_T.numel() * table_VD.rows() / rows.total;
}

// The bytes of a table beside `used` rows of it.
inline double other_rows_bytes(Tensor table_VD, std::int64_t used) {
  return bytes_of_rows(table_VD, std::max<std::int64_t>(0, table_VD.rows() - used));
}

// out = table[ids - rows.first], or 0 where the table does not hold the id's row; 0 <= ids <
// rows.total
struct Embedding {
  static constexpr const char* name = "embedding";
  Tensor out_TD, ids_T, table_VD;
  VocabularyRows rows;

  void operands(Contract& call) const {
    call.rank("out", out_TD, 2);
    call.rank("table", table_VD, 2);
    call.write("out", out_TD, TypeClass::stream, {out_TD.shape[0], table_VD.shape[1]});
    call.read("ids", ids_T, TypeClass::i32, {out_TD.shape[0]});
    call.read("table", table_VD, TypeClass::master, table_VD.shape);
    rows.require(call, table_VD.shape[0]);
  }
  double untouched_bytes() const {
    return other_rows_bytes(table_VD, ids_held(ids_T, table_VD, rows));
  }
};

// grad[v] += Σ_{t: ids[t] = rows.first + v} dout[t]
struct EmbeddingBackward {
  static constexpr const char* name = "embedding_backward";
  Tensor grad_VD, ids_T, dout_TD;
  VocabularyRows rows;

  void operands(Contract& call) const {
    call.rank("grad", grad_VD, 2);
    call.rank("dout", dout_TD, 2);
    call.update("grad", grad_VD, TypeClass::master, {grad_VD.shape[0], dout_TD.shape[1]});
    call.read("ids", ids_T, TypeClass::i32, {dout_TD.shape[0]});
    call.read("dout", dout_TD, TypeClass::stream, dout_TD.shape);
    rows.require(call, grad_VD.shape[0]);
  }
  double untouched_bytes() const {
    const std::int64_t held = ids_held(ids_T, grad_VD, rows);
    return 2 * other_rows_bytes(grad_VD, held) + bytes_of_rows(dout_TD, ids_T.numel() - held);
  }
};

}  // namespace op
}  // namespace dualpath
