// A device that reports every operation to an observer. With it `dualpath bench` and `plan` see
// into a training step that knows nothing of them.
#pragma once

#include "core/device/kernel_call.h"

namespace dualpath {

class ObservedDevice final : public Device {
 public:
  // `device` outlives this and all that it makes.
  explicit ObservedDevice(Device& device) : device_(device) {}

  // Null: calls go straight through. The observer outlives its use.
  void observe(KernelObserver* observer) { observer_ = observer; }

  std::string name() const override { return device_.name(); }
  void require(const NumericTypes& types) const override { device_.require(types); }
  Buffer allocate(std::size_t bytes) override { return device_.allocate(bytes); }
  std::size_t num_allocations() const override { return device_.num_allocations(); }
  bool is_host_memory() const override { return device_.is_host_memory(); }
  std::optional<DeviceMemory> memory() const override { return device_.memory(); }
  Buffer allocate_host(std::size_t bytes) override { return device_.allocate_host(bytes); }
  std::unique_ptr<Stream> make_stream() override { return device_.make_stream(); }
  std::unique_ptr<Stream> make_threaded_stream() override { return device_.make_threaded_stream(); }
  std::unique_ptr<Ops> make_ops(Stream& stream) override;
  // Records and replays nothing while there is an observer.
  std::unique_ptr<WorkRecorder> make_recorder(Stream& stream) override;
  std::unique_ptr<Stopwatch> make_stopwatch(Stream& stream) override {
    return device_.make_stopwatch(stream);
  }
  void copy_to_device(Tensor dst, const void* host, Stream& stream) override {
    device_.copy_to_device(dst, host, stream);
  }
  void copy_to_host(void* host, Tensor src, Stream& stream) override {
    device_.copy_to_host(host, src, stream);
  }

 private:
  Device& device_;
  KernelObserver* observer_ = nullptr;
};

}  // namespace dualpath
