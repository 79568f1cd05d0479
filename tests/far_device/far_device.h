// A device whose memory the host cannot touch and whose kernels have not run when they return, as a
// GPU's: it lends both to another device of the host. Tensors of it are addresses of pages that
// nobody may read; its kernels and copies know where the elements really are.
#pragma once

#include <map>
#include <mutex>
#include <set>

#include "core/device/device.h"
#include "tests/far_device/lazy_stream.h"

namespace dualpath {

class FarDevice final : public Device {
 public:
  // `near` computes in host memory.
  explicit FarDevice(std::unique_ptr<Device> near) : near_(std::move(near)) {}

  std::string name() const override { return "far " + near_->name(); }
  void require(const NumericTypes& types) const override { near_->require(types); }
  Buffer allocate(std::size_t bytes) override;
  std::size_t num_allocations() const override { return near_->num_allocations(); }
  bool is_host_memory() const override { return false; }
  // Few bytes, so that what fills it or its cache takes no time.
  std::optional<DeviceMemory> memory() const override;
  Buffer allocate_host(std::size_t bytes) override { return near_->allocate(bytes); }
  std::unique_ptr<Stream> make_stream() override;
  std::unique_ptr<Stream> make_threaded_stream() override { return near_->make_threaded_stream(); }
  std::unique_ptr<Ops> make_ops(Stream& stream) override;
  void copy_to_device(Tensor dst, const void* host, Stream& stream) override;
  void copy_to_host(void* host, Tensor src, Stream& stream) override;

  // Where the elements are. Throws Error(internal) for what is not this device's memory.
  Tensor near(Tensor tensor) const;

 private:
  class FarStream;

  static void copy(Stream& stream, std::size_t bytes, HostTask task);
  // As a GPU that frees memory: after all work.
  void free(std::byte* far, std::size_t mapped);

  std::unique_ptr<Device> near_;
  mutable std::mutex mutex_;
  std::map<std::byte*, Buffer> elements_;  // by the address that stands for them
  std::set<LazyStream*> streams_;
  InlineStream done_at_once_;
};

}  // namespace dualpath
