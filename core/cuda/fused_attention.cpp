#include "core/cuda/fused_attention.h"

#include <map>

#include "core/cuda/cudnn_attention.h"
#include "core/cuda/workspaces.h"

namespace dualpath {
namespace {

// A shape as it decides on a plan.
using Key = std::array<std::int64_t, 5>;
Key key_of(const AttentionShape& s) {
  return {s.sequences, s.positions, s.heads, s.kv_heads, s.head_size};
}

// The value columns.
const void* values_of(Tensor qkv_TC, const AttentionShape& s) {
  return qkv_TC.as<bfloat16>() + (s.heads + s.kv_heads) * s.head_size;
}

}  // namespace

struct FusedAttention::Library {
  Library(Device& on, CudaStream& by) : device(on), stream(by) {}
  ~Library() {
    if (handle != nullptr) cudnnDestroy(handle);
  }
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

  struct Plan {
    std::unique_ptr<CudnnAttention> attention;
    std::string problem;
  };
  Plan make_plan(const AttentionShape& shape) {
    try {
      if (handle == nullptr) {
        CUDNN_CHECK(cudnnCreate(&handle));
        CUDNN_CHECK(cudnnSetStream(handle, stream.use()));
      }
      auto attention = std::make_unique<CudnnAttention>(shape, CudnnTarget{handle});
      const std::size_t bytes = gpu::row_floats_bytes(shape) + attention->workspace_bytes();
      if (bytes > memory.bytes()) memory = device.allocate(bytes);
      return {std::move(attention), ""};
    } catch (const Error& error) {
      return {nullptr, error.what()};
    }
  }
  Plan& plan(const AttentionShape& shape) {
    const auto found = plans.find(key_of(shape));
    if (found != plans.end()) return found->second;
    return plans.emplace(key_of(shape), make_plan(shape)).first->second;
  }
  void* workspace(const AttentionShape& shape) const {
    return memory.data() + gpu::row_floats_bytes(shape);
  }

  Device& device;
  CudaStream& stream;
  cudnnHandle_t handle = nullptr;
  std::map<Key, Plan> plans;
  Buffer memory;  // log_sum_NHP, then what the library works in
};

FusedAttention::FusedAttention(Device& device, CudaStream& stream)
    : library_(std::make_unique<Library>(device, stream)) {}
FusedAttention::~FusedAttention() = default;

bool FusedAttention::takes(DType operand, const AttentionShape& shape) {
  return operand == DType::bf16 && library_->plan(shape).attention != nullptr;
}

std::string FusedAttention::problem(const AttentionShape& shape) {
  return library_->plan(shape).problem;
}

void FusedAttention::leave(const AttentionShape& shape, const std::string& why) {
  library_->plans[key_of(shape)] = {nullptr, why};
}

Tensor FusedAttention::log_sum_NHP(const AttentionShape& shape) const {
  return {library_->memory.data(), DType::f32, {shape.sequences, shape.heads, shape.positions}};
}

void FusedAttention::forward(Tensor out_THE, Tensor log_sum_NHP, Tensor q_THE, Tensor k_TGE,
                             Tensor qkv_TC, const AttentionShape& shape) {
  library_->plan(shape).attention->forward(
      library_->handle,
      {out_THE.data, log_sum_NHP.data, q_THE.data, k_TGE.data, values_of(qkv_TC, shape)},
      library_->workspace(shape));
}

void FusedAttention::backward(Tensor dq_THE, Tensor dk_TGE, Tensor dqkv_TC, Tensor dout_THE,
                              Tensor out_THE, Tensor log_sum_NHP, Tensor q_THE, Tensor k_TGE,
                              Tensor qkv_TC, const AttentionShape& shape) {
  library_->plan(shape).attention->backward(
      library_->handle,
      {dq_THE.data, dk_TGE.data, values_of(dqkv_TC, shape), dout_THE.data, out_THE.data,
       log_sum_NHP.data, q_THE.data, k_TGE.data, values_of(qkv_TC, shape)},
      library_->workspace(shape));
}

std::string cudnn_version() {
  try {
    const std::size_t version = cudnnGetVersion();
    return fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100);
  } catch (const Error&) {
    return "";
  }
}

}  // namespace dualpath
