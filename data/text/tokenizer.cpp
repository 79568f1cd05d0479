#include "data/text/tokenizer.h"

#include <algorithm>
#include <array>
#include <queue>
#include <utility>
#include <xxhash.h>

#include "core/base/error.h"

namespace dualpath {
namespace {

constexpr std::uint32_t no_token = 0xffffffff;
constexpr std::uint32_t no_rank = PairRanks::no_rank;
constexpr std::size_t longest_short_piece = 64;

void append_little_endian(std::string& out, std::uint32_t value) {
  for (int shift = 0; shift < 32; shift += 8) out += static_cast<char>(value >> shift & 0xff);
}

void append_text(std::string& out, std::string_view text) {
  append_little_endian(out, static_cast<std::uint32_t>(text.size()));
  out += text;
}

// A tokenizer as GPT-2's vocab.json and merges.txt describe it has the hash of these alone.
std::string hash_of(const TokenizerParts& parts) {
  std::string canonical;
  append_little_endian(canonical, static_cast<std::uint32_t>(parts.tokens.size()));
  for (const std::string& token : parts.tokens) append_text(canonical, token);
  for (const Merge& merge : parts.merges) {
    append_little_endian(canonical, merge.left);
    append_little_endian(canonical, merge.right);
  }
  append_little_endian(canonical, parts.end_of_text);
  if (parts.split != SplitRule::gpt2 || parts.nfc || parts.ignore_merges ||
      parts.added.size() > 1) {
    append_text(canonical, regex_of(parts.split));
    append_little_endian(canonical, parts.nfc ? 1 : 0);
    append_little_endian(canonical, parts.ignore_merges ? 1 : 0);
    for (const AddedToken& token : parts.added) {
      append_little_endian(canonical, token.id);
      append_text(canonical, token.content);
      append_little_endian(canonical, token.special ? 1 : 0);
      append_little_endian(canonical, token.normalized ? 1 : 0);
    }
  }
  return fmt::format("{:016x}", XXH3_64bits(canonical.data(), canonical.size()));
}

// Lists end_of_text among the added tokens, and these by id.
TokenizerParts completed(TokenizerParts parts) {
  const auto num_tokens = static_cast<std::uint32_t>(parts.tokens.size());
  CHECK_AS(ExitCode::data, parts.end_of_text < num_tokens,
           "end-of-text id {} is not below {} tokens", parts.end_of_text, num_tokens);
  const auto is_end = [&](const AddedToken& token) { return token.id == parts.end_of_text; };
  if (std::none_of(parts.added.begin(), parts.added.end(), is_end)) {
    parts.added.push_back({.id = parts.end_of_text, .content = parts.tokens[parts.end_of_text]});
  }
  std::sort(parts.added.begin(), parts.added.end(),
            [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
  for (std::size_t i = 0; i < parts.added.size(); ++i) {
    const AddedToken& token = parts.added[i];
    CHECK_AS(ExitCode::data, token.id < num_tokens && parts.tokens[token.id] == token.content,
             "the added token '{}' is not token {}", token.content, token.id);
    CHECK_AS(ExitCode::data, i == 0 || parts.added[i - 1].id < token.id,
             "the added tokens '{}' and '{}' have the id {}", parts.added[i - 1].content,
             token.content, token.id);
    CHECK_AS(ExitCode::data, token.special || !is_end(token),
             "'{}' ends documents, but is no special token", token.content);
  }
  return parts;
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

Tokenizer::Tokenizer(TokenizerParts parts)
    : parts_(completed(std::move(parts))),
      segmenter_(parts_.split, parts_.nfc, parts_.added),
      is_added_(parts_.tokens.size(), false),
      token_of_byte_(256, no_token),
      ranks_(parts_.merges.size()),
      hash_(hash_of(parts_)) {
  for (const AddedToken& token : parts_.added) is_added_[token.id] = true;
  index_tokens();
  index_merges();
}

void Tokenizer::index_tokens() {
  for (std::uint32_t id = 0; id < vocab_size(); ++id) {
    if (is_added_[id]) continue;
    const std::string& token = parts_.tokens[id];
    CHECK_AS(ExitCode::data, !token.empty(), "token {} is empty", id);
    CHECK_AS(ExitCode::data, id_of_bytes_.emplace(token, id).second, "token {} occurs twice", id);
    if (token.size() == 1) token_of_byte_[static_cast<unsigned char>(token[0])] = id;
  }
  for (std::size_t byte = 0; byte < token_of_byte_.size(); ++byte) {
    CHECK_AS(ExitCode::data, token_of_byte_[byte] != no_token,
             "no token stands for the byte 0x{:02x}", byte);
  }
}

void Tokenizer::index_merges() {
  for (std::uint32_t rank = 0; rank < parts_.merges.size(); ++rank) {
    const auto [left, right, result] = parts_.merges[rank];
    for (const std::uint32_t id : {left, right, result}) {
      CHECK_AS(ExitCode::data, id < vocab_size() && !is_added_[id],
               "merge {} names token {}, which cannot be merged", rank, id);
    }
    CHECK_AS(ExitCode::data, parts_.tokens[result] == parts_.tokens[left] + parts_.tokens[right],
             "merge {} does not give token {}", rank, result);
    CHECK_AS(ExitCode::data, ranks_.insert(left, right, rank), "merge {} occurs twice", rank);
  }
}

void Tokenizer::encode(std::string_view text, std::vector<std::uint32_t>& ids,
                       SpecialTokens special) const {
  segmenter_.segment(
      text, special, [&](std::string_view piece) { encode_piece(piece, ids); },
      [&](std::uint32_t id) { ids.push_back(id); });
}

void Tokenizer::encode_piece(std::string_view piece, std::vector<std::uint32_t>& ids) const {
  if (parts_.ignore_merges) {
    if (const auto token = id_of_bytes_.find(piece); token != id_of_bytes_.end()) {
      ids.push_back(token->second);
      return;
    }
  }
  if (piece.size() <= longest_short_piece) {
    merge_short(piece, ids);
  } else {
    merge_long(piece, ids);
  }
}

// The definition: as long as a pair has a rank, merge the lowest one, the leftmost of equals.
void Tokenizer::merge_short(std::string_view piece, std::vector<std::uint32_t>& ids) const {
  std::array<std::uint32_t, longest_short_piece> symbols;
  std::array<std::uint32_t, longest_short_piece> ranks;  // [i]: of the pair i, i + 1
  std::size_t count = piece.size();
  for (std::size_t i = 0; i < count; ++i) {
    symbols[i] = token_of_byte_[static_cast<unsigned char>(piece[i])];
  }
  for (std::size_t i = 0; i + 1 < count; ++i) ranks[i] = ranks_.rank(symbols[i], symbols[i + 1]);
  while (count > 1) {
    const auto lowest = std::min_element(ranks.begin(), ranks.begin() + count - 1);
    if (*lowest == no_rank) break;
    const auto i = static_cast<std::size_t>(lowest - ranks.begin());
    symbols[i] = parts_.merges[*lowest].result;
    std::copy(symbols.begin() + i + 2, symbols.begin() + count, symbols.begin() + i + 1);
    std::copy(ranks.begin() + i + 1, ranks.begin() + count - 1, ranks.begin() + i);
    --count;
    if (i > 0) ranks[i - 1] = ranks_.rank(symbols[i - 1], symbols[i]);
    if (i + 1 < count) ranks[i] = ranks_.rank(symbols[i], symbols[i + 1]);
  }
  ids.insert(ids.end(), symbols.begin(), symbols.begin() + count);
}

// The same in O(n log n): the symbols are a linked list, the pairs that have a rank a heap.
void Tokenizer::merge_long(std::string_view piece, std::vector<std::uint32_t>& ids) const {
  constexpr std::uint32_t none = 0xffffffff;
  struct Symbol {
    std::uint32_t id, previous, next;  // id `none`: merged into the one before
  };
  using Candidate = std::pair<std::uint32_t, std::uint32_t>;  // rank, position of the left symbol
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> candidates;

  CHECK_AS(ExitCode::data, piece.size() < none, "a piece of text without a break has {} bytes",
           piece.size());
  const auto count = static_cast<std::uint32_t>(piece.size());
  std::vector<Symbol> symbols(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint32_t id = token_of_byte_[static_cast<unsigned char>(piece[i])];
    symbols[i] = {id, i == 0 ? none : i - 1, i + 1 == count ? none : i + 1};
  }
  const auto add_candidate = [&](std::uint32_t left) {
    if (symbols[left].next == none) return;
    const std::uint32_t rank = ranks_.rank(symbols[left].id, symbols[symbols[left].next].id);
    if (rank != no_rank) candidates.emplace(rank, left);
  };
  for (std::uint32_t i = 0; i < count; ++i) add_candidate(i);

  while (!candidates.empty()) {
    const auto [rank, position] = candidates.top();
    candidates.pop();
    const Merge& merge = parts_.merges[rank];
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
  for (const Symbol& symbol : symbols) {
    if (symbol.id != none) ids.push_back(symbol.id);
  }
}

std::string Tokenizer::decode(std::span<const std::uint32_t> ids) const {
  std::string text;
  for (const std::uint32_t id : ids) {
    CHECK_AS(ExitCode::data, id < vocab_size(), "token id {} is not below the vocabulary's {}", id,
             vocab_size());
    text += parts_.tokens[id];
  }
  return text;
}

}  // namespace dualpath
