// AdamW over the flat parameters (arXiv 1711.05101), decay only where a parameter asks for it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/device.h"
#include "model/optimizer_config.h"
#include "model/parameter_store.h"

namespace dualpath {

class AdamW {
 public:
  // Allocates both moments, zero.
  AdamW(const OptimizerConfig& config, const ParameterStore& parameters, Device& device,
        Stream& stream);

  // Σ gradient² into `out` (f64, one element, =).
  void sum_of_gradient_squares(Tensor out, const ParameterStore& parameters);
  // One update; `step` counts from 1. Gradients are multiplied by gradient_scale first.
  void update(const ParameterStore& parameters, std::int64_t step, double learning_rate,
              double gradient_scale);

  // Flat, laid out as the parameters.
  Tensor first_moment() const { return moment(m_); }
  Tensor second_moment() const { return moment(v_); }

 private:
  Tensor moment(const Buffer& buffer) const { return {buffer.data(), dtype_, {flat_size_}}; }

  OptimizerConfig config_;
  DType dtype_;
  std::int64_t flat_size_;
  std::vector<ParameterRange> ranges_;
  Buffer m_;
  Buffer v_;
  std::unique_ptr<Ops> ops_;
};

// min(1, clip/norm): what brings a gradient of this global norm within `clip`; 1 where clip is 0.
double clip_scale(double gradient_norm, double clip);

}  // namespace dualpath
