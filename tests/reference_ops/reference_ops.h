// Every operation of core/ops/ops.h, naively, in host memory of DType::f64. Obviously right is the
// aim: loops as close to the formulas as can be. Synchronous.
#pragma once

#include "core/ops/check.h"

namespace dualpath {

// S is the scalar that a tensor's elements are: double, or Rounded (rounded.h), whose elements are
// twice as large as the tensor says, so that such tensors must not be sliced.
template <class S>
class ReferenceOpsOf : public Ops {
 public:
  ReferenceOpsOf() = default;
  // With Rounded elements: the types of the backend whose rounding is to be bounded.
  explicit ReferenceOpsOf(const NumericTypes& emulated) : emulated_(emulated) {}

  void run(const Operation& operation) override {
    check(operation);
    std::visit([this](const auto& op) { this->compute(op); }, operation);
  }

 private:
  void compute(const op::Fill& op);
  void compute(const op::Copy& op);
  void compute(const op::Add& op);
  void compute(const op::Sum& op);

  void compute(const op::Embedding& op);
  void compute(const op::EmbeddingBackward& op);

  void compute(const op::Matmul& op);

  void compute(const op::RmsNorm& op);
  void compute(const op::RmsNormBackward& op);

  void compute(const op::Residual& op);
  void compute(const op::ResidualRmsNorm& op);
  void compute(const op::ResidualBackward& op);
  void compute(const op::ResidualGainBackward& op);

  void compute(const op::QkRope& op);
  void compute(const op::QkRopeBackward& op);

  void compute(const op::Attention& op);
  void compute(const op::AttentionBackward& op);

  void compute(const op::CachedAttention& op);
  void compute(const op::SegmentAttention& op);

  void compute(const op::SwiGlu& op);
  void compute(const op::SwiGluBackward& op);

  void compute(const op::MixtureStep& op);
  void compute(const op::RowDot& op);
  void compute(const op::MixtureWeightsBackward& op);
  void compute(const op::MixtureStepBackward& op);
  void compute(const op::ExpectedIterations& op);

  void compute(const op::Gate& op);
  void compute(const op::ForcedGate& op);
  void compute(const op::GateBackward& op);
  void compute(const op::GateRegularizer& op);
  void compute(const op::PathReadout& op);
  void compute(const op::RowDistance& op);
  void compute(const op::ColumnSums& op);

  void compute(const op::CrossEntropy& op);
  void compute(const op::VocabularyStatistics& op);
  void compute(const op::ShardedCrossEntropy& op);

  void compute(const op::AdamW& op);
  void compute(const op::SumOfSquares& op);

  NumericTypes emulated_;
};

using ReferenceOps = ReferenceOpsOf<double>;

}  // namespace dualpath
