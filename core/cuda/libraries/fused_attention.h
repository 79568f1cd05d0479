// Attention by cuDNN, where the program was built with it (no_cudnn.cpp: where it was not): bf16
// operands, the same bits every time.
#pragma once

#include <memory>
#include <string>

#include "core/cuda/libraries/workspaces.h"
#include "core/cuda/runtime/cuda_stream.h"
#include "core/device/device.h"

namespace dualpath {

class FusedAttention {
 public:
  // Work is issued on `stream`; `device` gives memory. Both outlive this. The backward pass goes
  // over parts that work in `most` bytes.
  FusedAttention(Device& device, CudaStream& stream, std::size_t most = gpu::most_attention_bytes);
  ~FusedAttention();

  // Whether the library computes attention of such operands and this shape. The first time it makes
  // plans, and has memory for them: where there is none it throws Error(configuration).
  bool takes(DType operand, const AttentionShape& shape);
  std::string problem(const AttentionShape& shape);  // why not, with bf16 operands; or empty
  // Has the library take no such attention from here on.
  void leave(const AttentionShape& shape, const std::string& why);

  // REQUIRES, for all: takes(). log_sum_NHP [sequences, H, positions] takes the place of the
  // operation's log_sum_TH.
  Tensor log_sum_NHP(const AttentionShape& shape) const;  // scratch memory for it
  void forward(const op::Attention& op, Tensor log_sum_NHP);
  void backward(const op::AttentionBackward& op, Tensor log_sum_NHP);

 private:
  struct Library;
  std::unique_ptr<Library> library_;
};

// "cuDNN 9.19.0"; "no cuDNN" where the program was built without, or the library cannot be loaded.
std::string cudnn_text();

}  // namespace dualpath
