// A device whose kernels are those of core/cuda, run by the emulator in host memory.
#pragma once

#include <cstdint>

#include "tests/reference_ops/reference_device.h"

namespace dualpath {

class EmulatedDevice final : public ReferenceDevice {
 public:
  // seed: of the order in which threads and blocks run. multiprocessors: how large a full grid is.
  explicit EmulatedDevice(std::uint64_t seed, int multiprocessors = 3)
      : seed_(seed), multiprocessors_(multiprocessors) {}

  std::string name() const override { return "emulated GPU"; }
  void require(const NumericTypes& types) const override;
  std::unique_ptr<Ops> make_ops(Stream& stream) override;

 private:
  std::uint64_t seed_;
  int multiprocessors_;
};

}  // namespace dualpath
