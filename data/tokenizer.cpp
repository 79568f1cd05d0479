#include "data/tokenizer.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <queue>
#include <tuple>
#include <unordered_set>
#include <xxhash.h>

#include "core/error.h"

namespace dualpath {
namespace {

constexpr std::size_t cache_slots = 1 << 15;
constexpr std::size_t longest_short_piece = 32;

std::uint64_t pair_key(std::uint32_t left, std::uint32_t right) {
  return std::uint64_t{left} << 32 | right;
}

void append_little_endian(std::string& out, std::uint32_t value) {
  for (int shift = 0; shift < 32; shift += 8) out += static_cast<char>(value >> shift & 0xff);
}

std::string hash_of(std::span<const std::string> tokens, std::span<const Tokenizer::Merge> merges,
                    std::uint32_t end_of_text) {
  std::string canonical;
  append_little_endian(canonical, static_cast<std::uint32_t>(tokens.size()));
  for (const std::string& token : tokens) {
    append_little_endian(canonical, static_cast<std::uint32_t>(token.size()));
    canonical += token;
  }
  for (const Tokenizer::Merge& merge : merges) {
    append_little_endian(canonical, merge.left);
    append_little_endian(canonical, merge.right);
  }
  append_little_endian(canonical, end_of_text);
  return fmt::format("{:016x}", XXH3_64bits(canonical.data(), canonical.size()));
}

}  // namespace

std::span<const std::uint8_t, 256> gpt2_byte_order() {
  static constexpr auto order = [] {
    std::array<std::uint8_t, 256> bytes{};
    std::size_t count = 0;
    const auto printable = [](int b) {
      return (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
    };
    for (const bool wanted : {true, false}) {
      for (int b = 0; b < 256; ++b) {
        if (printable(b) == wanted) bytes[count++] = static_cast<std::uint8_t>(b);
      }
    }
    return bytes;
  }();
  return order;
}

Tokenizer::Tokenizer(std::vector<std::string> tokens, std::vector<Merge> merges,
                     std::uint32_t end_of_text)
    : tokens_(std::move(tokens)),
      merges_(std::move(merges)),
      end_of_text_(end_of_text),
      token_of_byte_(256, no_rank),
      hash_(hash_of(tokens_, merges_, end_of_text)) {
  CHECK_AS(ExitCode::data, end_of_text < vocab_size(), "end-of-text id {} is not below {} tokens",
           end_of_text, tokens_.size());
  std::unordered_set<std::string_view> seen;
  for (std::uint32_t id = 0; id < vocab_size(); ++id) {
    if (id == end_of_text) continue;
    const std::string& token = tokens_[id];
    CHECK_AS(ExitCode::data, !token.empty(), "token {} is empty", id);
    CHECK_AS(ExitCode::data, seen.insert(token).second, "token {} occurs twice", id);
    if (token.size() == 1) token_of_byte_[static_cast<unsigned char>(token[0])] = id;
  }
  for (int byte = 0; byte < 256; ++byte) {
    CHECK_AS(ExitCode::data, token_of_byte_[static_cast<std::size_t>(byte)] != no_rank,
             "no token stands for the byte 0x{:02x}", byte);
  }
  for (std::uint32_t rank = 0; rank < merges_.size(); ++rank) {
    const auto [left, right, result] = merges_[rank];
    for (const std::uint32_t id : {left, right, result}) {
      CHECK_AS(ExitCode::data, id < vocab_size() && id != end_of_text,
               "merge {} names token {}, which cannot be merged", rank, id);
    }
    CHECK_AS(ExitCode::data, tokens_[result] == tokens_[left] + tokens_[right],
             "merge {} does not give token {}", rank, result);
    CHECK_AS(ExitCode::data, ranks_.emplace(pair_key(left, right), rank).second,
             "merge {} occurs twice", rank);
  }
}

void Tokenizer::encode(std::string_view text, std::vector<std::uint32_t>& ids) const {
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = pre_tokenizer_.piece_end(text, begin);
    encode_piece(text.substr(begin, end - begin), ids);
    begin = end;
  }
}

void Tokenizer::encode_piece(std::string_view piece, std::vector<std::uint32_t>& ids) const {
  const std::size_t begin = ids.size();
  for (const char c : piece) ids.push_back(token_of_byte_[static_cast<unsigned char>(c)]);
  if (piece.size() <= longest_short_piece) {
    merge_short(ids, begin);
  } else {
    merge_long(ids, begin);
  }
}

std::uint32_t Tokenizer::rank_of(std::uint32_t left, std::uint32_t right) const {
  const auto found = ranks_.find(pair_key(left, right));
  return found == ranks_.end() ? no_rank : found->second;
}

// The definition: as long as a pair has a rank, merge the lowest one wherever it stands, from left
// to right. Works on ids[begin..].
void Tokenizer::merge_short(std::vector<std::uint32_t>& ids, std::size_t begin) const {
  while (true) {
    std::uint32_t lowest = no_rank;
    for (std::size_t i = begin; i + 1 < ids.size(); ++i) {
      lowest = std::min(lowest, rank_of(ids[i], ids[i + 1]));
    }
    if (lowest == no_rank) return;
    const Merge& merge = merges_[lowest];
    std::size_t kept = begin;
    for (std::size_t i = begin; i < ids.size(); ++kept) {
      if (i + 1 < ids.size() && ids[i] == merge.left && ids[i + 1] == merge.right) {
        ids[kept] = merge.result;
        i += 2;
      } else {
        ids[kept] = ids[i++];
      }
    }
    ids.resize(kept);
  }
}

// The same in O(n log n): the symbols are a linked list, the pairs that have a rank a heap.
void Tokenizer::merge_long(std::vector<std::uint32_t>& ids, std::size_t begin) const {
  constexpr std::uint32_t none = 0xffffffff;
  struct Symbol {
    std::uint32_t id, previous, next;  // id `none`: merged into the one before
  };
  using Candidate = std::pair<std::uint32_t, std::uint32_t>;  // rank, position of the left symbol
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> candidates;

  const std::size_t count = ids.size() - begin;
  CHECK_AS(ExitCode::data, count < none, "a piece of text without a break has {} bytes", count);
  std::vector<Symbol> symbols(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    symbols[i] = {ids[begin + i], i == 0 ? none : i - 1, i + 1 == count ? none : i + 1};
  }
  const auto add_candidate = [&](std::uint32_t left) {
    const std::uint32_t right = symbols[left].next;
    if (right == none) return;
    const std::uint32_t rank = rank_of(symbols[left].id, symbols[right].id);
    if (rank != no_rank) candidates.emplace(rank, left);
  };
  for (std::uint32_t i = 0; i + 1 < count; ++i) add_candidate(i);

  std::vector<std::uint32_t> positions;
  while (!candidates.empty()) {
    // All positions of the lowest rank first: what merging them brings up comes after them.
    const std::uint32_t rank = candidates.top().first;
    for (positions.clear(); !candidates.empty() && candidates.top().first == rank;) {
      positions.push_back(candidates.top().second);
      candidates.pop();
    }
    const Merge& merge = merges_[rank];
    for (const std::uint32_t position : positions) {
      Symbol& left = symbols[position];
      if (left.id != merge.left || left.next == none || symbols[left.next].id != merge.right) {
        continue;  // gone since
      }
      Symbol& right = symbols[left.next];
      left.id = merge.result;
      right.id = none;
      left.next = right.next;
      if (left.next != none) symbols[left.next].previous = position;
      if (left.previous != none) add_candidate(left.previous);
      add_candidate(position);
    }
  }
  ids.resize(begin);
  for (const Symbol& symbol : symbols) {
    if (symbol.id != none) ids.push_back(symbol.id);
  }
}

std::string Tokenizer::decode(std::span<const std::uint32_t> ids) const {
  std::string text;
  for (const std::uint32_t id : ids) {
    CHECK_AS(ExitCode::data, id < vocab_size(), "token id {} is not below the vocabulary's {}", id,
             vocab_size());
    text += tokens_[id];
  }
  return text;
}

Encoder::Encoder(const Tokenizer& tokenizer) : tokenizer_(&tokenizer), cache_(cache_slots) {}

void Encoder::encode(std::string_view text, std::vector<std::uint32_t>& ids) {
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = tokenizer_->pre_tokenizer().piece_end(text, begin);
    const std::string_view piece = text.substr(begin, end - begin);
    begin = end;
    if (piece.size() > Entry::max_bytes) {
      tokenizer_->encode_piece(piece, ids);
      continue;
    }
    Entry& entry = cache_[XXH3_64bits(piece.data(), piece.size()) % cache_slots];
    if (piece == std::string_view(entry.bytes, entry.num_bytes)) {
      ids.insert(ids.end(), entry.ids, entry.ids + entry.num_ids);
      continue;
    }
    const std::size_t first = ids.size();
    tokenizer_->encode_piece(piece, ids);
    const std::size_t count = ids.size() - first;
    if (count > Entry::max_ids) continue;
    entry.num_bytes = static_cast<std::uint8_t>(piece.size());
    entry.num_ids = static_cast<std::uint8_t>(count);
    std::copy(piece.begin(), piece.end(), entry.bytes);
    std::copy(ids.begin() + static_cast<std::ptrdiff_t>(first), ids.end(), entry.ids);
  }
}

}  // namespace dualpath
