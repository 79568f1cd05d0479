// Matrices [V, D] with a row for each entry of the vocabulary: the embedding's, and the head's
// weight (model/loss_head.h). The ranks of the tensor axis all hold the whole of one, or, where it
// is cut (Cut::rows), some of its rows each: then they compute together on the tokens of all.
//
// Suffix S as T, but the tokens of all ranks of the tensor axis, in their order.
#pragma once

#include "model/context.h"

namespace dualpath {

class VocabularyMatrix {
 public:
  explicit VocabularyMatrix(Parameter parameter) : parameter_(parameter) {}

  bool is_cut(const Context& ctx) const;
  // Which rows this rank holds.
  VocabularyRows rows(const Context& ctx) const;
  // [rows held, D]
  Tensor value(const Context& ctx) const { return ctx.parameters.value(parameter_); }
  Tensor operand(const Context& ctx) const { return ctx.parameters.operand(parameter_); }
  Tensor gradient(const Context& ctx) const { return ctx.parameters.gradient(parameter_); }

 private:
  Parameter parameter_;
};

class Embedding {
 public:
  explicit Embedding(Parameter table) : table_(table) {}

  // x = the table's rows of ids
  void forward(const Context& ctx, Tensor x_TD, Tensor ids_T) const;
  // d = ∂L/∂x; the table's gradient +=
  void backward(const Context& ctx, Tensor ids_T, Tensor d_TD) const;

 private:
  VocabularyMatrix table_;
};

// In new scratch: what the ranks of the tensor axis have, this one own_TX.
Tensor gather_tokens(const Context& ctx, Tensor own_TX);

}  // namespace dualpath
