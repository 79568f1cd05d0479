// Angles of rotary position: p·θ^(-2i/E) of position p and pair i   (arXiv 2104.09864).
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "model/config.h"

namespace dualpath {

// Row-major [P, R]: P positions, R = E/2 pairs.
template <class T>
struct RopeAngles {
  std::vector<T> cosines, sines;
};

// Of all positions of a sequence.
template <class T>
RopeAngles<T> rope_angles(const ModelConfig& config) {
  const std::int64_t half = config.head_size() / 2;
  RopeAngles<T> angles;
  for (std::int64_t p = 0; p < config.sequence_length; ++p) {
    for (std::int64_t i = 0; i < half; ++i) {
      const double exponent = -static_cast<double>(i) / static_cast<double>(half);
      const double angle = static_cast<double>(p) * std::pow(config.rope_theta, exponent);
      angles.cosines.push_back(static_cast<T>(std::cos(angle)));
      angles.sines.push_back(static_cast<T>(std::sin(angle)));
    }
  }
  return angles;
}

}  // namespace dualpath
