#include "tests/far_device/far_device.h"

#include <cstring>
#include <sys/mman.h>
#include <type_traits>

namespace dualpath {
namespace {

class FarOps final : public Ops {
 public:
  FarOps(FarDevice& device, LazyStream& stream, std::unique_ptr<Ops> near)
      : device_(device), stream_(stream), near_(std::move(near)) {}
  ~FarOps() override { finish(stream_); }

  // As the destructor of what work still needs: waits, and leaves errors to the stream.
  static void finish(LazyStream& stream) {
    try {
      stream.synchronize();
    } catch (...) {
    }
  }

  void fill(Tensor out, double value) override { issue(&Ops::fill, out, value); }
  void copy(Tensor out, Tensor in) override { issue(&Ops::copy, out, in); }
  void add(Tensor out, Tensor in) override { issue(&Ops::add, out, in); }
  void sum(Tensor out, Tensor a, Tensor b) override { issue(&Ops::sum, out, a, b); }
  void embedding(Tensor out_TD, Tensor ids_T, Tensor table_VD, VocabularyRows rows) override {
    issue(&Ops::embedding, out_TD, ids_T, table_VD, rows);
  }
  void embedding_backward(Tensor grad_VD, Tensor ids_T, Tensor dout_TD,
                          VocabularyRows rows) override {
    issue(&Ops::embedding_backward, grad_VD, ids_T, dout_TD, rows);
  }
  void matmul(Tensor c, Tensor a, Tensor b, MatmulFlags flags) override {
    issue(&Ops::matmul, c, a, b, flags);
  }
  void hold_weights() override { issue(&Ops::hold_weights); }
  void release_weights() override { issue(&Ops::release_weights); }
  void rms_norm(Tensor out_TD, Tensor rstd_T, Tensor x_TD, Tensor weight_D,
                double epsilon) override {
    issue(&Ops::rms_norm, out_TD, rstd_T, x_TD, weight_D, epsilon);
  }
  void rms_norm_backward(Tensor dx_TD, Tensor dweight_D, Tensor dout_TD, Tensor x_TD,
                         Tensor weight_D, Tensor rstd_T) override {
    issue(&Ops::rms_norm_backward, dx_TD, dweight_D, dout_TD, x_TD, weight_D, rstd_T);
  }
  void residual(Tensor out_TD, Tensor x_TD, Tensor y_TD, Tensor gain) override {
    issue(&Ops::residual, out_TD, x_TD, y_TD, gain);
  }
  void residual_rms_norm(Tensor out_TD, Tensor normed_TD, Tensor rstd_T, Tensor x_TD, Tensor y_TD,
                         Tensor gain, Tensor weight_D, double epsilon) override {
    issue(&Ops::residual_rms_norm, out_TD, normed_TD, rstd_T, x_TD, y_TD, gain, weight_D, epsilon);
  }
  void residual_backward(Tensor dy_TD, Tensor dout_TD, Tensor gain) override {
    issue(&Ops::residual_backward, dy_TD, dout_TD, gain);
  }
  void residual_gain_backward(Tensor dgain, Tensor da, Tensor a, Tensor gain) override {
    issue(&Ops::residual_gain_backward, dgain, da, a, gain);
  }
  void qk_rope(Tensor q_THE, Tensor k_TGE, Tensor rstd_TN, Tensor qkv_TC, Tensor q_weight_E,
               Tensor k_weight_E, Tensor cos_PR, Tensor sin_PR, AttentionShape shape, QkNorm norm,
               double epsilon) override {
    issue(&Ops::qk_rope, q_THE, k_TGE, rstd_TN, qkv_TC, q_weight_E, k_weight_E, cos_PR, sin_PR,
          shape, norm, epsilon);
  }
  void qk_rope_backward(Tensor dqkv_TC, Tensor dq_weight_E, Tensor dk_weight_E, Tensor dq_THE,
                        Tensor dk_TGE, Tensor rstd_TN, Tensor qkv_TC, Tensor q_weight_E,
                        Tensor k_weight_E, Tensor cos_PR, Tensor sin_PR, AttentionShape shape,
                        QkNorm norm) override {
    issue(&Ops::qk_rope_backward, dqkv_TC, dq_weight_E, dk_weight_E, dq_THE, dk_TGE, rstd_TN,
          qkv_TC, q_weight_E, k_weight_E, cos_PR, sin_PR, shape, norm);
  }
  void attention(Tensor out_THE, Tensor log_sum_TH, Tensor q_THE, Tensor k_TGE, Tensor qkv_TC,
                 AttentionShape shape) override {
    issue(&Ops::attention, out_THE, log_sum_TH, q_THE, k_TGE, qkv_TC, shape);
  }
  void attention_backward(Tensor dq_THE, Tensor dk_TGE, Tensor dqkv_TC, Tensor dout_THE,
                          Tensor out_THE, Tensor log_sum_TH, Tensor q_THE, Tensor k_TGE,
                          Tensor qkv_TC, AttentionShape shape) override {
    issue(&Ops::attention_backward, dq_THE, dk_TGE, dqkv_TC, dout_THE, out_THE, log_sum_TH, q_THE,
          k_TGE, qkv_TC, shape);
  }
  void cached_attention(Tensor out_THE, Tensor log_sum_TH, Tensor values_PGE, Tensor q_THE,
                        Tensor keys_PGE, Tensor qkv_TC, AttentionShape shape) override {
    issue(&Ops::cached_attention, out_THE, log_sum_TH, values_PGE, q_THE, keys_PGE, qkv_TC, shape);
  }
  void swiglu(Tensor out_TF, Tensor gate_up_T2F) override {
    issue(&Ops::swiglu, out_TF, gate_up_T2F);
  }
  void swiglu_backward(Tensor dgate_up_T2F, Tensor out_TF, Tensor dout_TF,
                       Tensor gate_up_T2F) override {
    issue(&Ops::swiglu_backward, dgate_up_T2F, out_TF, dout_TF, gate_up_T2F);
  }
  void mixture_step(Tensor h_deep_TD, Tensor weight_T, Tensor q_T, Tensor remaining_T, Tensor h_TD,
                    Tensor router_w, Tensor router_b, LoopStep step) override {
    issue(&Ops::mixture_step, h_deep_TD, weight_T, q_T, remaining_T, h_TD, router_w, router_b,
          step);
  }
  void row_dot(Tensor out_T, Tensor a_TD, Tensor b_TD) override {
    issue(&Ops::row_dot, out_T, a_TD, b_TD);
  }
  void mixture_weights_backward(Tensor dlogit_KT, Tensor c_KT, Tensor q_KT,
                                double ponder_scale) override {
    issue(&Ops::mixture_weights_backward, dlogit_KT, c_KT, q_KT, ponder_scale);
  }
  void mixture_step_backward(Tensor dh_TD, Tensor drouter_w, Tensor drouter_b, Tensor dh_deep_TD,
                             Tensor h_TD, Tensor weight_T, Tensor dlogit_T, Tensor router_w,
                             LoopStep step) override {
    issue(&Ops::mixture_step_backward, dh_TD, drouter_w, drouter_b, dh_deep_TD, h_TD, weight_T,
          dlogit_T, router_w, step);
  }
  void expected_iterations(Tensor out_T, Tensor weight_KT) override {
    issue(&Ops::expected_iterations, out_T, weight_KT);
  }
  void gate(Tensor y_TD, Tensor gates_T2, Tensor x_TD, Tensor h_deep_TD, Tensor h_wide_TD,
            Tensor weight_ND, Tensor bias_N, GateMode mode, GateTarget target) override {
    issue(&Ops::gate, y_TD, gates_T2, x_TD, h_deep_TD, h_wide_TD, weight_ND, bias_N, mode, target);
  }
  void gate_backward(Tensor dx_TD, Tensor dh_deep_TD, Tensor dh_wide_TD, Tensor dweight_ND,
                     Tensor dbias_N, Tensor dy_TD, Tensor dgates_T2, Tensor x_TD, Tensor h_deep_TD,
                     Tensor h_wide_TD, Tensor gates_T2, Tensor weight_ND, GateMode mode,
                     GateTarget target) override {
    issue(&Ops::gate_backward, dx_TD, dh_deep_TD, dh_wide_TD, dweight_ND, dbias_N, dy_TD, dgates_T2,
          x_TD, h_deep_TD, h_wide_TD, gates_T2, weight_ND, mode, target);
  }
  void gate_regularizer(Tensor dgates_T2, Tensor losses_2, Tensor gates_T2, std::int64_t positions,
                        double entropy_scale, double balance_scale) override {
    issue(&Ops::gate_regularizer, dgates_T2, losses_2, gates_T2, positions, entropy_scale,
          balance_scale);
  }
  void path_readout(Tensor readout_TC, Tensor x_TD, Tensor h_deep_TD, Tensor h_wide_TD,
                    Tensor gates_T2) override {
    issue(&Ops::path_readout, readout_TC, x_TD, h_deep_TD, h_wide_TD, gates_T2);
  }
  void column_sums(Tensor out_C, Tensor in_TC) override { issue(&Ops::column_sums, out_C, in_TC); }
  void cross_entropy(Tensor loss_T, Tensor dlogits_TV, Tensor logits_TV, Tensor targets_T,
                     double grad_scale) override {
    issue(&Ops::cross_entropy, loss_T, dlogits_TV, logits_TV, targets_T, grad_scale);
  }
  void vocabulary_statistics(Tensor stats_T3, Tensor logits_TV, Tensor targets_T,
                             VocabularyRows rows) override {
    issue(&Ops::vocabulary_statistics, stats_T3, logits_TV, targets_T, rows);
  }
  void sharded_cross_entropy(Tensor loss_T, Tensor dlogits_TV, Tensor logits_TV, Tensor stats_RT3,
                             Tensor targets_T, VocabularyRows rows, double grad_scale) override {
    issue(&Ops::sharded_cross_entropy, loss_T, dlogits_TV, logits_TV, stats_RT3, targets_T, rows,
          grad_scale);
  }
  void adamw(Tensor value_N, Tensor m_N, Tensor v_N, Tensor operand_N, Tensor gradient_N,
             const AdamWStep& step) override {
    issue(&Ops::adamw, value_N, m_N, v_N, operand_N, gradient_N, step);
  }
  void sum_of_squares(Tensor out, Tensor x_N) override { issue(&Ops::sum_of_squares, out, x_N); }

 private:
  template <class... Parameters, class... Arguments>
  void issue(void (Ops::*kernel)(Parameters...), const Arguments&... arguments) {
    stream_.issue([=, this] { (near_.get()->*kernel)(near(arguments)...); });
  }
  template <class T>
  T near(const T& argument) const {
    if constexpr (std::is_same_v<T, Tensor>) return device_.near(argument);
    return argument;
  }

  FarDevice& device_;
  LazyStream& stream_;
  std::unique_ptr<Ops> near_;
};

}  // namespace

Buffer FarDevice::allocate(std::size_t bytes) {
  Buffer elements = near_->allocate(bytes);
  const std::size_t mapped = std::max<std::size_t>(bytes, 1);
  void* pages =
      mmap(nullptr, mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  CHECK(pages != MAP_FAILED, "no addresses for {} bytes", bytes);
  auto* far = static_cast<std::byte*>(pages);
  const std::lock_guard lock(mutex_);
  elements_[far] = std::move(elements);
  return {far, bytes,
          [this, mapped](void* data, std::size_t) { free(static_cast<std::byte*>(data), mapped); }};
}

void FarDevice::free(std::byte* far, std::size_t mapped) {
  std::set<LazyStream*> streams;
  {
    const std::lock_guard lock(mutex_);
    streams = streams_;
  }
  for (LazyStream* stream : streams) FarOps::finish(*stream);
  munmap(far, mapped);
  const std::lock_guard lock(mutex_);
  elements_.erase(far);
}

Tensor FarDevice::near(Tensor tensor) const {
  if (tensor.data == nullptr) return tensor;
  auto* far = static_cast<std::byte*>(tensor.data);
  const std::lock_guard lock(mutex_);
  auto range = elements_.upper_bound(far);
  CHECK(range != elements_.begin(), "a tensor {} that is not in this device's memory",
        tensor.shape.str());
  --range;
  const auto offset = static_cast<std::size_t>(far - range->first);
  CHECK(offset + tensor.bytes() <= range->second.bytes(),
        "a tensor {} that is not in this device's memory", tensor.shape.str());
  tensor.data = range->second.data() + offset;
  return tensor;
}

std::optional<DeviceMemory> FarDevice::memory() const {
  DeviceMemory memory{.total = 64 << 20, .used = 0, .cache = 1 << 20};
  const std::lock_guard lock(mutex_);
  for (const auto& [far, elements] : elements_) memory.used += elements.bytes();
  return memory;
}

class FarDevice::FarStream final : public LazyStream {
 public:
  explicit FarStream(FarDevice& device) : device_(device) {
    const std::lock_guard lock(device_.mutex_);
    device_.streams_.insert(this);
  }
  ~FarStream() override {
    const std::lock_guard lock(device_.mutex_);
    device_.streams_.erase(this);
  }

 private:
  FarDevice& device_;
};

std::unique_ptr<Stream> FarDevice::make_stream() {
  return std::make_unique<FarStream>(*this);
}

std::unique_ptr<Ops> FarDevice::make_ops(Stream& stream) {
  return std::make_unique<FarOps>(*this, dynamic_cast<LazyStream&>(stream),
                                  near_->make_ops(done_at_once_));
}

// On a stream of either kind.
void FarDevice::copy(Stream& stream, std::size_t bytes, HostTask task) {
  if (bytes == 0) return;
  if (auto* lazy = dynamic_cast<LazyStream*>(&stream)) {
    lazy->issue(task);
  } else {
    stream.run(task);
  }
}

void FarDevice::copy_to_device(Tensor dst, const void* host, Stream& stream) {
  copy(stream, dst.bytes(), [=, this] { std::memcpy(near(dst).data, host, dst.bytes()); });
}

void FarDevice::copy_to_host(void* host, Tensor src, Stream& stream) {
  copy(stream, src.bytes(), [=, this] { std::memcpy(host, near(src).data, src.bytes()); });
}

}  // namespace dualpath
