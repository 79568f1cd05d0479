// Device memory that the libraries work in, beside the tensors: for the kernels, and for plans.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/ops.h"

namespace dualpath::gpu {

// cuBLASLt's: more than this many bytes help no product on Hopper.
inline constexpr std::size_t product_workspace_bytes = 32 << 20;

inline std::size_t round_up(std::size_t n, std::size_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

// A float for each token and head, with what follows them aligned.
inline std::size_t row_floats_bytes(const AttentionShape& s) {
  return round_up(static_cast<std::size_t>(s.tokens() * s.heads) * sizeof(float), 256);
}

// For attention by cuDNN: log_sum as the library wants it, delta, and what its deterministic
// backward pass takes: the scores' gradient in bf16, in tiles, and where query heads share keys the
// gradients of k and v of each in fp32. Found from the plans of 9.19 and 9.28, which
// cudnn_attention_test holds it against.
inline std::size_t attention_workspace_bytes(const AttentionShape& s) {
  const auto heads = static_cast<std::size_t>(s.sequences * s.heads);
  const auto positions = static_cast<std::size_t>(s.positions);
  const std::size_t scores = heads * round_up(positions, 128) * round_up(positions, 64) * 2;
  const std::size_t of_heads = s.heads == s.kv_heads ? 0
                                                     : 2 * sizeof(float) * heads * positions *
                                                           static_cast<std::size_t>(s.head_size);
  return 2 * row_floats_bytes(s) + scores + of_heads + 256;
}

}  // namespace dualpath::gpu
