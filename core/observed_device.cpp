#include "core/observed_device.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace dualpath {
namespace {

// What a call is, besides its operands.
struct CallInfo {
  const char* name;
  std::string_view access;  // a letter of Access for each tensor, in the operation's order
  double flops = 0;
  bool is_bf16 = false;
  double untouched_bytes = 0;  // of the operands
};

class OperandList {
 public:
  explicit OperandList(std::string_view access) : access_(access) {}

  void add(const Tensor& tensor) {
    const auto access = static_cast<Access>(access_.at(num_tensors_++));
    if (tensor.empty()) return;
    operands_.at(size_++) = {tensor, access};
    bytes_ += static_cast<double>(tensor.bytes()) * (access == Access::update ? 2 : 1);
  }
  template <class NoTensor>
  void add(const NoTensor&) {}

  std::span<const Operand> operands() const { return {operands_.data(), size_}; }
  double bytes() const { return bytes_; }

 private:
  std::string_view access_;
  std::array<Operand, 12> operands_{};
  std::size_t num_tensors_ = 0, size_ = 0;
  double bytes_ = 0;
};

bool are_bf16(Tensor a, Tensor b) {
  return a.dtype == DType::bf16 && b.dtype == DType::bf16;
}

const char* matmul_name(MatmulFlags flags) {
  constexpr const char* names[2][2][2] = {
      {{"matmul nn", "matmul nn +="}, {"matmul nt", "matmul nt +="}},
      {{"matmul tn", "matmul tn +="}, {"matmul tt", "matmul tt +="}}};
  return names[flags.transpose_a][flags.transpose_b][flags.accumulate];
}

double matmul_flops(Tensor c, Tensor a, MatmulFlags flags) {
  const std::int64_t inner = flags.transpose_a ? a.rows() : a.cols();
  return 2.0 * static_cast<double>(c.numel()) * static_cast<double>(inner);
}

double bytes_of_rows(Tensor tensor, std::int64_t rows) {
  return static_cast<double>(static_cast<std::size_t>(rows * tensor.cols()) *
                             size_of(tensor.dtype));
}

// How many of the ids have their row in the table, if they are spread evenly over the vocabulary.
std::int64_t ids_held(Tensor ids_T, Tensor table_VD, VocabularyRows rows) {
  return ids_T.numel() * table_VD.rows() / rows.total;
}

// Of a table from which or to which `used` rows go.
double other_rows_bytes(Tensor table_VD, std::int64_t used) {
  return bytes_of_rows(table_VD, std::max<std::int64_t>(0, table_VD.rows() - used));
}

// Columns of qkv_TC.
double query_key_bytes(Tensor qkv_TC, const AttentionShape& s) {
  return static_cast<double>(qkv_TC.bytes()) * static_cast<double>(s.heads + s.kv_heads) /
         static_cast<double>(s.heads + 2 * s.kv_heads);
}
double value_bytes(Tensor qkv_TC, const AttentionShape& s) {
  return static_cast<double>(qkv_TC.bytes()) - query_key_bytes(qkv_TC, s);
}

// Of the cache, keys and values: no row is both read and written, and later positions are neither.
double other_cache_bytes(Tensor keys_PGE, const AttentionShape& s) {
  const std::int64_t rows = 3 * keys_PGE.rows() - 2 * (s.first_position + s.positions);
  return bytes_of_rows(keys_PGE, rows);
}

class ObservedOps final : public Ops {
 public:
  ObservedOps(std::unique_ptr<Ops> ops, Stream& stream, KernelObserver* const& observer)
      : ops_(std::move(ops)), stream_(stream), observer_(observer) {}

  Ops& kernels() { return *ops_; }  // that it tells of

  void fill(Tensor out, double value) override { call({"fill", "w"}, &Ops::fill, out, value); }
  void copy(Tensor out, Tensor in) override { call({"copy", "wr"}, &Ops::copy, out, in); }
  void add(Tensor out, Tensor in) override { call({"add", "ur"}, &Ops::add, out, in); }
  void sum(Tensor out, Tensor a, Tensor b) override { call({"sum", "wrr"}, &Ops::sum, out, a, b); }

  void embedding(Tensor out_TD, Tensor ids_T, Tensor table_VD, VocabularyRows rows) override {
    call({.name = "embedding",
          .access = "wrr",
          .untouched_bytes = other_rows_bytes(table_VD, ids_held(ids_T, table_VD, rows))},
         &Ops::embedding, out_TD, ids_T, table_VD, rows);
  }
  void embedding_backward(Tensor grad_VD, Tensor ids_T, Tensor dout_TD,
                          VocabularyRows rows) override {
    const std::int64_t held = ids_held(ids_T, grad_VD, rows);
    call({.name = "embedding_backward",
          .access = "urr",
          .untouched_bytes =
              2 * other_rows_bytes(grad_VD, held) + bytes_of_rows(dout_TD, ids_T.numel() - held)},
         &Ops::embedding_backward, grad_VD, ids_T, dout_TD, rows);
  }

  void matmul(Tensor c, Tensor a, Tensor b, MatmulFlags flags) override {
    call({.name = matmul_name(flags),
          .access = flags.accumulate ? "urr" : "wrr",
          .flops = matmul_flops(c, a, flags),
          .is_bf16 = are_bf16(a, b)},
         &Ops::matmul, c, a, b, flags);
  }
  void hold_weights() override { ops_->hold_weights(); }
  void release_weights() override { ops_->release_weights(); }

  void rms_norm(Tensor out_TD, Tensor rstd_T, Tensor x_TD, Tensor weight_D,
                double epsilon) override {
    call({"rms_norm", "wwrr"}, &Ops::rms_norm, out_TD, rstd_T, x_TD, weight_D, epsilon);
  }
  void rms_norm_backward(Tensor dx_TD, Tensor dweight_D, Tensor dout_TD, Tensor x_TD,
                         Tensor weight_D, Tensor rstd_T) override {
    call({"rms_norm_backward", "uurrrr"}, &Ops::rms_norm_backward, dx_TD, dweight_D, dout_TD, x_TD,
         weight_D, rstd_T);
  }

  void residual(Tensor out_TD, Tensor x_TD, Tensor y_TD, Tensor gain) override {
    call({"residual", "wrrr"}, &Ops::residual, out_TD, x_TD, y_TD, gain);
  }
  void residual_rms_norm(Tensor out_TD, Tensor normed_TD, Tensor rstd_T, Tensor x_TD, Tensor y_TD,
                         Tensor gain, Tensor weight_D, double epsilon) override {
    call({"residual_rms_norm", "wwwrrrr"}, &Ops::residual_rms_norm, out_TD, normed_TD, rstd_T, x_TD,
         y_TD, gain, weight_D, epsilon);
  }
  void residual_backward(Tensor dy_TD, Tensor dout_TD, Tensor gain) override {
    call({"residual_backward", "wrr"}, &Ops::residual_backward, dy_TD, dout_TD, gain);
  }
  void residual_gain_backward(Tensor dgain, Tensor da, Tensor a, Tensor gain) override {
    call({"residual_gain_backward", "urrr"}, &Ops::residual_gain_backward, dgain, da, a, gain);
  }

  void qk_rope(Tensor q_THE, Tensor k_TGE, Tensor rstd_TN, Tensor qkv_TC, Tensor q_weight_E,
               Tensor k_weight_E, Tensor cos_PR, Tensor sin_PR, AttentionShape shape, QkNorm norm,
               double epsilon) override {
    call({.name = "qk_rope", .access = "wwwrrrrr", .untouched_bytes = value_bytes(qkv_TC, shape)},
         &Ops::qk_rope, q_THE, k_TGE, rstd_TN, qkv_TC, q_weight_E, k_weight_E, cos_PR, sin_PR,
         shape, norm, epsilon);
  }
  void qk_rope_backward(Tensor dqkv_TC, Tensor dq_weight_E, Tensor dk_weight_E, Tensor dq_THE,
                        Tensor dk_TGE, Tensor rstd_TN, Tensor qkv_TC, Tensor q_weight_E,
                        Tensor k_weight_E, Tensor cos_PR, Tensor sin_PR, AttentionShape shape,
                        QkNorm norm) override {
    call({.name = "qk_rope_backward",
          .access = "wuurrrrrrrr",
          .untouched_bytes = value_bytes(dqkv_TC, shape) + value_bytes(qkv_TC, shape)},
         &Ops::qk_rope_backward, dqkv_TC, dq_weight_E, dk_weight_E, dq_THE, dk_TGE, rstd_TN, qkv_TC,
         q_weight_E, k_weight_E, cos_PR, sin_PR, shape, norm);
  }

  void attention(Tensor out_THE, Tensor log_sum_TH, Tensor q_THE, Tensor k_TGE, Tensor qkv_TC,
                 AttentionShape shape) override {
    call({.name = "attention",
          .access = "wwrrr",
          .flops = 2 * shape.causal_product_flops(),
          .is_bf16 = are_bf16(q_THE, k_TGE),
          .untouched_bytes = query_key_bytes(qkv_TC, shape)},
         &Ops::attention, out_THE, log_sum_TH, q_THE, k_TGE, qkv_TC, shape);
  }
  // Five products: the scores again, then the gradients of q, k, v and of the scores' softmax.
  void attention_backward(Tensor dq_THE, Tensor dk_TGE, Tensor dqkv_TC, Tensor dout_THE,
                          Tensor out_THE, Tensor log_sum_TH, Tensor q_THE, Tensor k_TGE,
                          Tensor qkv_TC, AttentionShape shape) override {
    call({.name = "attention_backward",
          .access = "wwwrrrrrr",
          .flops = 5 * shape.causal_product_flops(),
          .is_bf16 = are_bf16(q_THE, k_TGE),
          .untouched_bytes = query_key_bytes(dqkv_TC, shape) + query_key_bytes(qkv_TC, shape)},
         &Ops::attention_backward, dq_THE, dk_TGE, dqkv_TC, dout_THE, out_THE, log_sum_TH, q_THE,
         k_TGE, qkv_TC, shape);
  }

  void cached_attention(Tensor out_THE, Tensor log_sum_TH, Tensor values_PGE, Tensor q_THE,
                        Tensor keys_PGE, Tensor qkv_TC, AttentionShape shape) override {
    call({.name = "cached_attention",
          .access = "wwurrr",
          .flops = 2 * shape.causal_product_flops(),
          .is_bf16 = are_bf16(q_THE, keys_PGE),
          .untouched_bytes = other_cache_bytes(keys_PGE, shape) + query_key_bytes(qkv_TC, shape)},
         &Ops::cached_attention, out_THE, log_sum_TH, values_PGE, q_THE, keys_PGE, qkv_TC, shape);
  }

  void swiglu(Tensor out_TF, Tensor gate_up_T2F) override {
    call({"swiglu", "wr"}, &Ops::swiglu, out_TF, gate_up_T2F);
  }
  void swiglu_backward(Tensor dgate_up_T2F, Tensor out_TF, Tensor dout_TF,
                       Tensor gate_up_T2F) override {
    call({"swiglu_backward", "wwrr"}, &Ops::swiglu_backward, dgate_up_T2F, out_TF, dout_TF,
         gate_up_T2F);
  }

  void mixture_step(Tensor h_deep_TD, Tensor weight_T, Tensor q_T, Tensor remaining_T, Tensor h_TD,
                    Tensor router_w, Tensor router_b, LoopStep step) override {
    call({"mixture_step", step.first() ? "wwwwrrr" : "uwwurrr"}, &Ops::mixture_step, h_deep_TD,
         weight_T, q_T, remaining_T, h_TD, router_w, router_b, step);
  }
  void row_dot(Tensor out_T, Tensor a_TD, Tensor b_TD) override {
    call({"row_dot", "wrr"}, &Ops::row_dot, out_T, a_TD, b_TD);
  }
  void mixture_weights_backward(Tensor dlogit_KT, Tensor c_KT, Tensor q_KT,
                                double ponder_scale) override {
    call({"mixture_weights_backward", "wur"}, &Ops::mixture_weights_backward, dlogit_KT, c_KT, q_KT,
         ponder_scale);
  }
  void mixture_step_backward(Tensor dh_TD, Tensor drouter_w, Tensor drouter_b, Tensor dh_deep_TD,
                             Tensor h_TD, Tensor weight_T, Tensor dlogit_T, Tensor router_w,
                             LoopStep step) override {
    call({"mixture_step_backward", "uuurrrrr"}, &Ops::mixture_step_backward, dh_TD, drouter_w,
         drouter_b, dh_deep_TD, h_TD, weight_T, dlogit_T, router_w, step);
  }
  void expected_iterations(Tensor out_T, Tensor weight_KT) override {
    call({"expected_iterations", "wr"}, &Ops::expected_iterations, out_T, weight_KT);
  }

  void gate(Tensor y_TD, Tensor gates_T2, Tensor x_TD, Tensor h_deep_TD, Tensor h_wide_TD,
            Tensor weight_ND, Tensor bias_N, GateMode mode, GateTarget target) override {
    call({"gate", "wwrrrrr"}, &Ops::gate, y_TD, gates_T2, x_TD, h_deep_TD, h_wide_TD, weight_ND,
         bias_N, mode, target);
  }
  void gate_backward(Tensor dx_TD, Tensor dh_deep_TD, Tensor dh_wide_TD, Tensor dweight_ND,
                     Tensor dbias_N, Tensor dy_TD, Tensor dgates_T2, Tensor x_TD, Tensor h_deep_TD,
                     Tensor h_wide_TD, Tensor gates_T2, Tensor weight_ND, GateMode mode,
                     GateTarget target) override {
    call({"gate_backward", "wwwuurrrrrrr"}, &Ops::gate_backward, dx_TD, dh_deep_TD, dh_wide_TD,
         dweight_ND, dbias_N, dy_TD, dgates_T2, x_TD, h_deep_TD, h_wide_TD, gates_T2, weight_ND,
         mode, target);
  }
  void gate_regularizer(Tensor dgates_T2, Tensor losses_2, Tensor gates_T2, std::int64_t positions,
                        double entropy_scale, double balance_scale) override {
    call({"gate_regularizer", "wur"}, &Ops::gate_regularizer, dgates_T2, losses_2, gates_T2,
         positions, entropy_scale, balance_scale);
  }
  void path_readout(Tensor readout_TC, Tensor x_TD, Tensor h_deep_TD, Tensor h_wide_TD,
                    Tensor gates_T2) override {
    call({"path_readout", "wrrrr"}, &Ops::path_readout, readout_TC, x_TD, h_deep_TD, h_wide_TD,
         gates_T2);
  }
  void column_sums(Tensor out_C, Tensor in_TC) override {
    call({"column_sums", "ur"}, &Ops::column_sums, out_C, in_TC);
  }

  void cross_entropy(Tensor loss_T, Tensor dlogits_TV, Tensor logits_TV, Tensor targets_T,
                     double grad_scale) override {
    // Without memory, tensors of two types are two.
    const bool apart = dlogits_TV.data != logits_TV.data || dlogits_TV.dtype != logits_TV.dtype;
    const bool used_up = !dlogits_TV.empty() && apart;
    const char* access = used_up ? "wwur" : "wwrr";
    call({"cross_entropy", access}, &Ops::cross_entropy, loss_T, dlogits_TV, logits_TV, targets_T,
         grad_scale);
  }

  void vocabulary_statistics(Tensor stats_T3, Tensor logits_TV, Tensor targets_T,
                             VocabularyRows rows) override {
    call({"vocabulary_statistics", "wrr"}, &Ops::vocabulary_statistics, stats_T3, logits_TV,
         targets_T, rows);
  }
  void sharded_cross_entropy(Tensor loss_T, Tensor dlogits_TV, Tensor logits_TV, Tensor stats_RT3,
                             Tensor targets_T, VocabularyRows rows, double grad_scale) override {
    const std::size_t unread = dlogits_TV.empty() ? logits_TV.bytes() : 0;
    call({.name = "sharded_cross_entropy",
          .access = "wwrrr",
          .untouched_bytes = static_cast<double>(unread)},
         &Ops::sharded_cross_entropy, loss_T, dlogits_TV, logits_TV, stats_RT3, targets_T, rows,
         grad_scale);
  }

  void adamw(Tensor value_N, Tensor m_N, Tensor v_N, Tensor operand_N, Tensor gradient_N,
             const AdamWStep& step) override {
    call({"adamw", "uuuwr"}, &Ops::adamw, value_N, m_N, v_N, operand_N, gradient_N, step);
  }
  void sum_of_squares(Tensor out, Tensor x_N) override {
    call({"sum_of_squares", "ur"}, &Ops::sum_of_squares, out, x_N);
  }

 private:
  template <class Method, class... Arguments>
  void call(const CallInfo& info, Method method, const Arguments&... arguments) {
    const auto work = [&] { (ops_.get()->*method)(arguments...); };
    if (observer_ == nullptr) {
      work();
      return;
    }
    OperandList list(info.access);
    (list.add(arguments), ...);
    observer_->on_call({.name = info.name,
                        .operands = list.operands(),
                        .flops = info.flops,
                        .bytes = list.bytes() - info.untouched_bytes,
                        .is_bf16 = info.is_bf16,
                        .issue = std::ref(work)},
                       stream_);
  }

  std::unique_ptr<Ops> ops_;
  Stream& stream_;
  KernelObserver* const& observer_;  // the device's
};

class ObservedRecorder final : public WorkRecorder {
 public:
  ObservedRecorder(std::unique_ptr<WorkRecorder> recorder, KernelObserver* const& observer)
      : recorder_(std::move(recorder)), observer_(observer) {}

  bool record(std::size_t number, const Issue& issue) override {
    return observer_ == nullptr && recorder_->record(number, issue);
  }
  void replay(std::size_t number, const Issue& issue) override {
    observer_ == nullptr ? recorder_->replay(number, issue) : issue();
  }

 private:
  std::unique_ptr<WorkRecorder> recorder_;
  KernelObserver* const& observer_;  // the device's
};

}  // namespace

std::unique_ptr<WorkRecorder> ObservedDevice::make_recorder(Stream& stream) {
  std::unique_ptr<WorkRecorder> recorder = device_.make_recorder(stream);
  if (recorder == nullptr) return nullptr;
  return std::make_unique<ObservedRecorder>(std::move(recorder), observer_);
}

std::unique_ptr<Ops> ObservedDevice::make_ops(Stream& stream) {
  return std::make_unique<ObservedOps>(device_.make_ops(stream), stream, observer_);
}

std::unique_ptr<KernelTuner> ObservedDevice::make_tuner(Ops& kernels) {
  auto* observed = dynamic_cast<ObservedOps*>(&kernels);
  CHECK(observed != nullptr, "these kernels are not observed");
  return device_.make_tuner(observed->kernels());
}

}  // namespace dualpath
