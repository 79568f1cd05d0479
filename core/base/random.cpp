#include "core/base/random.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <numbers>
#include <thread>
#include <vector>

#include "core/base/error.h"
#include "core/base/host_cores.h"

namespace dualpath {

namespace {

using Block = std::array<std::uint32_t, 4>;

Block philox(Block counter, std::uint64_t key) {
  auto k0 = static_cast<std::uint32_t>(key);
  auto k1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53} * counter[0];
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57} * counter[2];
    counter = {
        static_cast<std::uint32_t>(p1 >> 32) ^ counter[1] ^ k0, static_cast<std::uint32_t>(p1),
        static_cast<std::uint32_t>(p0 >> 32) ^ counter[3] ^ k1, static_cast<std::uint32_t>(p0)};
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return counter;
}

// FNV-1a, then a final mix (splitmix64): the stream's name and the seed become the key.
std::uint64_t key_of(std::uint64_t seed, std::string_view stream) {
  std::uint64_t hash = 0xCBF29CE484222325;
  for (char c : stream) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  hash += seed * 0x9E3779B97F4A7C15;
  hash = (hash ^ (hash >> 30)) * 0xBF58476D1CE4E5B9;
  hash = (hash ^ (hash >> 27)) * 0x94D049BB133111EB;
  return hash ^ (hash >> 31);
}

constexpr double two_to_minus_53 = 0x1p-53;

template <class T>
void fill_normal(const CounterRng& rng, std::span<T> out, std::uint64_t begin, double mean,
                 double stddev) {
  // Index i is half (i & 1) of the Box-Muller pair i / 2.
  for (std::size_t i = 0; i < out.size();) {
    const std::uint64_t index = begin + i;
    const std::uint64_t pair = index / 2;
    const double radius = std::sqrt(-2 * std::log(1 - rng.uniform(2 * pair)));
    const double angle = 2 * std::numbers::pi * rng.uniform(2 * pair + 1);
    if (index % 2 == 0) {
      out[i++] = static_cast<T>(mean + stddev * radius * std::cos(angle));
      if (i == out.size()) break;
    }
    out[i++] = static_cast<T>(mean + stddev * radius * std::sin(angle));
  }
}

template <class T>
void fill_uniform(const CounterRng& rng, std::span<T> out, std::uint64_t begin, double low,
                  double high) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = static_cast<T>(low + (high - low) * rng.uniform(begin + i));
  }
}

// fill(part, index of its first number) for the parts of `out`, each on a thread of its own where
// there are enough numbers.
template <class T, class Fill>
void on_all_cores(std::span<T> out, std::uint64_t begin, const Fill& fill) {
  constexpr std::size_t least = 1 << 14;  // numbers that are worth a thread
  std::size_t part = out.size();
  if (part > least) part = std::max(least, (part - 1) / static_cast<std::size_t>(own_cores()) + 1);
  std::vector<std::jthread> threads;
  for (std::size_t i = part; i < out.size(); i += part)
    threads.emplace_back(fill, out.subspan(i, std::min(part, out.size() - i)), begin + i);
  fill(out.first(part), begin);
}

}  // namespace

CounterRng::CounterRng(std::uint64_t seed, std::string_view stream) : key_(key_of(seed, stream)) {}

std::uint64_t CounterRng::bits(std::uint64_t index) const {
  const Block block = philox(
      {static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32), 0, 0}, key_);
  return block[0] | (std::uint64_t{block[1]} << 32);
}

double CounterRng::uniform(std::uint64_t index) const {
  return static_cast<double>(bits(index) >> 11) * two_to_minus_53;
}

std::uint64_t CounterRng::below(std::uint64_t index, std::uint64_t bound) const {
  // The high half of a 64x64 product: uniform to within bound/2^64.
  return static_cast<std::uint64_t>((static_cast<unsigned __int128>(bits(index)) * bound) >> 64);
}

void CounterRng::normal(std::span<float> out, std::uint64_t begin, double mean,
                        double stddev) const {
  on_all_cores(out, begin, [=, this](std::span<float> part, std::uint64_t first) {
    fill_normal(*this, part, first, mean, stddev);
  });
}
void CounterRng::normal(std::span<double> out, std::uint64_t begin, double mean,
                        double stddev) const {
  on_all_cores(out, begin, [=, this](std::span<double> part, std::uint64_t first) {
    fill_normal(*this, part, first, mean, stddev);
  });
}
void CounterRng::uniform(std::span<float> out, std::uint64_t begin, double low, double high) const {
  fill_uniform(*this, out, begin, low, high);
}
void CounterRng::uniform(std::span<double> out, std::uint64_t begin, double low,
                         double high) const {
  fill_uniform(*this, out, begin, low, high);
}

Permutation::Permutation(std::uint64_t seed, std::string_view stream, std::uint64_t size)
    : rng_(seed, stream),
      size_(size),
      half_bits_((static_cast<int>(std::bit_width(size > 0 ? size - 1 : 0)) + 1) / 2) {
  if (half_bits_ == 0) half_bits_ = 1;
}

std::uint64_t Permutation::operator()(std::uint64_t index) const {
  CHECK(index < size_, "index {} is outside a permutation of {}", index, size_);
  const std::uint64_t mask = (std::uint64_t{1} << half_bits_) - 1;
  // Four Feistel rounds permute [0, 4^half_bits); values outside [0, size) are permuted again.
  do {
    std::uint64_t left = index >> half_bits_;
    std::uint64_t right = index & mask;
    for (std::uint64_t round = 0; round < 4; ++round) {
      const std::uint64_t mixed = left ^ (rng_.bits((round << 60) | right) & mask);
      left = right;
      right = mixed;
    }
    index = (left << half_bits_) | right;
  } while (index >= size_);
  return index;
}

}  // namespace dualpath
