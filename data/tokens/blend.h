// Blend: which of several corpora the next training sample comes from.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace dualpath {

// Deals samples out to corpora in given shares. Of the first m samples, corpus c gets m·share(c) to
// within less than 1, for every m and any number of corpora: Tijdeman's rule for the chairman
// assignment problem (Discrete Mathematics 32, 1980). For k corpora and δ = 1/(2k-2), the m-th
// sample may go to corpus c, which has n samples, once m·share(c) - n >= δ, and has to before
// m·share(c) - n > 1 - δ; of those it may go to, it goes to the one that has to have it first.
// In integers once the shares are taken from the weights, so that every machine deals alike,
// however long the run.
class Blend {
 public:
  // weights: positive, of any sum. drawn: what each corpus has been dealt by this blend already;
  // empty: nothing. Throws Error(configuration).
  explicit Blend(std::span<const double> weights, std::span<const std::uint64_t> drawn = {});

  std::size_t next();  // the corpus of the next sample
  std::span<const std::uint64_t> drawn() const { return drawn_; }
  double share(std::size_t corpus) const;  // sum 1

 private:
  void schedule(std::size_t corpus);

  std::vector<std::uint64_t> share_;  // sum 2^62
  std::vector<std::uint64_t> drawn_;
  std::uint64_t dealt_ = 0;                      // sum of drawn_
  std::vector<std::uint64_t> first_, deadline_;  // the m at which a corpus may and has to be dealt
};

}  // namespace dualpath
