// Device: memory, streams and kernels of one processor. The CPU and a GPU implement the same
// interface and live side by side in one process, so that the CPU can check the GPU.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "core/base/tensor.h"
#include "core/device/stopwatch.h"
#include "core/device/stream.h"
#include "core/device/work_recorder.h"
#include "core/ops/ops.h"

namespace dualpath {

// Owns device memory; everything else holds views. Move-only.
class Buffer {
 public:
  using Release = std::function<void(void* data, std::size_t bytes)>;
  Buffer() = default;
  Buffer(void* data, std::size_t bytes, Release release)
      : data_(data), bytes_(bytes), release_(std::move(release)) {}
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    swap(other);
    return *this;
  }
  ~Buffer() {
    if (data_ != nullptr) release_(data_, bytes_);
  }
  std::byte* data() const { return static_cast<std::byte*>(data_); }
  std::size_t bytes() const { return bytes_; }

 private:
  void swap(Buffer& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(release_, other.release_);
  }
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
  Release release_;
};

// Memory of a device that has its own, in bytes.
struct DeviceMemory {
  std::size_t total = 0;
  std::size_t used = 0;   // now, by all processes
  std::size_t cache = 0;  // the largest between it and the kernels
};

class Device {
 public:
  virtual ~Device() = default;
  virtual std::string name() const = 0;  // "cpu", with the processor's name
  // Throws Error(configuration) where the kernels do not take such numbers.
  virtual void require(const NumericTypes& types) const = 0;
  // Zeroed memory, aligned to 4096 bytes, its pages touched. Throws Error(configuration) when
  // the memory is not to be had. Allocations are counted.
  virtual Buffer allocate(std::size_t bytes) = 0;
  // How many buffers allocate() has handed out: a training step must not raise it.
  virtual std::size_t num_allocations() const = 0;
  // Whether the host reads and writes this device's tensors where they are.
  virtual bool is_host_memory() const = 0;
  // None where is_host_memory().
  virtual std::optional<DeviceMemory> memory() const { return {}; }
  // Host memory that copies to and from this device are fastest with. Errors as of allocate().
  virtual Buffer allocate_host(std::size_t bytes) = 0;
  // For kernels.
  virtual std::unique_ptr<Stream> make_stream() = 0;
  // For communication and copies that go on beside the kernels.
  virtual std::unique_ptr<Stream> make_threaded_stream() = 0;
  // Kernels that are issued on `stream`, one of make_stream(), which must outlive them.
  virtual std::unique_ptr<Ops> make_ops(Stream& stream) = 0;
  // For kernels on `stream`, which must outlive it.
  virtual std::unique_ptr<Stopwatch> make_stopwatch(Stream& stream) {
    return std::make_unique<HostStopwatch>(stream);
  }
  // For work on `stream`, one of make_stream(), which outlives it. Null: work is issued call by
  // call.
  virtual std::unique_ptr<WorkRecorder> make_recorder(Stream&) { return nullptr; }
  // Asynchronous on `stream`, of either kind; the host memory must stay as it is until the stream
  // is synchronized.
  virtual void copy_to_device(Tensor dst, const void* host, Stream& stream) = 0;
  virtual void copy_to_host(void* host, Tensor src, Stream& stream) = 0;
};

}  // namespace dualpath
