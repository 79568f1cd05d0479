// Counter-based random numbers (Philox 4x32-10, Salmon et al., SC 2011): a value is a pure function
// of (seed, stream name, index), so that any rank can make any part of a parameter.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace dualpath {

class CounterRng {
 public:
  // The same (seed, stream) always gives the same numbers.
  CounterRng(std::uint64_t seed, std::string_view stream);

  std::uint64_t bits(std::uint64_t index) const;                        // 64 uniform bits
  double uniform(std::uint64_t index) const;                            // in [0, 1)
  std::uint64_t below(std::uint64_t index, std::uint64_t bound) const;  // in [0, bound), bound > 0

  // out[i] = the value of index begin+i; Box-Muller for the normal law, many numbers on all cores.
  void normal(std::span<float> out, std::uint64_t begin, double mean, double stddev) const;
  void normal(std::span<double> out, std::uint64_t begin, double mean, double stddev) const;
  void uniform(std::span<float> out, std::uint64_t begin, double low, double high) const;
  void uniform(std::span<double> out, std::uint64_t begin, double low, double high) const;

 private:
  std::uint64_t key_;
};

// A pseudo-random permutation of [0, size): a Feistel network on the counter RNG with cycle
// walking. It needs no memory, so an epoch of any size can be shuffled.
class Permutation {
 public:
  Permutation(std::uint64_t seed, std::string_view stream, std::uint64_t size);
  std::uint64_t operator()(std::uint64_t index) const;  // index < size

 private:
  CounterRng rng_;
  std::uint64_t size_;
  int half_bits_;
};

}  // namespace dualpath
