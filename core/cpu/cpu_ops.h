// The kernels of the CPU backend. Each theme's file defines the overloads listed under its name.
#pragma once

#include "core/cpu/bf16_products.h"
#include "core/cpu/scratch.h"
#include "core/ops/check.h"

namespace dualpath {

class CpuOps final : public Ops {
 public:
  explicit CpuOps(int num_threads) : num_threads_(num_threads), scratch_(num_threads) {}

  void run(const Operation& operation) override {
    check(operation);
    std::visit([this](const auto& op) { compute(op); }, operation);
  }
  void begin_packed_weights() override { bf16_products_.hold(); }
  void end_packed_weights() override { bf16_products_.release(); }

 private:
  // movement.cpp
  void compute(const op::Fill& op);
  void compute(const op::Copy& op);
  void compute(const op::Add& op);
  void compute(const op::Sum& op);
  void compute(const op::Embedding& op);
  void compute(const op::EmbeddingBackward& op);

  // matmul.cpp
  void compute(const op::Matmul& op);

  // norm.cpp
  void compute(const op::RmsNorm& op);
  void compute(const op::RmsNormBackward& op);
  void compute(const op::Residual& op);
  void compute(const op::ResidualRmsNorm& op);
  void compute(const op::ResidualBackward& op);
  void compute(const op::ResidualGainBackward& op);

  // rope.cpp
  void compute(const op::QkRope& op);
  void compute(const op::QkRopeBackward& op);

  // attention_forward.cpp, attention_backward.cpp; few_queries.cpp
  void compute(const op::Attention& op);
  void compute(const op::CachedAttention& op);
  void compute(const op::SegmentAttention& op);
  void compute(const op::AttentionBackward& op);

  // ffn.cpp
  void compute(const op::SwiGlu& op);
  void compute(const op::SwiGluBackward& op);

  // mixture.cpp
  void compute(const op::MixtureStep& op);
  void compute(const op::RowDot& op);
  void compute(const op::MixtureWeightsBackward& op);
  void compute(const op::MixtureStepBackward& op);
  void compute(const op::ExpectedIterations& op);

  // gate.cpp
  void compute(const op::Gate& op);
  void compute(const op::ForcedGate& op);
  void compute(const op::GateBackward& op);

  // gate_readout.cpp
  void compute(const op::GateRegularizer& op);
  void compute(const op::PathReadout& op);
  void compute(const op::RowDistance& op);
  void compute(const op::ColumnSums& op);

  // loss.cpp
  void compute(const op::CrossEntropy& op);
  void compute(const op::VocabularyStatistics& op);
  void compute(const op::ShardedCrossEntropy& op);

  // optimizer.cpp
  void compute(const op::AdamW& op);
  void compute(const op::SumOfSquares& op);

  int num_threads_;
  Scratch scratch_;
  Bf16Products bf16_products_;
};

}  // namespace dualpath
