#include "model/parameter_slices.h"

#include <algorithm>

namespace dualpath {

namespace {

// The parts of all parameters within an interval of the flat buffers; `data` holds its elements.
void add_slices(std::vector<TensorSlice>& slices, const ParameterStore& parameters,
                const std::string& group, Interval interval, Tensor data) {
  for (int i = 0; i < static_cast<int>(parameters.specs().size()); ++i) {
    const ParameterSpec& spec = parameters.specs()[static_cast<std::size_t>(i)];
    const Tensor value = parameters.value({i});
    const std::int64_t offset = parameters.offset({i});
    const std::int64_t begin = std::max(interval.begin, offset);
    const std::int64_t end = std::min(interval.end, offset + value.numel());
    if (begin >= end) continue;
    // Where flat element 0 would stand within the whole tensor.
    const std::int64_t shift = parameters.local_rows({i}).begin * value.cols() - offset;
    slices.push_back({group + "/" + spec.name, data.dtype, spec.shape, begin + shift, end + shift,
                      data.slice(begin - interval.begin, end - interval.begin).data});
  }
}

void add_values(std::vector<TensorSlice>& slices, const ParameterStore& parameters,
                const ParameterRegion& region, Interval interval) {
  add_slices(slices, parameters, "parameters", interval, parameters.values_of(region, interval));
}

template <class IntervalOf>
std::vector<TensorSlice> state_of(const ParameterStore& parameters, const AdamW& optimizer,
                                  IntervalOf interval_of) {
  std::vector<TensorSlice> slices;
  for (std::size_t r = 0; r < parameters.regions().size(); ++r) {
    const Interval interval = interval_of(parameters.regions()[r]);
    add_values(slices, parameters, parameters.regions()[r], interval);
    add_slices(slices, parameters, "adam_m", interval, optimizer.first_moment(r, interval));
    add_slices(slices, parameters, "adam_v", interval, optimizer.second_moment(r, interval));
  }
  return slices;
}

}  // namespace

std::vector<TensorSlice> weights_of(const ParameterStore& parameters) {
  std::vector<TensorSlice> slices;
  for (const ParameterRegion& region : parameters.regions())
    add_values(slices, parameters, region, region.resident);
  return slices;
}

std::vector<TensorSlice> owned_weights(const ParameterStore& parameters) {
  std::vector<TensorSlice> slices;
  for (const ParameterRegion& region : parameters.regions())
    add_values(slices, parameters, region, region.shard);
  return slices;
}

std::vector<TensorSlice> owned_gradients(const ParameterStore& parameters) {
  std::vector<TensorSlice> slices;
  for (const ParameterRegion& region : parameters.regions()) {
    const Interval shard = region.shard;
    add_slices(slices, parameters, "gradients", shard,
               parameters.flat_gradients().slice(shard.begin, shard.end));
  }
  return slices;
}

std::vector<TensorSlice> owned_state(const ParameterStore& parameters, const AdamW& optimizer) {
  return state_of(parameters, optimizer, [](const ParameterRegion& r) { return r.shard; });
}

std::vector<TensorSlice> updated_state(const ParameterStore& parameters, const AdamW& optimizer) {
  return state_of(parameters, optimizer,
                  [&](const ParameterRegion& r) { return optimizer.own(r); });
}

}  // namespace dualpath
