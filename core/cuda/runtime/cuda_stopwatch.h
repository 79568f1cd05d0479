// Time by the GPU's own clock: the host issues on without waiting.
#pragma once

#include <vector>

#include "core/cuda/runtime/cuda_stream.h"
#include "core/device/stopwatch.h"

namespace dualpath {

class CudaStopwatch final : public Stopwatch {
 public:
  CudaStopwatch(int device, CudaStream& stream) : device_(device), stream_(stream) {}
  ~CudaStopwatch() override;
  CudaStopwatch(const CudaStopwatch&) = delete;
  CudaStopwatch& operator=(const CudaStopwatch&) = delete;

  void mark() override;
  std::vector<double> take() override;

 private:
  int device_;
  CudaStream& stream_;
  std::vector<cudaEvent_t> events_;  // made when first needed, then used again
  std::size_t num_marks_ = 0;
};

}  // namespace dualpath
