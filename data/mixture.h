// Mixture: which of several corpora each training sample comes from.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace dualpath {

// Deals the samples 0, 1, 2, ... out to corpora in given proportions. The corpora are the leaves of
// a balanced binary tree. A node with left share p gives floor(m·p) of its first m samples to its
// left child, the rest to its right one; sample m goes left if that count rises from m to m+1.
// So of the first m samples corpus c gets m·share(c) to within the depth of the tree, for every m:
// proportions hold in every stretch, without randomness or state, at O(log corpora) a sample.
class Mixture {
 public:
  // weights: positive, of any sum.
  explicit Mixture(std::span<const double> weights);

  struct Pick {
    std::size_t corpus;
    std::uint64_t ordinal;  // how many samples before this one came from the same corpus
  };
  Pick pick(std::uint64_t sample) const;
  double share(std::size_t corpus) const { return shares_[corpus]; }
  int depth() const;  // ceil(log2 corpora)

 private:
  double set_splits(std::span<const double> weights, std::size_t begin, std::size_t end);
  std::vector<double> shares_;  // sum 1
  // The node whose children meet at corpus i has the left share left_[i] / 2^64.
  std::vector<std::uint64_t> left_;
};

}  // namespace dualpath
