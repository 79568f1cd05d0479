// Host access to the elements of tensor slices: in place, or piece by piece through a staging
// buffer where the host cannot read the device's memory. Blocking.
#pragma once

#include <cstdint>
#include <functional>

#include "core/base/tensor_slice.h"
#include "core/device/device.h"

namespace dualpath {

class SliceAccess {
 public:
  // Elements [first, first + count) of a slice, 0 its first one.
  using Reader = std::function<void(std::int64_t first, std::int64_t count, const void* elements)>;
  using Writer = std::function<void(std::int64_t first, std::int64_t count, void* elements)>;

  // Slices in host memory that no stream is working on.
  SliceAccess() = default;
  // Slices in the device's memory, after the work that has been issued on the stream. Both outlive
  // this.
  SliceAccess(Device& device, Stream& stream);

  // Hands all elements to the reader, pieces in ascending order.
  void read(const TensorSlice& slice, const Reader& reader) const;
  // Elements [begin, end) become what the writer writes, pieces in ascending order.
  void write(const TensorSlice& slice, std::int64_t begin, std::int64_t end,
             const Writer& writer) const;

 private:
  Device* device_ = nullptr;
  Stream* stream_ = nullptr;
  Buffer staging_;  // host memory; empty where the slices are in host memory
};

}  // namespace dualpath
