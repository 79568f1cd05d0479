#include "core/ops_checks.h"

#include <array>
#include <functional>

namespace dualpath {
namespace {

bool overlap(const Tensor& a, const Tensor& b) {
  if (a.data == nullptr || b.data == nullptr || a.bytes() == 0 || b.bytes() == 0) return false;
  const std::less<const std::byte*> before;
  const auto* a_begin = static_cast<const std::byte*>(a.data);
  const auto* b_begin = static_cast<const std::byte*>(b.data);
  return before(a_begin, b_begin + b.bytes()) && before(b_begin, a_begin + a.bytes());
}

// The operands of one call, checked as they are listed.
class Call {
 public:
  explicit Call(const char* operation) : operation_(operation) {}

  void output(const char* name, const Tensor& tensor, const Shape& shape) {
    arithmetic(name, tensor);
    add(name, tensor, shape, Role::output);
  }
  void input(const char* name, const Tensor& tensor, const Shape& shape) {
    arithmetic(name, tensor);
    add(name, tensor, shape, Role::input);
  }
  // An input that may be the very memory of an output, but not a shifted part of it.
  void in_place(const char* name, const Tensor& tensor, const Shape& shape) {
    arithmetic(name, tensor);
    add(name, tensor, shape, Role::in_place);
  }
  void typed_output(DType type, const char* name, const Tensor& tensor, const Shape& shape) {
    require_type(type, name, tensor);
    add(name, tensor, shape, Role::output);
  }
  void typed_input(DType type, const char* name, const Tensor& tensor, const Shape& shape) {
    require_type(type, name, tensor);
    add(name, tensor, shape, Role::input);
  }

  void rank(const char* name, const Tensor& tensor, int rank) const {
    CHECK(tensor.shape.rank() == rank, "{}: {} must have {} dimensions, is {}", operation_, name,
          rank, tensor.shape.str());
  }
  void absent(const char* name, const Tensor& tensor) const {
    CHECK(tensor.empty(), "{}: {} has no meaning here and must be empty, is {}", operation_, name,
          tensor.shape.str());
  }
  // Flat operands: any shape of that many elements, at least one dimension.
  Shape flat(const char* name, const Tensor& tensor, std::int64_t numel) const {
    CHECK(!tensor.empty() && tensor.numel() == numel, "{}: {} must have {} elements, is {}",
          operation_, name, numel, tensor.shape.str());
    return tensor.shape;
  }
  template <class... Arguments>
  void require(bool condition, fmt::format_string<Arguments...> message,
               Arguments&&... arguments) const {
    CHECK(condition, "{}: {}", operation_,
          fmt::format(message, std::forward<Arguments>(arguments)...));
  }

 private:
  enum class Role { output, input, in_place };
  struct Operand {
    const char* name;
    Tensor tensor;
    Role role;
  };

  void arithmetic(const char* name, const Tensor& tensor) {
    if (!has_type_) {
      type_ = tensor.dtype;
      has_type_ = true;
    }
    require_type(type_, name, tensor);
  }
  void require_type(DType type, const char* name, const Tensor& tensor) const {
    CHECK(tensor.dtype == type, "{}: {} must be {}, is {}", operation_, name, name_of(type),
          name_of(tensor.dtype));
  }
  void add(const char* name, const Tensor& tensor, const Shape& shape, Role role) {
    CHECK(tensor.shape == shape, "{}: {} must be {}, is {}", operation_, name, shape.str(),
          tensor.shape.str());
    for (int i = 0; i < num_operands_; ++i) {
      const Operand& other = operands_[static_cast<std::size_t>(i)];
      if (role != Role::output && other.role != Role::output) continue;
      const bool in_place = (role == Role::in_place || other.role == Role::in_place) &&
                            tensor.data == other.tensor.data &&
                            tensor.bytes() == other.tensor.bytes();
      CHECK(in_place || !overlap(tensor, other.tensor), "{}: {} and {} must not share memory",
            operation_, name, other.name);
    }
    operands_[static_cast<std::size_t>(num_operands_++)] = {name, tensor, role};
  }

  const char* operation_;
  DType type_ = DType::f32;
  bool has_type_ = false;
  std::array<Operand, 16> operands_;
  int num_operands_ = 0;
};

void gain_input(Call& call, Tensor gain) {
  if (!gain.empty()) call.input("gain", gain, call.flat("gain", gain, 1));
}

void rope_tables(Call& call, Tensor cos_PR, Tensor sin_PR, AttentionShape shape) {
  call.rank("cos", cos_PR, 2);
  call.require(cos_PR.shape[0] >= shape.positions, "cos has {} positions, {} are needed",
               cos_PR.shape[0], shape.positions);
  const Shape table{cos_PR.shape[0], shape.head_size / 2};
  call.input("cos", cos_PR, table);
  call.input("sin", sin_PR, table);
}

struct AttentionShapes {
  Shape q_THE, k_TGE, qkv_TC, rstd_TN, log_sum_TH;
};

AttentionShapes attention_shapes(const Call& call, AttentionShape s) {
  call.require(s.sequences >= 0 && s.positions > 0 && s.heads > 0 && s.kv_heads > 0,
               "sizes must be positive");
  call.require(s.heads % s.kv_heads == 0, "{} key/value heads do not divide {} heads", s.kv_heads,
               s.heads);
  call.require(s.head_size > 0 && s.head_size % 2 == 0, "head size {} is not even", s.head_size);
  const std::int64_t tokens = s.tokens();
  return {.q_THE = {tokens, s.heads, s.head_size},
          .k_TGE = {tokens, s.kv_heads, s.head_size},
          .qkv_TC = {tokens, (s.heads + 2 * s.kv_heads) * s.head_size},
          .rstd_TN = {tokens, s.heads + s.kv_heads},
          .log_sum_TH = {tokens, s.heads}};
}

void check_step(const Call& call, LoopStep step) {
  call.require(0 <= step.index && step.index < step.iterations, "iteration {} of {}", step.index,
               step.iterations);
}

}  // namespace

void check_copy(Tensor out, Tensor in) {
  Call call("copy");
  call.output("out", out, out.shape);
  call.input("in", in, call.flat("in", in, out.numel()));
}

void check_add(Tensor out, Tensor in) {
  Call call("add");
  call.output("out", out, out.shape);
  call.input("in", in, call.flat("in", in, out.numel()));
}

void check_sum(Tensor out, Tensor a, Tensor b) {
  Call call("sum");
  call.output("out", out, out.shape);
  call.in_place("a", a, call.flat("a", a, out.numel()));
  call.in_place("b", b, call.flat("b", b, out.numel()));
}

void check_embedding(Tensor out_TD, Tensor ids_T, Tensor table_VD) {
  Call call("embedding");
  call.rank("out", out_TD, 2);
  call.rank("table", table_VD, 2);
  call.output("out", out_TD, {out_TD.shape[0], table_VD.shape[1]});
  call.typed_input(DType::i32, "ids", ids_T, {out_TD.shape[0]});
  call.input("table", table_VD, table_VD.shape);
}

void check_embedding_backward(Tensor grad_VD, Tensor ids_T, Tensor dout_TD) {
  Call call("embedding_backward");
  call.rank("grad", grad_VD, 2);
  call.rank("dout", dout_TD, 2);
  call.output("grad", grad_VD, {grad_VD.shape[0], dout_TD.shape[1]});
  call.typed_input(DType::i32, "ids", ids_T, {dout_TD.shape[0]});
  call.input("dout", dout_TD, dout_TD.shape);
}

void check_matmul(Tensor c, Tensor a, Tensor b, MatmulFlags flags) {
  Call call("matmul");
  call.rank("a", a, 2);
  call.rank("b", b, 2);
  const std::int64_t rows = a.shape[flags.transpose_a ? 1 : 0];
  const std::int64_t inner = a.shape[flags.transpose_a ? 0 : 1];
  const std::int64_t cols = b.shape[flags.transpose_b ? 0 : 1];
  call.output("c", c, {rows, cols});
  call.input("a", a, a.shape);
  call.input("b", b, flags.transpose_b ? Shape{cols, inner} : Shape{inner, cols});
}

void check_rms_norm(Tensor out_TD, Tensor rstd_T, Tensor x_TD, Tensor weight_D) {
  Call call("rms_norm");
  call.rank("x", x_TD, 2);
  call.output("out", out_TD, x_TD.shape);
  call.output("rstd", rstd_T, {x_TD.shape[0]});
  call.input("x", x_TD, x_TD.shape);
  call.input("weight", weight_D, {x_TD.shape[1]});
}

void check_rms_norm_backward(Tensor dx_TD, Tensor dweight_D, Tensor dout_TD, Tensor x_TD,
                             Tensor weight_D, Tensor rstd_T) {
  Call call("rms_norm_backward");
  call.rank("x", x_TD, 2);
  call.output("dx", dx_TD, x_TD.shape);
  call.output("dweight", dweight_D, {x_TD.shape[1]});
  call.input("dout", dout_TD, x_TD.shape);
  call.input("x", x_TD, x_TD.shape);
  call.input("weight", weight_D, {x_TD.shape[1]});
  call.input("rstd", rstd_T, {x_TD.shape[0]});
}

void check_residual(Tensor out_TD, Tensor x_TD, Tensor y_TD, Tensor gain) {
  Call call("residual");
  call.rank("out", out_TD, 2);
  call.output("out", out_TD, out_TD.shape);
  call.in_place("x", x_TD, out_TD.shape);
  call.in_place("y", y_TD, out_TD.shape);
  gain_input(call, gain);
}

void check_residual_rms_norm(Tensor out_TD, Tensor normed_TD, Tensor rstd_T, Tensor x_TD,
                             Tensor y_TD, Tensor gain, Tensor weight_D) {
  Call call("residual_rms_norm");
  call.rank("out", out_TD, 2);
  call.output("out", out_TD, out_TD.shape);
  call.output("normed", normed_TD, out_TD.shape);
  call.output("rstd", rstd_T, {out_TD.shape[0]});
  call.input("x", x_TD, out_TD.shape);
  call.input("y", y_TD, out_TD.shape);
  call.input("weight", weight_D, {out_TD.shape[1]});
  gain_input(call, gain);
}

void check_residual_backward(Tensor dy_TD, Tensor dout_TD, Tensor gain) {
  Call call("residual_backward");
  call.rank("dy", dy_TD, 2);
  call.output("dy", dy_TD, dy_TD.shape);
  call.in_place("dout", dout_TD, dy_TD.shape);
  gain_input(call, gain);
}

void check_residual_gain_backward(Tensor dgain, Tensor da, Tensor a, Tensor gain) {
  Call call("residual_gain_backward");
  call.output("dgain", dgain, call.flat("dgain", dgain, 1));
  call.input("da", da, a.shape);
  call.input("a", a, a.shape);
  call.input("gain", gain, call.flat("gain", gain, 1));
}

void check_qk_rope(Tensor q_THE, Tensor k_TGE, Tensor rstd_TN, Tensor qkv_TC, Tensor q_weight_E,
                   Tensor k_weight_E, Tensor cos_PR, Tensor sin_PR, AttentionShape shape,
                   QkNorm norm) {
  Call call("qk_rope");
  const AttentionShapes s = attention_shapes(call, shape);
  call.output("q", q_THE, s.q_THE);
  call.output("k", k_TGE, s.k_TGE);
  call.input("qkv", qkv_TC, s.qkv_TC);
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
  Call call("qk_rope_backward");
  const AttentionShapes s = attention_shapes(call, shape);
  call.output("dqkv", dqkv_TC, s.qkv_TC);
  call.input("dq", dq_THE, s.q_THE);
  call.input("dk", dk_TGE, s.k_TGE);
  call.input("qkv", qkv_TC, s.qkv_TC);
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
  Call call("attention");
  const AttentionShapes s = attention_shapes(call, shape);
  call.output("out", out_THE, s.q_THE);
  call.output("log_sum", log_sum_TH, s.log_sum_TH);
  call.input("q", q_THE, s.q_THE);
  call.input("k", k_TGE, s.k_TGE);
  call.input("qkv", qkv_TC, s.qkv_TC);
}

void check_attention_backward(Tensor dq_THE, Tensor dk_TGE, Tensor dqkv_TC, Tensor dout_THE,
                              Tensor out_THE, Tensor log_sum_TH, Tensor q_THE, Tensor k_TGE,
                              Tensor qkv_TC, AttentionShape shape) {
  Call call("attention_backward");
  const AttentionShapes s = attention_shapes(call, shape);
  call.output("dq", dq_THE, s.q_THE);
  call.output("dk", dk_TGE, s.k_TGE);
  call.output("dqkv", dqkv_TC, s.qkv_TC);
  call.input("dout", dout_THE, s.q_THE);
  call.input("out", out_THE, s.q_THE);
  call.input("log_sum", log_sum_TH, s.log_sum_TH);
  call.input("q", q_THE, s.q_THE);
  call.input("k", k_TGE, s.k_TGE);
  call.input("qkv", qkv_TC, s.qkv_TC);
}

void check_swiglu(Tensor out_TF, Tensor gate_up_T2F) {
  Call call("swiglu");
  call.rank("out", out_TF, 2);
  call.output("out", out_TF, out_TF.shape);
  call.input("gate_up", gate_up_T2F, {out_TF.shape[0], 2 * out_TF.shape[1]});
}

void check_swiglu_backward(Tensor dgate_up_T2F, Tensor out_TF, Tensor dout_TF, Tensor gate_up_T2F) {
  Call call("swiglu_backward");
  call.rank("out", out_TF, 2);
  const Shape gate_up{out_TF.shape[0], 2 * out_TF.shape[1]};
  call.output("out", out_TF, out_TF.shape);
  call.output("dgate_up", dgate_up_T2F, gate_up);
  call.input("dout", dout_TF, out_TF.shape);
  call.in_place("gate_up", gate_up_T2F, gate_up);
}

void check_mixture_step(Tensor h_deep_TD, Tensor weight_T, Tensor q_T, Tensor remaining_T,
                        Tensor h_TD, Tensor router_w, Tensor router_b, LoopStep step) {
  Call call("mixture_step");
  check_step(call, step);
  call.rank("h", h_TD, 2);
  const Shape T{h_TD.shape[0]};
  call.output("h_deep", h_deep_TD, h_TD.shape);
  call.output("weight", weight_T, T);
  call.input("h", h_TD, h_TD.shape);
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
  Call call("row_dot");
  call.rank("a", a_TD, 2);
  call.output("out", out_T, {a_TD.shape[0]});
  call.input("a", a_TD, a_TD.shape);
  call.input("b", b_TD, a_TD.shape);
}

void check_mixture_weights_backward(Tensor dlogit_KT, Tensor c_KT, Tensor q_KT) {
  Call call("mixture_weights_backward");
  call.rank("dlogit", dlogit_KT, 2);
  call.output("dlogit", dlogit_KT, dlogit_KT.shape);
  call.input("c", c_KT, dlogit_KT.shape);
  call.input("q", q_KT, dlogit_KT.shape);
}

void check_mixture_step_backward(Tensor dh_TD, Tensor drouter_w, Tensor drouter_b,
                                 Tensor dh_deep_TD, Tensor h_TD, Tensor weight_T, Tensor dlogit_T,
                                 Tensor router_w, LoopStep step) {
  Call call("mixture_step_backward");
  check_step(call, step);
  call.rank("h", h_TD, 2);
  const Shape T{h_TD.shape[0]};
  call.output("dh", dh_TD, h_TD.shape);
  call.input("dh_deep", dh_deep_TD, h_TD.shape);
  call.input("h", h_TD, h_TD.shape);
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
  Call call("expected_iterations");
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
  Call call("gate");
  call.rank("x", x_TD, 2);
  call.output("y", y_TD, x_TD.shape);
  call.output("gates", gates_T2, {x_TD.shape[0], 2});
  call.input("x", x_TD, x_TD.shape);
  call.input("h_deep", h_deep_TD, x_TD.shape);
  call.input("h_wide", h_wide_TD, x_TD.shape);
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
  Call call("gate_backward");
  call.rank("x", x_TD, 2);
  // dx alone may be dy's memory.
  call.output("dh_deep", dh_deep_TD, x_TD.shape);
  call.output("dh_wide", dh_wide_TD, x_TD.shape);
  call.require(!overlap(dh_deep_TD, dy_TD) && !overlap(dh_wide_TD, dy_TD),
               "dh_deep and dh_wide must not share memory with dy");
  call.output("dx", dx_TD, x_TD.shape);
  call.in_place("dy", dy_TD, x_TD.shape);
  if (!dgates_T2.empty()) call.input("dgates", dgates_T2, {x_TD.shape[0], 2});
  call.input("x", x_TD, x_TD.shape);
  call.input("h_deep", h_deep_TD, x_TD.shape);
  call.input("h_wide", h_wide_TD, x_TD.shape);
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
  Call call("gate_regularizer");
  call.rank("gates", gates_T2, 2);
  call.require(positions > 0 && gates_T2.shape[0] % positions == 0,
               "{} tokens are no whole sequences of {}", gates_T2.shape[0], positions);
  call.output("dgates", dgates_T2, {gates_T2.shape[0], 2});
  call.typed_output(DType::f64, "losses", losses_2, {2});
  call.input("gates", gates_T2, {gates_T2.shape[0], 2});
}

void check_path_readout(Tensor readout_TC, Tensor x_TD, Tensor h_deep_TD, Tensor h_wide_TD,
                        Tensor gates_T2) {
  Call call("path_readout");
  call.rank("x", x_TD, 2);
  call.output("readout", readout_TC, {x_TD.shape[0], PathReadout::num_columns});
  call.input("x", x_TD, x_TD.shape);
  call.input("h_deep", h_deep_TD, x_TD.shape);
  call.input("h_wide", h_wide_TD, x_TD.shape);
  call.input("gates", gates_T2, {x_TD.shape[0], 2});
}

void check_column_sums(Tensor out_C, Tensor in_TC) {
  Call call("column_sums");
  call.require(in_TC.shape.rank() == 1 || in_TC.shape.rank() == 2, "in must be [T] or [T, C]");
  const std::int64_t columns = in_TC.shape.rank() == 1 ? 1 : in_TC.shape[1];
  call.typed_output(DType::f64, "out", out_C, {columns});
  call.input("in", in_TC, in_TC.shape);
}

void check_cross_entropy(Tensor loss_T, Tensor logits_TV, Tensor targets_T) {
  Call call("cross_entropy");
  call.rank("logits", logits_TV, 2);
  call.output("loss", loss_T, {logits_TV.shape[0]});
  call.output("logits", logits_TV, logits_TV.shape);
  call.typed_input(DType::i32, "targets", targets_T, {logits_TV.shape[0]});
}

void check_adamw(Tensor value_N, Tensor m_N, Tensor v_N, Tensor gradient_N) {
  Call call("adamw");
  call.output("value", value_N, value_N.shape);
  call.output("m", m_N, call.flat("m", m_N, value_N.numel()));
  call.output("v", v_N, call.flat("v", v_N, value_N.numel()));
  call.input("gradient", gradient_N, call.flat("gradient", gradient_N, value_N.numel()));
}

void check_sum_of_squares(Tensor out, Tensor x_N) {
  Call call("sum_of_squares");
  call.typed_output(DType::f64, "out", out, call.flat("out", out, 1));
  call.input("x", x_N, x_N.shape);
}

}  // namespace dualpath
