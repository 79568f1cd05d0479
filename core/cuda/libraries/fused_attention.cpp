#include "core/cuda/libraries/fused_attention.h"

#include <map>

#include "core/cuda/libraries/cudnn_attention.h"

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

// Empty where the library is there.
std::string why_not_loaded() {
  try {
    cudnnGetVersion();
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

}  // namespace

struct FusedAttention::Library {
  Library(Device& on, CudaStream& by, std::size_t at_most)
      : device(on), stream(by), most(at_most) {}
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
    if (const std::string missing = why_not_loaded(); !missing.empty()) return {nullptr, missing};
    const AttentionShape part = gpu::attention_part(shape, most);
    try {
      use();
      auto attention = std::make_unique<CudnnAttention>(shape, part, CudnnTarget{handle});
      reserve(gpu::row_floats_bytes(shape) + attention->workspace_bytes());
      return {std::move(attention), ""};
    } catch (const Error& error) {
      // The kernels that need no such memory are many times slower: not without being asked.
      CHECK_AS(ExitCode::configuration, error.code() != ExitCode::configuration,
               "{}; attention by cuDNN, {} x {} positions, {}/{} heads of {}, works in {} bytes: a "
               "smaller train.micro_batch_size, more of parallel.recompute or a larger "
               "parallel.tensor make room for it",
               error.what(), shape.sequences, shape.positions, shape.heads, shape.kv_heads,
               shape.head_size, gpu::attention_workspace_bytes(shape, most));
      return {nullptr, error.what()};
    }
  }
  // The handle, for calls: they need its GPU to be the calling thread's, as its making does.
  cudnnHandle_t use() {
    const cudaStream_t on = stream.use();
    if (handle == nullptr) {
      CUDNN_CHECK(cudnnCreate(&handle));
      CUDNN_CHECK(cudnnSetStream(handle, on));
    }
    return handle;
  }
  // What was there goes first: plans count the larger one only.
  void reserve(std::size_t bytes) {
    if (bytes <= memory.bytes()) return;
    memory = Buffer();
    memory = device.allocate(bytes);
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
  const std::size_t most;
  cudnnHandle_t handle = nullptr;
  std::map<Key, Plan> plans;
  Buffer memory;  // log_sum_NHP, then what the library works in
};

FusedAttention::FusedAttention(Device& device, CudaStream& stream, std::size_t most)
    : library_(std::make_unique<Library>(device, stream, most)) {}
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

void FusedAttention::forward(const op::Attention& op, Tensor log_sum_NHP) {
  library_->plan(op.shape).attention->forward(library_->use(),
                                              {.out = op.out_THE.data,
                                               .statistics = log_sum_NHP.data,
                                               .q = op.q_THE.data,
                                               .k = op.k_TGE.data,
                                               .v = values_of(op.qkv_TC, op.shape)},
                                              library_->workspace(op.shape));
}

void FusedAttention::backward(const op::AttentionBackward& op, Tensor log_sum_NHP) {
  library_->plan(op.shape).attention->backward(library_->use(),
                                               {.dq = op.dq_THE.data,
                                                .dk = op.dk_TGE.data,
                                                .dv = values_of(op.dqkv_TC, op.shape),
                                                .dout = op.dout_THE.data,
                                                .out = op.out_THE.data,
                                                .statistics = log_sum_NHP.data,
                                                .q = op.q_THE.data,
                                                .k = op.k_TGE.data,
                                                .v = values_of(op.qkv_TC, op.shape)},
                                               library_->workspace(op.shape));
}

std::string cudnn_text() {
  if (!why_not_loaded().empty()) return "no cuDNN";
  const std::size_t version = cudnnGetVersion();
  return fmt::format("cuDNN {}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

}  // namespace dualpath
