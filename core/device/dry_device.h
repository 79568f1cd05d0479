// A device that has no memory and computes nothing. What runs on it issues its operations with
// their shapes, and nothing happens.
#pragma once

#include "core/device/device.h"
#include "core/ops/dry_ops.h"

namespace dualpath {

class DryDevice final : public Device {
 public:
  std::string name() const override { return "dry"; }
  void require(const NumericTypes&) const override {}
  Buffer allocate(std::size_t bytes) override { return {nullptr, bytes, {}}; }
  std::size_t num_allocations() const override { return 0; }
  bool is_host_memory() const override { return true; }
  Buffer allocate_host(std::size_t bytes) override { return allocate(bytes); }
  std::unique_ptr<Stream> make_stream() override { return std::make_unique<InlineStream>(); }
  std::unique_ptr<Stream> make_threaded_stream() override { return make_stream(); }
  std::unique_ptr<Ops> make_ops(Stream&) override { return std::make_unique<DryOps>(); }
  void copy_to_device(Tensor, const void*, Stream&) override {}
  void copy_to_host(void*, Tensor, Stream&) override {}
};

}  // namespace dualpath
