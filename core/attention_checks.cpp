#include "core/operand_checks.h"
#include "core/ops_checks.h"

namespace dualpath {
namespace {

void rope_tables(OperandChecks& call, Tensor cos_PR, Tensor sin_PR, AttentionShape shape) {
  call.rank("cos", cos_PR, 2);
  const std::int64_t positions = shape.first_position + shape.positions;
  call.require(cos_PR.shape[0] >= positions, "cos has {} positions, {} are needed", cos_PR.shape[0],
               positions);
  const Shape table{cos_PR.shape[0], shape.head_size / 2};
  call.input("cos", cos_PR, table);
  call.input("sin", sin_PR, table);
}

struct AttentionShapes {
  Shape q_THE, k_TGE, qkv_TC, rstd_TN, log_sum_TH;
};

AttentionShapes attention_shapes(const OperandChecks& call, AttentionShape s) {
  call.require(s.sequences >= 0 && s.positions > 0 && s.heads > 0 && s.kv_heads > 0,
               "sizes must be positive");
  call.require(s.heads % s.kv_heads == 0, "{} key/value heads do not divide {} heads", s.kv_heads,
               s.heads);
  call.require(s.head_size > 0 && s.head_size % 2 == 0, "head size {} is not even", s.head_size);
  call.require(s.first_position >= 0, "the first position is {}", s.first_position);
  const std::int64_t tokens = s.tokens();
  return {.q_THE = {tokens, s.heads, s.head_size},
          .k_TGE = {tokens, s.kv_heads, s.head_size},
          .qkv_TC = {tokens, (s.heads + 2 * s.kv_heads) * s.head_size},
          .rstd_TN = {tokens, s.heads + s.kv_heads},
          .log_sum_TH = {tokens, s.heads}};
}

void no_past(const OperandChecks& call, AttentionShape s) {
  call.require(s.first_position == 0, "the first position must be 0, is {}", s.first_position);
}

}  // namespace

void check_qk_rope(Tensor q_THE, Tensor k_TGE, Tensor rstd_TN, Tensor qkv_TC, Tensor q_weight_E,
                   Tensor k_weight_E, Tensor cos_PR, Tensor sin_PR, AttentionShape shape,
                   QkNorm norm) {
  OperandChecks call("qk_rope");
  const AttentionShapes s = attention_shapes(call, shape);
  call.operand_output("q", q_THE, s.q_THE);
  call.operand_output("k", k_TGE, s.k_TGE);
  call.operand_input("qkv", qkv_TC, s.qkv_TC);
  rope_tables(call, cos_PR, sin_PR, shape);
  if (norm == QkNorm::none) {
    call.absent("rstd", rstd_TN);
    call.absent("q_weight", q_weight_E);
    call.absent("k_weight", k_weight_E);
  } else {
    call.output("rstd", rstd_TN, s.rstd_TN);
    call.input("q_weight", q_weight_E, {shape.head_size});
    call.input("k_weight", k_weight_E, {shape.head_size});
  }
}

void check_qk_rope_backward(Tensor dqkv_TC, Tensor dq_weight_E, Tensor dk_weight_E, Tensor dq_THE,
                            Tensor dk_TGE, Tensor rstd_TN, Tensor qkv_TC, Tensor q_weight_E,
                            Tensor k_weight_E, Tensor cos_PR, Tensor sin_PR, AttentionShape shape,
                            QkNorm norm) {
  OperandChecks call("qk_rope_backward");
  const AttentionShapes s = attention_shapes(call, shape);
  call.operand_output("dqkv", dqkv_TC, s.qkv_TC);
  call.operand_input("dq", dq_THE, s.q_THE);
  call.operand_input("dk", dk_TGE, s.k_TGE);
  call.operand_input("qkv", qkv_TC, s.qkv_TC);
  rope_tables(call, cos_PR, sin_PR, shape);
  if (norm == QkNorm::none) {
    call.absent("dq_weight", dq_weight_E);
    call.absent("dk_weight", dk_weight_E);
    call.absent("rstd", rstd_TN);
    call.absent("q_weight", q_weight_E);
    call.absent("k_weight", k_weight_E);
  } else {
    call.output("dq_weight", dq_weight_E, {shape.head_size});
    call.output("dk_weight", dk_weight_E, {shape.head_size});
    call.input("rstd", rstd_TN, s.rstd_TN);
    call.input("q_weight", q_weight_E, {shape.head_size});
    call.input("k_weight", k_weight_E, {shape.head_size});
  }
}

void check_attention(Tensor out_THE, Tensor log_sum_TH, Tensor q_THE, Tensor k_TGE, Tensor qkv_TC,
                     AttentionShape shape) {
  OperandChecks call("attention");
  const AttentionShapes s = attention_shapes(call, shape);
  no_past(call, shape);
  call.operand_output("out", out_THE, s.q_THE);
  call.output("log_sum", log_sum_TH, s.log_sum_TH);
  call.operand_input("q", q_THE, s.q_THE);
  call.operand_input("k", k_TGE, s.k_TGE);
  call.operand_input("qkv", qkv_TC, s.qkv_TC);
}

void check_attention_backward(Tensor dq_THE, Tensor dk_TGE, Tensor dqkv_TC, Tensor dout_THE,
                              Tensor out_THE, Tensor log_sum_TH, Tensor q_THE, Tensor k_TGE,
                              Tensor qkv_TC, AttentionShape shape) {
  OperandChecks call("attention_backward");
  const AttentionShapes s = attention_shapes(call, shape);
  no_past(call, shape);
  call.operand_output("dq", dq_THE, s.q_THE);
  call.operand_output("dk", dk_TGE, s.k_TGE);
  call.operand_output("dqkv", dqkv_TC, s.qkv_TC);
  call.operand_input("dout", dout_THE, s.q_THE);
  call.operand_input("out", out_THE, s.q_THE);
  call.input("log_sum", log_sum_TH, s.log_sum_TH);
  call.operand_input("q", q_THE, s.q_THE);
  call.operand_input("k", k_TGE, s.k_TGE);
  call.operand_input("qkv", qkv_TC, s.qkv_TC);
}

void check_cached_attention(Tensor out_THE, Tensor log_sum_TH, Tensor values_PGE, Tensor q_THE,
                            Tensor keys_PGE, Tensor qkv_TC, AttentionShape shape) {
  OperandChecks call("cached_attention");
  const AttentionShapes s = attention_shapes(call, shape);
  call.require(shape.sequences == 1, "one sequence, not {}", shape.sequences);
  call.rank("keys", keys_PGE, 3);
  const std::int64_t positions = shape.first_position + shape.positions;
  call.require(keys_PGE.shape[0] >= positions, "keys has {} positions, {} are needed",
               keys_PGE.shape[0], positions);
  const Shape cache{keys_PGE.shape[0], shape.kv_heads, shape.head_size};
  call.operand_output("out", out_THE, s.q_THE);
  call.output("log_sum", log_sum_TH, s.log_sum_TH);
  call.operand_output("values", values_PGE, cache);
  call.operand_input("q", q_THE, s.q_THE);
  call.operand_input("keys", keys_PGE, cache);
  call.operand_input("qkv", qkv_TC, s.qkv_TC);
}

}  // namespace dualpath
