// ForwardingDevice: another device under all its functions, for tests that change one of them.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "core/device/device.h"
#include "core/ops/ops.h"

namespace dualpath {

class ForwardingDevice : public Device {
 public:
  explicit ForwardingDevice(std::unique_ptr<Device> device) : device_(std::move(device)) {}

  std::string name() const override { return device_->name(); }
  void require(const NumericTypes& types) const override { device_->require(types); }
  Buffer allocate(std::size_t bytes) override { return device_->allocate(bytes); }
  std::size_t num_allocations() const override { return device_->num_allocations(); }
  bool is_host_memory() const override { return device_->is_host_memory(); }
  Buffer allocate_host(std::size_t bytes) override { return device_->allocate_host(bytes); }
  std::unique_ptr<Stream> make_stream() override { return device_->make_stream(); }
  std::unique_ptr<Stream> make_threaded_stream() override {
    return device_->make_threaded_stream();
  }
  std::unique_ptr<Ops> make_ops(Stream& stream) override { return device_->make_ops(stream); }
  std::unique_ptr<WorkRecorder> make_recorder(Stream& stream) override {
    return device_->make_recorder(stream);
  }
  void copy_to_device(Tensor dst, const void* host, Stream& stream) override {
    device_->copy_to_device(dst, host, stream);
  }
  void copy_to_host(void* host, Tensor src, Stream& stream) override {
    device_->copy_to_host(host, src, stream);
  }

 protected:
  Device& device() { return *device_; }

 private:
  std::unique_ptr<Device> device_;
};

}  // namespace dualpath
