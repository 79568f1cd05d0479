// What kernels and the choice of algorithms want to know of a GPU.
#pragma once

#include <cstddef>
#include <string>

namespace dualpath {

struct GpuProperties {
  std::string model;
  int multiprocessors = 1;
  std::size_t shared_bytes = 48 << 10;  // that a block can be given at the most
  std::size_t cache_bytes = 0;
};

}  // namespace dualpath
