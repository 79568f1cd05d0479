#include "core/device/slice_access.h"

#include <algorithm>

namespace dualpath {
namespace {

constexpr std::size_t staging_bytes = 16 << 20;

Tensor elements_of(const TensorSlice& slice, std::int64_t begin, std::int64_t end) {
  auto* data = static_cast<std::byte*>(slice.data);
  return {
      data + static_cast<std::size_t>(begin) * size_of(slice.dtype), slice.dtype, {end - begin}};
}

// body(begin, end) for the pieces of [begin, end) that fit the staging buffer.
template <class Body>
void for_each_piece(std::int64_t begin, std::int64_t end, DType dtype, const Body& body) {
  const auto piece = static_cast<std::int64_t>(staging_bytes / size_of(dtype));
  for (; begin < end; begin += piece) body(begin, std::min(begin + piece, end));
}

}  // namespace

SliceAccess::SliceAccess(Device& device, Stream& stream) : device_(&device), stream_(&stream) {
  if (!device.is_host_memory()) staging_ = device.allocate_host(staging_bytes);
}

void SliceAccess::read(const TensorSlice& slice, const Reader& reader) const {
  const std::int64_t numel = slice.end - slice.begin;
  if (stream_ != nullptr) stream_->synchronize();
  if (staging_.data() == nullptr) {
    if (numel > 0) reader(0, numel, slice.data);
    return;
  }
  for_each_piece(0, numel, slice.dtype, [&](std::int64_t begin, std::int64_t end) {
    device_->copy_to_host(staging_.data(), elements_of(slice, begin, end), *stream_);
    stream_->synchronize();
    reader(begin, end - begin, staging_.data());
  });
}

void SliceAccess::write(const TensorSlice& slice, std::int64_t begin, std::int64_t end,
                        const Writer& writer) const {
  if (stream_ != nullptr) stream_->synchronize();
  if (staging_.data() == nullptr) {
    if (begin < end) writer(begin, end - begin, elements_of(slice, begin, end).data);
    return;
  }
  for_each_piece(begin, end, slice.dtype, [&](std::int64_t from, std::int64_t to) {
    writer(from, to - from, staging_.data());
    device_->copy_to_device(elements_of(slice, from, to), staging_.data(), *stream_);
    stream_->synchronize();
  });
}

}  // namespace dualpath
