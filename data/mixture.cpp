#include "data/mixture.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "core/error.h"

namespace dualpath {

namespace {

// floor(count·p / 2^64): exact, and it rises by 0 or 1 from one count to the next.
std::uint64_t scaled(std::uint64_t count, std::uint64_t p) {
  return static_cast<std::uint64_t>((static_cast<unsigned __int128>(count) * p) >> 64);
}

}  // namespace

Mixture::Mixture(std::span<const double> weights)
    : shares_(weights.begin(), weights.end()), left_(weights.size()) {
  CHECK_AS(ExitCode::configuration, !weights.empty(), "no training corpora");
  for (const double weight : weights) {
    CHECK_AS(ExitCode::configuration, weight > 0 && std::isfinite(weight),
             "a corpus has weight {}; weights are positive", weight);
  }
  const double sum = set_splits(weights, 0, weights.size());
  for (double& share : shares_) share /= sum;
}

// Sets the splits of the node of corpora [begin, end); returns the sum of its weights.
double Mixture::set_splits(std::span<const double> weights, std::size_t begin, std::size_t end) {
  if (end - begin == 1) return weights[begin];
  const std::size_t middle = (begin + end) / 2;
  const double left = set_splits(weights, begin, middle);
  const double right = set_splits(weights, middle, end);
  constexpr double largest = 0x1.fffffffffffffp63;  // below 2^64
  left_[middle] =
      static_cast<std::uint64_t>(std::min(std::ldexp(left / (left + right), 64), largest));
  return left + right;
}

int Mixture::depth() const {
  return std::bit_width(shares_.size() - 1);
}

Mixture::Pick Mixture::pick(std::uint64_t sample) const {
  std::size_t begin = 0, end = shares_.size();
  while (end - begin > 1) {
    const std::size_t middle = (begin + end) / 2;
    const std::uint64_t left = scaled(sample, left_[middle]);
    if (scaled(sample + 1, left_[middle]) > left) {
      sample = left;
      end = middle;
    } else {
      sample -= left;
      begin = middle;
    }
  }
  return {begin, sample};
}

}  // namespace dualpath
