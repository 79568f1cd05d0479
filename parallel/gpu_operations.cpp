#include "parallel/gpu_operations.h"

#include "core/cuda/runtime/cuda_check.h"

namespace dualpath {

GpuOperations::GpuOperations(OperationsUnderWay& all, const std::string& group, int gpu)
    : all_(all), group_(group), gpu_(gpu) {
  CUDA_CHECK(cudaSetDevice(gpu_));
  for (Slot& slot : slots_) {
    for (cudaEvent_t* event : {&slot.begun, &slot.ended})
      CUDA_CHECK(cudaEventCreateWithFlags(event, cudaEventBlockingSync));
  }
}

GpuOperations::~GpuOperations() {
  for (const Slot& slot : slots_) {
    cudaEventDestroy(slot.begun);
    cudaEventDestroy(slot.ended);
  }
}

void GpuOperations::begin(const char* kind, std::int64_t bytes, CudaStream& stream) {
  CUDA_CHECK(cudaSetDevice(gpu_));
  Slot& own = slot(num_issued_);
  if (is_full()) {
    CUDA_CHECK(cudaEventSynchronize(own.ended));  // of the operation `capacity` ago
    retire();
  }
  own.entry.emplace(all_, group_, kind, bytes, false);
  CUDA_CHECK(cudaEventRecord(own.begun, stream.handle()));
}

bool GpuOperations::is_full() const {
  const std::lock_guard lock(mutex_);
  return num_issued_ - num_retired_ == capacity;
}

void GpuOperations::end(CudaStream& stream) {
  CUDA_CHECK(cudaEventRecord(slot(num_issued_).ended, stream.handle()));
  const std::lock_guard lock(mutex_);
  ++num_issued_;
}

// GPU errors are reported to the waiter.
void GpuOperations::retire() {
  const std::lock_guard lock(mutex_);
  cudaSetDevice(gpu_);
  while (num_retired_ < num_issued_) {
    Slot& oldest = slot(num_retired_);
    float ms = 0;
    if (cudaEventQuery(oldest.ended) != cudaSuccess ||
        cudaEventElapsedTime(&ms, oldest.begun, oldest.ended) != cudaSuccess) {
      cudaGetLastError();  // "not ready" is remembered as an error too
      return;
    }
    busy_ms_ += ms;
    oldest.entry.reset();
    ++num_retired_;
  }
}

double GpuOperations::busy_ms() const {
  const std::lock_guard lock(mutex_);
  return busy_ms_;
}

}  // namespace dualpath
