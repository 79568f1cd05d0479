#include "core/cuda/runtime/cuda_stopwatch.h"

#include "core/cuda/runtime/cuda_check.h"

namespace dualpath {

CudaStopwatch::~CudaStopwatch() {
  for (cudaEvent_t event : events_) cudaEventDestroy(event);
}

void CudaStopwatch::mark() {
  if (num_marks_ == events_.size()) {
    CUDA_CHECK(cudaSetDevice(device_));
    cudaEvent_t event = nullptr;
    CUDA_CHECK(cudaEventCreate(&event));
    events_.push_back(event);
  }
  CUDA_CHECK(cudaEventRecord(events_[num_marks_++], stream_.handle()));
}

std::vector<double> CudaStopwatch::take() {
  std::vector<double> seconds;
  if (num_marks_ > 0) CUDA_CHECK(cudaEventSynchronize(events_[num_marks_ - 1]));
  for (std::size_t i = 1; i < num_marks_; ++i) {
    float milliseconds = 0;
    CUDA_CHECK(cudaEventElapsedTime(&milliseconds, events_[i - 1], events_[i]));
    seconds.push_back(1e-3 * static_cast<double>(milliseconds));
  }
  num_marks_ = 0;
  return seconds;
}

}  // namespace dualpath
