// From the regularisers' weights λ to what the layers add to the gradient.
#pragma once

#include "model/layer.h"

namespace dualpath {

// The means of model options are taken over `tokens` tokens and `sequences` sequences of the whole
// global batch, so that the loss does not depend on how it is split:
//   ponder   λ(E-1)/(K-1), E the mean over tokens and layers with a router (K > 1)
//   entropy  -λ·mean H(p) over tokens and dual_path layers
//   balance  λ·Σ_layers mean over sequences of (mean_{t in sequence} p - ½)²
RegularizerScales make_regularizer_scales(const RegularizerConfig& config, const ModelConfig& model,
                                          double tokens, double sequences);

}  // namespace dualpath
