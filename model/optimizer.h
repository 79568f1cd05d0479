// AdamW (arXiv 1711.05101), decay only where a parameter asks for it. With ZeRO-1 (arXiv
// 1910.02054) each rank holds the moments of, and updates, its shard of every region of the
// parameters.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/device/device.h"
#include "model/optimizer_config.h"
#include "model/parameter_store.h"

namespace dualpath {

class AdamW {
 public:
  // Allocates both moments, zero: of this rank's shards, or of all that it holds.
  AdamW(const OptimizerConfig& config, const ParameterStore& parameters, bool sharded,
        Device& device, Stream& stream);

  // out (f64, one element) += Σ gradient² over this rank's shards; over all ranks that is every
  // element once.
  void add_gradient_squares(Tensor out, const ParameterStore& parameters);
  // One update of the own part of a region (an index of ParameterStore::regions), or of all of
  // them; `step` counts from 1. Gradients are multiplied by gradient_scale first.
  void update(const ParameterStore& parameters, std::size_t region, std::int64_t step,
              double learning_rate, double gradient_scale);
  void update(const ParameterStore& parameters, std::int64_t step, double learning_rate,
              double gradient_scale);

  // What this rank updates of each region, of the flat buffers' elements.
  Interval own(const ParameterRegion& region) const { return sharded_ ? region.shard : region.all; }
  // The moments of an interval within own(region).
  Tensor first_moment(std::size_t region, Interval interval) const {
    return moment(m_, region, interval);
  }
  Tensor second_moment(std::size_t region, Interval interval) const {
    return moment(v_, region, interval);
  }
  std::size_t moment_bytes() const { return m_.bytes() + v_.bytes(); }

 private:
  struct Part {
    Interval own;
    std::int64_t offset;  // of own.begin in the moments
    std::vector<ParameterRange> ranges;
  };
  Tensor moment(const Buffer& buffer, std::size_t region, Interval interval) const;

  OptimizerConfig config_;
  bool sharded_;
  DType dtype_;
  std::vector<Part> parts_;  // by region
  std::int64_t size_ = 0;    // of each moment, elements
  Buffer m_;
  Buffer v_;
  std::unique_ptr<Ops> ops_;
};

// min(1, clip/norm): what brings a gradient of this global norm within `clip`; 1 where clip is 0.
double clip_scale(double gradient_norm, double clip);

}  // namespace dualpath
