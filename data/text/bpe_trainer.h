// Trains a byte-level BPE in GPT-2's layout: 256 byte tokens, merges in their order, <|endoftext|>.
#pragma once

#include <cstdint>
#include <functional>

#include "data/text/piece_counts.h"
#include "data/text/tokenizer.h"

namespace dualpath {

inline constexpr std::uint32_t min_vocab_size = 257;

// Merges the most frequent pair of adjacent tokens, again and again; among equally frequent ones
// the smallest (left id, right id). Ends at vocab_size tokens, or earlier when no pair occurs
// twice. split: by which the pieces were made. on_merge is told the number of tokens so far.
// REQUIRES: vocab_size >= min_vocab_size.
Tokenizer train_bpe(const PieceCounts& pieces, SplitRule split, std::uint32_t vocab_size,
                    const std::function<void(std::uint32_t)>& on_merge = {});

}  // namespace dualpath
