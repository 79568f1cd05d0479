// Operations: every kernel the model needs, each stated once as a struct of core/ops/ with its
// mathematics, operands, shapes and FLOPs. They are this model's list of kernels, no general one:
// the deep loop and the gates have theirs. Ops runs them; an implementation issues all of them on
// the one stream it was made with.
//
//   ops.run(op::RmsNorm{.out_TD = out, .rstd_T = rstd, .x_TD = x, .weight_D = weight,
//                       .epsilon = 1e-5});
//
// Shape suffixes: T tokens (T = sequences·positions), D model width, F FFN hidden units,
// V vocabulary rows, H query heads, G key/value heads, E head size, K loop iterations.
// A tensor named x_TD has shape [T, D].
//
// operands() of a struct states what the operation does to each operand: write (=), update (+=, or
// input and output) or read. An operand shares memory with an output only where it is read in place
// of it. All kernels are deterministic: the same inputs and thread count give the same bits.
// Contracts are checked; a breach throws Error(internal).
//
// Types (NumericTypes in core/base/tensor.h): TypeClass::stream belongs to the residual stream and
// its gradient; TypeClass::operand goes into or comes out of matrix products and attention; both
// may be bf16 (the stream only if the operands are). TypeClass::master are all other reals (f32;
// f64 in the reference of the tests), except sums that are held in f64. Kernels compute in the
// master type whatever the tensors' types, and round once, to nearest even, when they store;
// attention alone may also round its probabilities and their gradients to the operand type before
// it multiplies with them.
//
// Source of the formulas: "A Dual-Path Architecture for Scaling Compute and Capacity in LLMs",
// arXiv 2605.30202, and the references named in the files.
#pragma once

#include <memory>
#include <variant>

#include "core/ops/attention.h"
#include "core/ops/ffn.h"
#include "core/ops/gate.h"
#include "core/ops/kernel_tuner.h"
#include "core/ops/loop.h"
#include "core/ops/loss.h"
#include "core/ops/matmul.h"
#include "core/ops/movement.h"
#include "core/ops/norm.h"
#include "core/ops/optimizer.h"

namespace dualpath {

using Operation =
    std::variant<op::Fill, op::Copy, op::Add, op::Sum, op::Embedding, op::EmbeddingBackward,
                 op::Matmul, op::RmsNorm, op::RmsNormBackward, op::Residual, op::ResidualRmsNorm,
                 op::ResidualBackward, op::ResidualGainBackward, op::QkRope, op::QkRopeBackward,
                 op::Attention, op::AttentionBackward, op::CachedAttention, op::SegmentAttention,
                 op::SwiGlu, op::SwiGluBackward, op::MixtureStep, op::RowDot,
                 op::MixtureWeightsBackward, op::MixtureStepBackward, op::ExpectedIterations,
                 op::Gate, op::ForcedGate, op::GateBackward, op::GateRegularizer, op::PathReadout,
                 op::RowDistance, op::ColumnSums, op::CrossEntropy, op::VocabularyStatistics,
                 op::ShardedCrossEntropy, op::AdamW, op::SumOfSquares>;

// "rms_norm"; products with their transpositions: "matmul nt +=".
const char* name_of(const Operation& operation);
// FLOPs of products; 0 for operations that are bound by memory.
double flops_of(const Operation& operation);
// The bytes of all operands that are read and written at least.
double bytes_of(const Operation& operation);
void visit_operands(const Operation& operation, Contract& contract);

class Ops {
 public:
  virtual ~Ops() = default;
  virtual void run(const Operation& operation) = 0;
  // The choice among these kernels' algorithms; they outlive it. Null: they leave none.
  virtual std::unique_ptr<KernelTuner> make_tuner() { return nullptr; }

  // Between these two, which do not nest, the b of every product without transpose_a is a weight
  // that nothing changes: it may be brought once into the form that suits products with it.
  virtual void begin_packed_weights() {}
  virtual void end_packed_weights() {}
};

// Ops::begin_packed_weights() for the life of this.
class PackedWeightsScope {
 public:
  explicit PackedWeightsScope(Ops& ops) : ops_(ops) { ops_.begin_packed_weights(); }
  ~PackedWeightsScope() { ops_.end_packed_weights(); }
  PackedWeightsScope(const PackedWeightsScope&) = delete;
  PackedWeightsScope& operator=(const PackedWeightsScope&) = delete;

 private:
  Ops& ops_;
};

}  // namespace dualpath
