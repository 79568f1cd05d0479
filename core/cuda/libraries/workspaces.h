// Device memory that the libraries work in, beside the tensors: for the kernels, and for plans.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/ops/ops.h"

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

// Workspace of cuDNN's deterministic attention backward over all of `s` at once: delta, the scores'
// gradient in bf16, in tiles, and where query heads share keys the gradients of k and v of each in
// fp32. Found from the plans of 9.19 and 9.28, which cudnn_attention_test holds it against.
inline std::size_t attention_backward_bytes(const AttentionShape& s) {
  const auto heads = static_cast<std::size_t>(s.sequences * s.heads);
  const auto positions = static_cast<std::size_t>(s.positions);
  const std::size_t scores = heads * round_up(positions, 128) * round_up(positions, 64) * 2;
  const std::size_t of_heads = s.heads == s.kv_heads ? 0
                                                     : 2 * sizeof(float) * heads * positions *
                                                           static_cast<std::size_t>(s.head_size);
  return row_floats_bytes(s) + scores + of_heads + 256;
}

// What attention's backward pass works in at the most, where parts can be so small.
inline constexpr std::size_t most_attention_bytes = std::size_t{2} << 30;

// The part that cuDNN's backward pass takes at once: all of it, or as many sequences as work in
// `most` bytes, or as many key/value heads of one sequence with their query heads, or one such. All
// parts are alike. A part's rows begin at multiples of 16 bytes, as the library wants them: where
// positions are odd, parts may be larger for it.
inline AttentionShape attention_part(const AttentionShape& s,
                                     std::size_t most = most_attention_bytes) {
  AttentionShape best = s;
  const auto consider = [&](std::int64_t sequences, std::int64_t kv_heads) {
    const AttentionShape part{sequences, s.positions, s.heads / s.kv_heads * kv_heads, kv_heads,
                              s.head_size};
    const bool is_even = s.sequences % sequences == 0 && s.kv_heads % kv_heads == 0;
    const bool is_aligned = part.tokens() * part.heads * std::int64_t{sizeof(float)} % 16 == 0;
    if (is_even && is_aligned && attention_backward_bytes(best) > most) best = part;
  };
  for (std::int64_t n = s.sequences - 1; n > 0; --n) consider(n, s.kv_heads);
  for (std::int64_t g = s.kv_heads - 1; g > 0; --g) consider(1, g);
  return best;
}

// For attention by cuDNN: log_sum as the library wants it, and the backward pass of a part.
inline std::size_t attention_workspace_bytes(const AttentionShape& s,
                                             std::size_t most = most_attention_bytes) {
  return row_floats_bytes(s) + attention_backward_bytes(attention_part(s, most));
}

}  // namespace dualpath::gpu
