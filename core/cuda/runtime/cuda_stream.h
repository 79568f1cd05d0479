// A queue of work of one GPU; its events are CUDA events.
#pragma once

#include <array>
#include <cuda_runtime_api.h>
#include <functional>

#include "core/device/stream.h"

namespace dualpath {

// Work is issued by one thread at a time; any thread may wait.
class CudaStream final : public Stream {
 public:
  explicit CudaStream(int device);
  // What was issued still runs.
  ~CudaStream() override;
  CudaStream(const CudaStream&) = delete;
  CudaStream& operator=(const CudaStream&) = delete;

  cudaStream_t handle() const { return stream_; }
  // The handle, for launches: they need the stream's GPU to be the calling thread's.
  cudaStream_t use() const;

  Event record_event() override;
  // On the calling thread, which waits for the work issued so far: the task may block for long and
  // may use the GPU, which a function called by the driver may not.
  void run(HostTask task) override;
  using Stream::synchronize;
  void synchronize(Event event) override;

  // Copies host memory that may be changed when this returns; blocks only where copies of the
  // recent past are still under way.
  void upload(void* device_memory, const void* host, std::size_t bytes);

  // What issue() issues here, which is not done: the caller destroys the graph. Where it throws, no
  // capture is left, but CUDA's last error may be. REQUIRES: as of WorkRecorder::Issue.
  cudaGraph_t capture(const std::function<void()>& issue);

 private:
  // Event i is CUDA event i % num_events. An older one is held to have passed when the event that
  // took its place has: later, never too early.
  static constexpr std::uint64_t num_events = 256;
  static constexpr std::size_t num_slots = 8, slot_bytes = 256 << 10;

  void start_after(Event event) override;
  cudaEvent_t event_of(const Event& event) const { return events_[event.index % num_events]; }

  int device_;
  cudaStream_t stream_ = nullptr;
  std::array<cudaEvent_t, num_events> events_{};
  std::uint64_t num_recorded_ = 0;
  bool capturing_ = false;
  // Pinned memory that uploads go through, slot after slot.
  std::byte* slots_ = nullptr;
  std::array<Event, num_slots> uploaded_;
  std::size_t next_slot_ = 0;
};

}  // namespace dualpath
