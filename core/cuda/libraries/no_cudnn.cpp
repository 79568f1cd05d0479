#include "core/cuda/libraries/fused_attention.h"

namespace dualpath {

namespace {

constexpr const char* why_not = "this program was built without cuDNN";

[[noreturn]] void refuse() {
  DUALPATH_FAIL(ExitCode::internal, "{}", why_not);
}

}  // namespace

struct FusedAttention::Library {};

FusedAttention::FusedAttention(Device&, CudaStream&, std::size_t) {}
FusedAttention::~FusedAttention() = default;

bool FusedAttention::takes(DType, const AttentionShape&) {
  return false;
}
std::string FusedAttention::problem(const AttentionShape&) {
  return why_not;
}
void FusedAttention::leave(const AttentionShape&, const std::string&) {}
Tensor FusedAttention::log_sum_NHP(const AttentionShape&) const {
  refuse();
}
void FusedAttention::forward(const op::Attention&, Tensor) {
  refuse();
}
void FusedAttention::backward(const op::AttentionBackward&, Tensor) {
  refuse();
}

std::string cudnn_text() {
  return "no cuDNN";
}

}  // namespace dualpath
