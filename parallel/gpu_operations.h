// Bookkeeping of the operations of one group that run on streams of a GPU: which are in progress,
// and how long they take. No thread waits for them.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>

#include "core/cuda/runtime/cuda_stream.h"
#include "parallel/operations_under_way.h"

namespace dualpath {

class GpuOperations {
 public:
  // `group`, and `all`, which is notified of each operation, outlive this.
  GpuOperations(OperationsUnderWay& all, const std::string& group, int gpu);
  ~GpuOperations();
  GpuOperations(const GpuOperations&) = delete;
  GpuOperations& operator=(const GpuOperations&) = delete;

  // Starts one operation: the work that issue() puts on the stream. One thread at a time;
  // operations end in the order of issue. Waits where `capacity` operations are in progress. After
  // an exception nothing more may be issued.
  template <class Issue>
  void run(const char* kind, std::int64_t bytes, CudaStream& stream, Issue issue) {
    const Phase issuing(all_.tracer(), kind, group_);
    begin(kind, bytes, stream);
    issue();
    end(stream);
  }

  // Removes operations that have ended from the list. Any thread; does not wait.
  void retire();
  // Time of the operations that have ended so far.
  double busy_ms() const;

 private:
  static constexpr std::uint64_t capacity = 256;
  struct Slot {
    cudaEvent_t begun = nullptr, ended = nullptr;
    std::optional<OperationsUnderWay::Operation> entry;
  };

  void begin(const char* kind, std::int64_t bytes, CudaStream& stream);
  void end(CudaStream& stream);
  bool is_full() const;
  Slot& slot(std::uint64_t number) { return slots_[number % capacity]; }

  OperationsUnderWay& all_;
  const std::string& group_;
  const int gpu_;
  std::array<Slot, capacity> slots_;
  mutable std::mutex mutex_;
  std::uint64_t num_issued_ = 0, num_retired_ = 0;
  double busy_ms_ = 0;
};

}  // namespace dualpath
