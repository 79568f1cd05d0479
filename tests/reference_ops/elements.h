// Element access shared by the reference kernels. Token rows lie one after another: row t of x_TD
// begins at x + t·D.
#pragma once

#include <cstdint>

#include "core/base/tensor.h"

namespace dualpath {

// The elements of an f64 tensor as scalars S; null for an absent one.
template <class S>
S* elements(Tensor tensor) {
  return reinterpret_cast<S*>(tensor.as<double>());
}

template <class S>
S* optional_elements(Tensor tensor) {
  return tensor.empty() ? nullptr : elements<S>(tensor);
}

}  // namespace dualpath
