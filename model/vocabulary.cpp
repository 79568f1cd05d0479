#include "model/vocabulary.h"

namespace dualpath {

bool VocabularyMatrix::is_cut(const Context& ctx) const {
  return ctx.tensor.size() > 1 && ctx.parameters.spec(parameter_).cut == Cut::rows;
}

VocabularyRows VocabularyMatrix::rows(const Context& ctx) const {
  return {ctx.parameters.local_rows(parameter_).begin, ctx.parameters.spec(parameter_).shape[0]};
}

// Each rank looks up the ids whose rows it holds. All others find 0 there: the sum over the ranks
// is exact.
void Embedding::forward(const Context& ctx, Tensor x_TD, Tensor ids_T) const {
  const Tensor table_VD = table_.value(ctx);
  const VocabularyRows rows = table_.rows(ctx);
  if (!table_.is_cut(ctx)) {
    ctx.ops.embedding(x_TD, ids_T, table_VD, rows);
    return;
  }
  const ArenaFrame frame(ctx.scratch);
  const Tensor ids_S = gather_tokens(ctx, ids_T);
  const Tensor found_SD =
      ctx.scratch.allocate(ctx.types().master, {ctx.group_tokens(), x_TD.shape[1]}, "vocabulary");
  ctx.ops.embedding(found_SD, ids_S, table_VD, rows);
  ctx.tensor.start_reduce_scatter(found_SD);
  ctx.tensor.wait();
  ctx.ops.copy(x_TD, ctx.tensor.own_part(found_SD));
}

void Embedding::backward(const Context& ctx, Tensor ids_T, Tensor d_TD) const {
  const Tensor grad_VD = table_.gradient(ctx);
  const VocabularyRows rows = table_.rows(ctx);
  if (!table_.is_cut(ctx)) {
    ctx.ops.embedding_backward(grad_VD, ids_T, d_TD, rows);
    return;
  }
  const ArenaFrame frame(ctx.scratch);
  const Tensor ids_S = gather_tokens(ctx, ids_T);
  ctx.ops.embedding_backward(grad_VD, ids_S, gather_tokens(ctx, d_TD), rows);
}

Tensor gather_tokens(const Context& ctx, Tensor own_TX) {
  const std::int64_t tokens = own_TX.rows() * ctx.tensor.size();
  const Shape shape = own_TX.shape.rank() == 1 ? Shape{tokens} : Shape{tokens, own_TX.shape[1]};
  const Tensor all_SX = ctx.scratch.allocate(own_TX.dtype, shape, "vocabulary");
  ctx.ops.copy(ctx.tensor.own_part(all_SX), own_TX);
  ctx.tensor.start_all_gather(all_SX);
  ctx.tensor.wait();
  return all_SX;
}

}  // namespace dualpath
