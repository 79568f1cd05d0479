// An int as the index of a container.
#pragma once

#include <cstddef>

namespace dualpath {

inline std::size_t at(int index) {
  return static_cast<std::size_t>(index);
}

}  // namespace dualpath
