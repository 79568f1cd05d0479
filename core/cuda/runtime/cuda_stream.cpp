#include "core/cuda/runtime/cuda_stream.h"

#include <algorithm>
#include <cstring>

#include "core/cuda/runtime/cuda_check.h"

namespace dualpath {

CudaStream::CudaStream(int device) : device_(device) {
  CUDA_CHECK(cudaSetDevice(device_));
  CUDA_CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
  for (cudaEvent_t& event : events_) {
    CUDA_CHECK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming | cudaEventBlockingSync));
  }
  void* slots = nullptr;
  CUDA_CHECK(cudaHostAlloc(&slots, num_slots * slot_bytes, cudaHostAllocDefault));
  slots_ = static_cast<std::byte*>(slots);
}

CudaStream::~CudaStream() {
  cudaStreamSynchronize(stream_);
  cudaFreeHost(slots_);
  for (cudaEvent_t event : events_) cudaEventDestroy(event);
  cudaStreamDestroy(stream_);
}

cudaStream_t CudaStream::use() const {
  CUDA_CHECK(cudaSetDevice(device_));
  return stream_;
}

Event CudaStream::record_event() {
  CHECK(!capturing_, "an event of a stream that is being captured");
  const Event event{this, ++num_recorded_};
  CUDA_CHECK(cudaEventRecord(event_of(event), stream_));
  return event;
}

void CudaStream::run(HostTask task) {
  synchronize();
  task();
}

void CudaStream::synchronize(Event event) {
  CUDA_CHECK(cudaSetDevice(device_));
  CUDA_CHECK(cudaEventSynchronize(event_of(event)));
}

void CudaStream::start_after(Event event) {
  if (const auto* other = dynamic_cast<const CudaStream*>(event.stream)) {
    CUDA_CHECK(cudaStreamWaitEvent(stream_, other->event_of(event), 0));
  } else {
    event.stream->synchronize(event);
  }
}

void CudaStream::upload(void* device_memory, const void* host, std::size_t bytes) {
  CHECK(!capturing_,
        "an upload on a stream that is being captured would be repeated with its bytes");
  for (std::size_t offset = 0; offset < bytes; offset += slot_bytes) {
    const std::size_t count = std::min(slot_bytes, bytes - offset);
    Event& uploaded = uploaded_[next_slot_];
    if (uploaded.stream != nullptr) synchronize(uploaded);
    std::byte* slot = slots_ + next_slot_ * slot_bytes;
    std::memcpy(slot, static_cast<const std::byte*>(host) + offset, count);
    CUDA_CHECK(cudaMemcpyAsync(static_cast<std::byte*>(device_memory) + offset, slot, count,
                               cudaMemcpyHostToDevice, stream_));
    uploaded = record_event();
    next_slot_ = (next_slot_ + 1) % num_slots;
  }
}

cudaGraph_t CudaStream::capture(const std::function<void()>& issue) {
  cudaGraph_t graph = nullptr;
  // Other threads may wait and allocate meanwhile.
  CUDA_CHECK(cudaStreamBeginCapture(use(), cudaStreamCaptureModeThreadLocal));
  capturing_ = true;
  try {
    issue();
  } catch (...) {
    capturing_ = false;
    cudaStreamEndCapture(stream_, &graph);  // a capture that was spoilt goes on until then
    if (graph != nullptr) cudaGraphDestroy(graph);
    throw;
  }
  capturing_ = false;
  CUDA_CHECK(cudaStreamEndCapture(stream_, &graph));
  return graph;
}

}  // namespace dualpath
