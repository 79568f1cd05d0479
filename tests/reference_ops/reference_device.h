// A device of the tests: host memory and the naive fp64 operations, everything synchronous.
#pragma once

#include <memory>
#include <string>

#include "core/device/device.h"

namespace dualpath {

class ReferenceDevice : public Device {
 public:
  std::string name() const override { return "fp64 reference"; }
  void require(const NumericTypes& types) const override;
  Buffer allocate(std::size_t bytes) override;
  std::size_t num_allocations() const override { return num_allocations_; }
  bool is_host_memory() const override { return true; }
  Buffer allocate_host(std::size_t bytes) override { return allocate(bytes); }
  std::unique_ptr<Stream> make_stream() override;
  std::unique_ptr<Stream> make_threaded_stream() override;
  std::unique_ptr<Ops> make_ops(Stream& stream) override;
  void copy_to_device(Tensor dst, const void* host, Stream& stream) override;
  void copy_to_host(void* host, Tensor src, Stream& stream) override;

 private:
  std::size_t num_allocations_ = 0;
};

}  // namespace dualpath
