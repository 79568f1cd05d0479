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
    ctx.ops.run(op::Embedding{.out_TD = x_TD, .ids_T = ids_T, .table_VD = table_VD, .rows = rows});
    return;
  }
  const ArenaFrame frame(ctx.scratch);
  const Tensor ids_S = gather_tokens(ctx, ids_T);
  const Tensor found_SD =
      ctx.scratch.allocate(ctx.types().master, {ctx.group_tokens(), x_TD.shape[1]}, "vocabulary");
  ctx.ops.run(
      op::Embedding{.out_TD = found_SD, .ids_T = ids_S, .table_VD = table_VD, .rows = rows});
  ctx.tensor.start_reduce_scatter(found_SD);
  ctx.tensor.wait();
  ctx.ops.run(op::Copy{.out = x_TD, .in = ctx.tensor.own_part(found_SD)});
}

void Embedding::backward(const Context& ctx, Tensor ids_T, Tensor d_TD) const {
  const Tensor grad_VD = table_.gradient(ctx);
  const VocabularyRows rows = table_.rows(ctx);
  if (!table_.is_cut(ctx)) {
    ctx.ops.run(
        op::EmbeddingBackward{.grad_VD = grad_VD, .ids_T = ids_T, .dout_TD = d_TD, .rows = rows});
    return;
  }
  const ArenaFrame frame(ctx.scratch);
  const Tensor ids_S = gather_tokens(ctx, ids_T);
  ctx.ops.run(op::EmbeddingBackward{
      .grad_VD = grad_VD, .ids_T = ids_S, .dout_TD = gather_tokens(ctx, d_TD), .rows = rows});
}

Tensor gather_tokens(const Context& ctx, Tensor own_TX) {
  const std::int64_t tokens = own_TX.rows() * ctx.tensor.size();
  const Shape shape = own_TX.shape.rank() == 1 ? Shape{tokens} : Shape{tokens, own_TX.shape[1]};
  const Tensor all_SX = ctx.scratch.allocate(own_TX.dtype, shape, "vocabulary");
  ctx.ops.run(op::Copy{.out = ctx.tensor.own_part(all_SX), .in = own_TX});
  ctx.tensor.start_all_gather(all_SX);
  ctx.tensor.wait();
  return all_SX;
}

}  // namespace dualpath
