#include "data/text/bpe_trainer.h"

#include <algorithm>
#include <array>
#include <queue>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/base/error.h"

namespace dualpath {
namespace {

using TokenPair = std::pair<std::uint32_t, std::uint32_t>;

struct PairHash {
  std::size_t operator()(const TokenPair& pair) const {
    std::uint64_t x = (std::uint64_t{pair.first} << 32 | pair.second) * 0x9e3779b97f4a7c15;
    return x ^ x >> 32;
  }
};

struct Word {
  std::size_t begin;   // in ids_
  std::uint32_t size;  // tokens left
  std::int64_t count;
};

class Trainer {
 public:
  explicit Trainer(const PieceCounts& pieces);
  // The pair to merge next, and how often it occurs; {} and 0 when none is left.
  std::pair<TokenPair, std::int64_t> most_frequent();
  // `pair` becomes `result` everywhere.
  void merge(TokenPair pair, std::uint32_t result);

 private:
  struct PairUse {
    std::int64_t count = 0;
    std::vector<std::uint32_t> words;  // every word that holds the pair, and some that once did
  };
  struct Candidate {
    std::int64_t count;
    TokenPair pair;
    bool operator<(const Candidate& other) const {  // the greatest is merged first
      return count != other.count ? count < other.count : pair > other.pair;
    }
  };

  std::span<std::uint32_t> tokens_of(std::uint32_t word) {
    return std::span(ids_).subspan(words_[word].begin, words_[word].size);
  }
  void add_use(TokenPair pair, std::uint32_t word);
  void remove_use(TokenPair pair, std::uint32_t word) { uses_[pair].count -= words_[word].count; }

  std::vector<std::uint32_t> ids_;  // of all words, each where it began
  std::vector<Word> words_;
  std::unordered_map<TokenPair, PairUse, PairHash> uses_;
  // Counts may be out of date; a pair whose count grew is queued anew.
  std::priority_queue<Candidate> candidates_;
};

Trainer::Trainer(const PieceCounts& pieces) {
  std::array<std::uint32_t, 256> id_of_byte{};
  const auto order = gpt2_byte_order();
  for (std::uint32_t id = 0; id < order.size(); ++id) id_of_byte[order[id]] = id;
  words_.reserve(pieces.size());
  pieces.for_each([&](std::string_view piece, std::int64_t count) {
    words_.push_back({ids_.size(), static_cast<std::uint32_t>(piece.size()), count});
    for (const char c : piece) ids_.push_back(id_of_byte[static_cast<unsigned char>(c)]);
  });
  for (std::uint32_t word = 0; word < words_.size(); ++word) {
    const std::span<const std::uint32_t> ids = tokens_of(word);
    for (std::size_t i = 0; i + 1 < ids.size(); ++i) add_use({ids[i], ids[i + 1]}, word);
  }
  for (const auto& [pair, use] : uses_) candidates_.push({use.count, pair});
}

void Trainer::add_use(TokenPair pair, std::uint32_t word) {
  PairUse& use = uses_[pair];
  use.count += words_[word].count;
  if (use.words.empty() || use.words.back() != word) use.words.push_back(word);
}

std::pair<TokenPair, std::int64_t> Trainer::most_frequent() {
  while (!candidates_.empty()) {
    const auto [count, pair] = candidates_.top();
    const std::int64_t current = uses_[pair].count;
    if (count == current) return {pair, count};
    candidates_.pop();
    if (current > 0) candidates_.push({current, pair});
  }
  return {{}, 0};
}

void Trainer::merge(TokenPair pair, std::uint32_t result) {
  std::vector<TokenPair> made;  // pairs with `result`, with repetitions
  const std::vector<std::uint32_t> words = std::move(uses_[pair].words);
  for (const std::uint32_t word : words) {
    const std::span<std::uint32_t> ids = tokens_of(word);
    std::size_t kept = 0;
    for (std::size_t i = 0; i < ids.size(); ++kept) {
      if (i + 1 == ids.size() || TokenPair{ids[i], ids[i + 1]} != pair) {
        ids[kept] = ids[i++];
        continue;
      }
      // ... ids[kept-1] | ids[i] ids[i+1] | ids[i+2] ...
      remove_use(pair, word);
      if (kept > 0) {
        remove_use({ids[kept - 1], ids[i]}, word);
        add_use({ids[kept - 1], result}, word);
        made.push_back({ids[kept - 1], result});
      }
      if (i + 2 < ids.size()) {
        remove_use({ids[i + 1], ids[i + 2]}, word);
        add_use({result, ids[i + 2]}, word);
        made.push_back({result, ids[i + 2]});
      }
      ids[kept] = result;
      i += 2;
    }
    words_[word].size = static_cast<std::uint32_t>(kept);
  }
  uses_.erase(pair);
  std::sort(made.begin(), made.end());
  made.erase(std::unique(made.begin(), made.end()), made.end());
  for (const TokenPair& candidate : made) {
    if (const std::int64_t count = uses_[candidate].count; count > 0) {
      candidates_.push({count, candidate});
    }
  }
}

}  // namespace

Tokenizer train_bpe(const PieceCounts& pieces, SplitRule split, std::uint32_t vocab_size,
                    const std::function<void(std::uint32_t)>& on_merge) {
  CHECK(vocab_size >= min_vocab_size, "a byte-level vocabulary has at least {} tokens, not {}",
        min_vocab_size, vocab_size);
  std::vector<std::string> tokens;
  for (const std::uint8_t byte : gpt2_byte_order()) {
    tokens.emplace_back(1, static_cast<char>(byte));
  }
  std::vector<Merge> merges;
  std::unordered_map<std::string, std::uint32_t> ids;  // of the merged tokens
  Trainer trainer(pieces);
  while (tokens.size() + 1 < vocab_size) {
    const auto [pair, count] = trainer.most_frequent();
    if (count < 2) break;
    // Two merges may join to the same bytes: one token for both.
    const auto [entry, is_new] = ids.emplace(tokens[pair.first] + tokens[pair.second],
                                             static_cast<std::uint32_t>(tokens.size()));
    if (is_new) tokens.push_back(entry->first);
    const std::uint32_t result = entry->second;
    trainer.merge(pair, result);
    merges.push_back({pair.first, pair.second, result});
    if (on_merge) on_merge(static_cast<std::uint32_t>(tokens.size()));
  }
  tokens.emplace_back(end_of_text_name);
  const auto end_of_text = static_cast<std::uint32_t>(tokens.size() - 1);
  return Tokenizer({.tokens = std::move(tokens),
                    .merges = std::move(merges),
                    .end_of_text = end_of_text,
                    .split = split});
}

}  // namespace dualpath
