#include "data/tokens/blend.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/base/error.h"

namespace dualpath {

namespace {

constexpr std::uint64_t whole = std::uint64_t{1} << 62;

// ceil(numerator / denominator); the largest number where it does not fit.
std::uint64_t ceil_divide(unsigned __int128 numerator, std::uint64_t denominator) {
  const unsigned __int128 result = (numerator + denominator - 1) / denominator;
  constexpr auto largest = std::numeric_limits<std::uint64_t>::max();
  return result > largest ? largest : static_cast<std::uint64_t>(result);
}

// The weights in units of 2^-62 of their sum, at least 1 each, the sum exact.
std::vector<std::uint64_t> shares_of(std::span<const double> weights) {
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::vector<std::uint64_t> shares;
  for (const double weight : weights) {
    const double share = std::ldexp(weight / sum, 62);
    shares.push_back(std::max<std::uint64_t>(1, static_cast<std::uint64_t>(share)));
  }
  const std::uint64_t total = std::accumulate(shares.begin(), shares.end(), std::uint64_t{0});
  *std::ranges::max_element(shares) += whole - total;  // modulo 2^64, so less is fine too
  return shares;
}

}  // namespace

Blend::Blend(std::span<const double> weights, std::span<const std::uint64_t> drawn)
    : drawn_(drawn.begin(), drawn.end()), first_(weights.size()), deadline_(weights.size()) {
  CHECK_AS(ExitCode::configuration, !weights.empty(), "no training corpora");
  for (const double weight : weights) {
    CHECK_AS(ExitCode::configuration, weight > 0 && std::isfinite(weight),
             "a corpus has weight {}; weights are positive", weight);
  }
  drawn_.resize(weights.size());
  dealt_ = std::accumulate(drawn_.begin(), drawn_.end(), std::uint64_t{0});
  share_ = shares_of(weights);
  for (std::size_t corpus = 0; corpus < weights.size(); ++corpus) schedule(corpus);
}

double Blend::share(std::size_t corpus) const {
  return static_cast<double>(share_[corpus]) / static_cast<double>(whole);
}

void Blend::schedule(std::size_t corpus) {
  if (share_.size() == 1) return;
  const std::uint64_t delta = whole / (2 * share_.size() - 2);
  const unsigned __int128 dealt = static_cast<unsigned __int128>(drawn_[corpus]) * whole;
  first_[corpus] = ceil_divide(dealt + delta, share_[corpus]);
  deadline_[corpus] = ceil_divide(dealt + whole - delta, share_[corpus]);
}

std::size_t Blend::next() {
  ++dealt_;
  std::size_t chosen = 0;
  std::uint64_t earliest = std::numeric_limits<std::uint64_t>::max();
  for (std::size_t corpus = 0; corpus < share_.size(); ++corpus) {
    if (first_[corpus] > dealt_ || deadline_[corpus] >= earliest) continue;
    chosen = corpus;
    earliest = deadline_[corpus];
  }
  ++drawn_[chosen];
  schedule(chosen);
  return chosen;
}

}  // namespace dualpath
