#include "core/ops_checks.h"

#include "core/operand_checks.h"

namespace dualpath {
namespace {

void gain_input(OperandChecks& call, Tensor gain) {
  if (!gain.empty()) call.input("gain", gain, call.flat("gain", gain, 1));
}

void check_step(const OperandChecks& call, LoopStep step) {
  call.require(0 <= step.index && step.index < step.iterations, "iteration {} of {}", step.index,
               step.iterations);
}

// count: of the rows that the operands hold.
void check_rows(const OperandChecks& call, VocabularyRows rows, std::int64_t count) {
  call.require(0 <= rows.first && rows.first + count <= rows.total, "rows [{}, {}) of {}",
               rows.first, rows.first + count, rows.total);
}

}  // namespace

void check_copy(Tensor out, Tensor in) {
  OperandChecks call("copy");
  const bool rounds = in.dtype == DType::f32 && out.dtype == DType::bf16;
  call.require(in.dtype == out.dtype || rounds, "{} does not become {}", name_of(in.dtype),
               name_of(out.dtype));
  call.typed_output(out.dtype, "out", out, out.shape);
  call.typed_input(in.dtype, "in", in, call.flat("in", in, out.numel()));
}

void check_add(Tensor out, Tensor in) {
  OperandChecks call("add");
  call.stream_output("out", out, out.shape);
  call.stream_input("in", in, call.flat("in", in, out.numel()));
}

void check_sum(Tensor out, Tensor a, Tensor b) {
  OperandChecks call("sum");
  call.stream_output("out", out, out.shape);
  call.stream_in_place("a", a, call.flat("a", a, out.numel()));
  call.stream_in_place("b", b, call.flat("b", b, out.numel()));
}

void check_embedding(Tensor out_TD, Tensor ids_T, Tensor table_VD, VocabularyRows rows) {
  OperandChecks call("embedding");
  call.rank("out", out_TD, 2);
  call.rank("table", table_VD, 2);
  call.stream_output("out", out_TD, {out_TD.shape[0], table_VD.shape[1]});
  call.typed_input(DType::i32, "ids", ids_T, {out_TD.shape[0]});
  call.input("table", table_VD, table_VD.shape);
  check_rows(call, rows, table_VD.rows());
}

void check_embedding_backward(Tensor grad_VD, Tensor ids_T, Tensor dout_TD, VocabularyRows rows) {
  OperandChecks call("embedding_backward");
  call.rank("grad", grad_VD, 2);
  call.rank("dout", dout_TD, 2);
  call.output("grad", grad_VD, {grad_VD.shape[0], dout_TD.shape[1]});
  call.typed_input(DType::i32, "ids", ids_T, {dout_TD.shape[0]});
  call.stream_input("dout", dout_TD, dout_TD.shape);
  check_rows(call, rows, grad_VD.rows());
}

void check_matmul(Tensor c, Tensor a, Tensor b, MatmulFlags flags) {
  OperandChecks call("matmul");
  call.rank("a", a, 2);
  call.rank("b", b, 2);
  const std::int64_t rows = a.shape[flags.transpose_a ? 1 : 0];
  const std::int64_t inner = a.shape[flags.transpose_a ? 0 : 1];
  const std::int64_t cols = b.shape[flags.transpose_b ? 0 : 1];
  call.require(c.dtype == a.dtype || c.dtype == DType::f32, "c must be {} or f32, is {}",
               name_of(a.dtype), name_of(c.dtype));
  call.typed_output(c.dtype, "c", c, {rows, cols});
  call.operand_input("a", a, a.shape);
  call.operand_input("b", b, flags.transpose_b ? Shape{cols, inner} : Shape{inner, cols});
}

void check_rms_norm(Tensor out_TD, Tensor rstd_T, Tensor x_TD, Tensor weight_D) {
  OperandChecks call("rms_norm");
  call.rank("x", x_TD, 2);
  call.operand_output("out", out_TD, x_TD.shape);
  call.output("rstd", rstd_T, {x_TD.shape[0]});
  call.stream_input("x", x_TD, x_TD.shape);
  call.input("weight", weight_D, {x_TD.shape[1]});
}

void check_rms_norm_backward(Tensor dx_TD, Tensor dweight_D, Tensor dout_TD, Tensor x_TD,
                             Tensor weight_D, Tensor rstd_T) {
  OperandChecks call("rms_norm_backward");
  call.rank("x", x_TD, 2);
  call.stream_output("dx", dx_TD, x_TD.shape);
  call.output("dweight", dweight_D, {x_TD.shape[1]});
  call.operand_input("dout", dout_TD, x_TD.shape);
  call.stream_input("x", x_TD, x_TD.shape);
  call.input("weight", weight_D, {x_TD.shape[1]});
  call.input("rstd", rstd_T, {x_TD.shape[0]});
}

void check_residual(Tensor out_TD, Tensor x_TD, Tensor y_TD, Tensor gain) {
  OperandChecks call("residual");
  call.rank("out", out_TD, 2);
  call.stream_output("out", out_TD, out_TD.shape);
  call.stream_in_place("x", x_TD, out_TD.shape);
  call.operand_in_place("y", y_TD, out_TD.shape);
  gain_input(call, gain);
}

void check_residual_rms_norm(Tensor out_TD, Tensor normed_TD, Tensor rstd_T, Tensor x_TD,
                             Tensor y_TD, Tensor gain, Tensor weight_D) {
  OperandChecks call("residual_rms_norm");
  call.rank("out", out_TD, 2);
  call.stream_output("out", out_TD, out_TD.shape);
  call.operand_output("normed", normed_TD, out_TD.shape);
  call.output("rstd", rstd_T, {out_TD.shape[0]});
  call.stream_input("x", x_TD, out_TD.shape);
  call.operand_input("y", y_TD, out_TD.shape);
  call.input("weight", weight_D, {out_TD.shape[1]});
  gain_input(call, gain);
}

void check_residual_backward(Tensor dy_TD, Tensor dout_TD, Tensor gain) {
  OperandChecks call("residual_backward");
  call.rank("dy", dy_TD, 2);
  call.operand_output("dy", dy_TD, dy_TD.shape);
  call.stream_in_place("dout", dout_TD, dy_TD.shape);
  gain_input(call, gain);
}

void check_residual_gain_backward(Tensor dgain, Tensor da, Tensor a, Tensor gain) {
  OperandChecks call("residual_gain_backward");
  call.output("dgain", dgain, call.flat("dgain", dgain, 1));
  call.operand_input("da", da, a.shape);
  call.operand_input("a", a, a.shape);
  call.input("gain", gain, call.flat("gain", gain, 1));
}

void check_swiglu(Tensor out_TF, Tensor gate_up_T2F) {
  OperandChecks call("swiglu");
  call.rank("out", out_TF, 2);
  call.operand_output("out", out_TF, out_TF.shape);
  call.operand_input("gate_up", gate_up_T2F, {out_TF.shape[0], 2 * out_TF.shape[1]});
}

void check_swiglu_backward(Tensor dgate_up_T2F, Tensor out_TF, Tensor dout_TF, Tensor gate_up_T2F) {
  OperandChecks call("swiglu_backward");
  call.rank("out", out_TF, 2);
  const Shape gate_up{out_TF.shape[0], 2 * out_TF.shape[1]};
  call.operand_output("out", out_TF, out_TF.shape);
  call.operand_output("dgate_up", dgate_up_T2F, gate_up);
  call.operand_input("dout", dout_TF, out_TF.shape);
  call.operand_in_place("gate_up", gate_up_T2F, gate_up);
}

void check_mixture_step(Tensor h_deep_TD, Tensor weight_T, Tensor q_T, Tensor remaining_T,
                        Tensor h_TD, Tensor router_w, Tensor router_b, LoopStep step) {
  OperandChecks call("mixture_step");
  check_step(call, step);
  call.rank("h", h_TD, 2);
  const Shape T{h_TD.shape[0]};
  call.stream_output("h_deep", h_deep_TD, h_TD.shape);
  call.output("weight", weight_T, T);
  call.stream_input("h", h_TD, h_TD.shape);
  if (step.combine == LoopCombine::mixture) {
    call.output("q", q_T, T);
    call.output("remaining", remaining_T, T);
    call.input("router_w", router_w, call.flat("router_w", router_w, h_TD.shape[1] + 1));
    call.input("router_b", router_b, call.flat("router_b", router_b, 1));
  } else {
    call.absent("q", q_T);
    call.absent("remaining", remaining_T);
    call.absent("router_w", router_w);
    call.absent("router_b", router_b);
  }
}

void check_row_dot(Tensor out_T, Tensor a_TD, Tensor b_TD) {
  OperandChecks call("row_dot");
  call.rank("a", a_TD, 2);
  call.output("out", out_T, {a_TD.shape[0]});
  call.stream_input("a", a_TD, a_TD.shape);
  call.stream_input("b", b_TD, a_TD.shape);
}

void check_mixture_weights_backward(Tensor dlogit_KT, Tensor c_KT, Tensor q_KT) {
  OperandChecks call("mixture_weights_backward");
  call.rank("dlogit", dlogit_KT, 2);
  call.output("dlogit", dlogit_KT, dlogit_KT.shape);
  call.input("c", c_KT, dlogit_KT.shape);
  call.input("q", q_KT, dlogit_KT.shape);
}

void check_mixture_step_backward(Tensor dh_TD, Tensor drouter_w, Tensor drouter_b,
                                 Tensor dh_deep_TD, Tensor h_TD, Tensor weight_T, Tensor dlogit_T,
                                 Tensor router_w, LoopStep step) {
  OperandChecks call("mixture_step_backward");
  check_step(call, step);
  call.rank("h", h_TD, 2);
  const Shape T{h_TD.shape[0]};
  call.stream_output("dh", dh_TD, h_TD.shape);
  call.stream_input("dh_deep", dh_deep_TD, h_TD.shape);
  call.stream_input("h", h_TD, h_TD.shape);
  call.input("weight", weight_T, T);
  if (step.combine == LoopCombine::mixture) {
    const std::int64_t inputs = h_TD.shape[1] + 1;
    call.output("drouter_w", drouter_w, call.flat("drouter_w", drouter_w, inputs));
    call.output("drouter_b", drouter_b, call.flat("drouter_b", drouter_b, 1));
    call.input("dlogit", dlogit_T, T);
    call.input("router_w", router_w, call.flat("router_w", router_w, inputs));
  } else {
    call.absent("drouter_w", drouter_w);
    call.absent("drouter_b", drouter_b);
    call.absent("dlogit", dlogit_T);
    call.absent("router_w", router_w);
  }
}

void check_expected_iterations(Tensor out_T, Tensor weight_KT) {
  OperandChecks call("expected_iterations");
  call.rank("weight", weight_KT, 2);
  call.output("out", out_T, {weight_KT.shape[1]});
  call.input("weight", weight_KT, weight_KT.shape);
}

std::int64_t gate_logits(GateMode mode) {
  switch (mode) {
    case GateMode::two_sigmoid:
    case GateMode::softmax:
      return 2;
    case GateMode::convex:
      return 1;
    case GateMode::fixed:
      break;
  }
  return 0;
}

void check_gate(Tensor y_TD, Tensor gates_T2, Tensor x_TD, Tensor h_deep_TD, Tensor h_wide_TD,
                Tensor weight_ND, Tensor bias_N, GateMode mode) {
  OperandChecks call("gate");
  call.rank("x", x_TD, 2);
  call.stream_output("y", y_TD, x_TD.shape);
  call.output("gates", gates_T2, {x_TD.shape[0], 2});
  call.stream_input("x", x_TD, x_TD.shape);
  call.stream_input("h_deep", h_deep_TD, x_TD.shape);
  call.stream_input("h_wide", h_wide_TD, x_TD.shape);
  if (mode == GateMode::fixed) {
    call.absent("weight", weight_ND);
    call.absent("bias", bias_N);
  } else {
    call.input("weight", weight_ND, {gate_logits(mode), x_TD.shape[1]});
    call.input("bias", bias_N, {gate_logits(mode)});
  }
}

void check_gate_backward(Tensor dx_TD, Tensor dh_deep_TD, Tensor dh_wide_TD, Tensor dweight_ND,
                         Tensor dbias_N, Tensor dy_TD, Tensor dgates_T2, Tensor x_TD,
                         Tensor h_deep_TD, Tensor h_wide_TD, Tensor gates_T2, Tensor weight_ND,
                         GateMode mode) {
  OperandChecks call("gate_backward");
  call.rank("x", x_TD, 2);
  // dx alone may be dy's memory.
  call.stream_output("dh_deep", dh_deep_TD, x_TD.shape);
  call.stream_output("dh_wide", dh_wide_TD, x_TD.shape);
  call.require(!overlap(dh_deep_TD, dy_TD) && !overlap(dh_wide_TD, dy_TD),
               "dh_deep and dh_wide must not share memory with dy");
  call.stream_output("dx", dx_TD, x_TD.shape);
  call.stream_in_place("dy", dy_TD, x_TD.shape);
  if (!dgates_T2.empty()) call.input("dgates", dgates_T2, {x_TD.shape[0], 2});
  call.stream_input("x", x_TD, x_TD.shape);
  call.stream_input("h_deep", h_deep_TD, x_TD.shape);
  call.stream_input("h_wide", h_wide_TD, x_TD.shape);
  call.input("gates", gates_T2, {x_TD.shape[0], 2});
  if (mode == GateMode::fixed) {
    call.absent("dweight", dweight_ND);
    call.absent("dbias", dbias_N);
    call.absent("weight", weight_ND);
  } else {
    call.output("dweight", dweight_ND, {gate_logits(mode), x_TD.shape[1]});
    call.output("dbias", dbias_N, {gate_logits(mode)});
    call.input("weight", weight_ND, {gate_logits(mode), x_TD.shape[1]});
  }
}

void check_gate_regularizer(Tensor dgates_T2, Tensor losses_2, Tensor gates_T2,
                            std::int64_t positions) {
  OperandChecks call("gate_regularizer");
  call.rank("gates", gates_T2, 2);
  call.require(positions > 0 && gates_T2.shape[0] % positions == 0,
               "{} tokens are no whole sequences of {}", gates_T2.shape[0], positions);
  call.output("dgates", dgates_T2, {gates_T2.shape[0], 2});
  call.typed_output(DType::f64, "losses", losses_2, {2});
  call.input("gates", gates_T2, {gates_T2.shape[0], 2});
}

void check_path_readout(Tensor readout_TC, Tensor x_TD, Tensor h_deep_TD, Tensor h_wide_TD,
                        Tensor gates_T2) {
  OperandChecks call("path_readout");
  call.rank("x", x_TD, 2);
  call.output("readout", readout_TC, {x_TD.shape[0], PathReadout::num_columns});
  call.stream_input("x", x_TD, x_TD.shape);
  call.stream_input("h_deep", h_deep_TD, x_TD.shape);
  call.stream_input("h_wide", h_wide_TD, x_TD.shape);
  call.input("gates", gates_T2, {x_TD.shape[0], 2});
}

void check_column_sums(Tensor out_C, Tensor in_TC) {
  OperandChecks call("column_sums");
  call.require(in_TC.shape.rank() == 1 || in_TC.shape.rank() == 2, "in must be [T] or [T, C]");
  const std::int64_t columns = in_TC.shape.rank() == 1 ? 1 : in_TC.shape[1];
  call.typed_output(DType::f64, "out", out_C, {columns});
  call.input("in", in_TC, in_TC.shape);
}

void check_cross_entropy(Tensor loss_T, Tensor dlogits_TV, Tensor logits_TV, Tensor targets_T) {
  OperandChecks call("cross_entropy");
  call.rank("logits", logits_TV, 2);
  call.output("loss", loss_T, {logits_TV.shape[0]});
  call.output("logits", logits_TV, logits_TV.shape);
  if (!dlogits_TV.empty()) call.operand_in_place("dlogits", dlogits_TV, logits_TV.shape);
  call.typed_input(DType::i32, "targets", targets_T, {logits_TV.shape[0]});
}

void check_vocabulary_statistics(Tensor stats_T3, Tensor logits_TV, Tensor targets_T,
                                 VocabularyRows rows) {
  OperandChecks call("vocabulary_statistics");
  call.rank("logits", logits_TV, 2);
  call.output("stats", stats_T3, {logits_TV.shape[0], 3});
  call.input("logits", logits_TV, logits_TV.shape);
  call.typed_input(DType::i32, "targets", targets_T, {logits_TV.shape[0]});
  check_rows(call, rows, logits_TV.shape[1]);
}

void check_sharded_cross_entropy(Tensor loss_T, Tensor dlogits_TV, Tensor logits_TV,
                                 Tensor stats_RT3, Tensor targets_T, VocabularyRows rows) {
  OperandChecks call("sharded_cross_entropy");
  call.rank("logits", logits_TV, 2);
  call.rank("stats", stats_RT3, 3);
  call.require(stats_RT3.shape[0] > 0, "stats are of no part");
  const std::int64_t tokens = logits_TV.shape[0];
  call.output("loss", loss_T, {tokens});
  if (!dlogits_TV.empty()) call.operand_output("dlogits", dlogits_TV, logits_TV.shape);
  call.in_place("logits", logits_TV, logits_TV.shape);
  call.input("stats", stats_RT3, {stats_RT3.shape[0], tokens, 3});
  call.typed_input(DType::i32, "targets", targets_T, {tokens});
  check_rows(call, rows, logits_TV.shape[1]);
}

void check_adamw(Tensor value_N, Tensor m_N, Tensor v_N, Tensor operand_N, Tensor gradient_N) {
  OperandChecks call("adamw");
  call.output("value", value_N, value_N.shape);
  call.output("m", m_N, call.flat("m", m_N, value_N.numel()));
  call.output("v", v_N, call.flat("v", v_N, value_N.numel()));
  if (!operand_N.empty()) {
    call.operand_output("operand", operand_N, call.flat("operand", operand_N, value_N.numel()));
  }
  call.input("gradient", gradient_N, call.flat("gradient", gradient_N, value_N.numel()));
}

void check_sum_of_squares(Tensor out, Tensor x_N) {
  OperandChecks call("sum_of_squares");
  call.typed_output(DType::f64, "out", out, call.flat("out", out, 1));
  call.input("x", x_N, x_N.shape);
}

}  // namespace dualpath
