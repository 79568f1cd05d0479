#include "tests/reference_ops/reference_device.h"

#include <cstdlib>
#include <cstring>

#include "core/device/threaded_stream.h"
#include "tests/reference_ops/reference_ops.h"

namespace dualpath {
namespace {

void copy(void* to, const void* from, std::size_t bytes, Stream& stream) {
  if (bytes > 0) stream.run([=] { std::memcpy(to, from, bytes); });
}

}  // namespace

void ReferenceDevice::require(const NumericTypes& types) const {
  for (const DType type : {types.master, types.stream, types.operand}) {
    CHECK(type == DType::f64, "the reference computes in f64, not {}", name_of(type));
  }
}

Buffer ReferenceDevice::allocate(std::size_t bytes) {
  constexpr std::size_t alignment = 4096;
  const std::size_t whole = (bytes + alignment - 1) / alignment * alignment;
  void* data = std::aligned_alloc(alignment, whole);
  CHECK_AS(ExitCode::configuration, data != nullptr || whole == 0, "no memory for {} bytes", bytes);
  if (data != nullptr) std::memset(data, 0, whole);
  ++num_allocations_;
  return Buffer(data, bytes, [](void* memory, std::size_t) { std::free(memory); });
}

std::unique_ptr<Stream> ReferenceDevice::make_stream() {
  return std::make_unique<InlineStream>();
}

std::unique_ptr<Stream> ReferenceDevice::make_threaded_stream() {
  return std::make_unique<ThreadedStream>();
}

std::unique_ptr<Ops> ReferenceDevice::make_ops(Stream&) {
  return std::make_unique<ReferenceOps>();
}

void ReferenceDevice::copy_to_device(Tensor dst, const void* host, Stream& stream) {
  copy(dst.data, host, dst.bytes(), stream);
}

void ReferenceDevice::copy_to_host(void* host, Tensor src, Stream& stream) {
  copy(host, src.data, src.bytes(), stream);
}

}  // namespace dualpath
