// A machine with GPUs, for tests: while one lives, the functions of the CUDA runtime and of
// cuBLASLt that core/cuda calls compute on it, in host memory. Without one there is no GPU.
//
// For other libraries that work on streams (NCCL, cuDNN): work is given to enqueue(), which runs it
// on the machine's one thread, late. There it reads and writes device memory by its near addresses.
// While it runs no other work does, so it must not block for what other work of this process, or
// another rank that waits for such, has to do first: that is what poll() is for.
#pragma once

#include <atomic>
#include <cuda_runtime_api.h>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/fake_cuda/captures.h"
#include "tests/fake_cuda/handles.h"
#include "tests/fake_cuda/memory.h"
#include "tests/fake_cuda/scheduler.h"

namespace dualpath {
class EmulatedBlock;
}

namespace dualpath::fake_cuda {

class Blaslt;
class Cudnn;

struct MachineOptions {
  std::uint64_t seed = 1;  // of the order of work, and of threads in kernels
  int devices = 2;
  int multiprocessors = 3;
  std::size_t memory_bytes = std::size_t{4} << 30;  // of each device
  std::size_t shared_bytes = 227 << 10;             // of a block, at the most
  // What each algorithm of cuBLASLt takes, in the order in which the library proposes them.
  std::vector<double> product_milliseconds = {0.003, 0.001, 0.002};
  // Where there is none, loading it fails; where it has no memory, making plans does.
  enum class Cudnn { none, there, without_memory };
  Cudnn cudnn = Cudnn::none;
  // When to go on with work that nobody waits for, as a GPU does at once: the default is never. For
  // tests where another rank waits for that work.
  std::chrono::milliseconds patience = std::chrono::hours(1000);
};

struct Event {
  int device;
  bool timed;
  bool recorded = false;
  Scheduler::Ticket ticket{};
  const Scheduler::Stream* captured_on = nullptr;  // recorded last in a capture of this stream
};

class Machine {
 public:
  // REQUIRES: there is no other.
  explicit Machine(const MachineOptions& options = {});
  ~Machine();
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  // What the program made and did not destroy.
  std::vector<std::string> leaks() const;
  int num_graph_launches() const { return num_graph_launches_; }

  // The rest is for the fake libraries. A handle that is not there throws Refusal.

  static bool is_there();
  static Machine& current();
  const MachineOptions& options() const { return options_; }
  Scheduler& scheduler() { return scheduler_; }
  Memory& memory() { return memory_; }
  const Memory& memory() const { return memory_; }
  Handles<Event>& events() { return events_; }
  Handles<Scheduler::Stream*>& streams() { return streams_; }
  Captures& captures() { return captures_; }
  Handles<std::shared_ptr<const Graph>>& graphs() { return graphs_; }
  Handles<std::shared_ptr<const Graph>>& executables() { return executables_; }
  void count_graph_launch() { ++num_graph_launches_; }
  Scheduler::Stream& stream(cudaStream_t handle);  // null: the current device's default stream
  EmulatedBlock& block() { return *block_; }       // for the thread that does the work
  Blaslt& blaslt() { return *blaslt_; }
  Cudnn& cudnn() { return *cudnn_; }

  // Of dynamic shared memory that a kernel may be given on the current device.
  void declare_shared_bytes(const void* function, std::size_t bytes);
  std::size_t declared_shared_bytes(const void* function) const;  // 0 if none were

  // Done when its turn comes, or put into the graph of a stream that is being captured, to be done
  // at each launch. The work takes this long in the time that events measure.
  void enqueue(cudaStream_t stream, std::function<void()> work, double milliseconds = 0.001);
  // Called until it returns true, while the work of other streams goes on. Not in a capture.
  void poll(cudaStream_t stream, std::function<bool()> is_done);

 private:
  const MachineOptions options_;
  Memory memory_;
  Handles<Event> events_{"event"};
  Handles<Scheduler::Stream*> streams_{"stream"};
  Captures captures_;
  Handles<std::shared_ptr<const Graph>> graphs_{"graph"}, executables_{"executable graph"};
  std::atomic<int> num_graph_launches_ = 0;
  mutable std::mutex mutex_;
  std::map<std::pair<int, const void*>, std::size_t>
      shared_bytes_;  // declared, by device and kernel
  std::unique_ptr<EmulatedBlock> block_;
  std::unique_ptr<Blaslt> blaslt_;
  std::unique_ptr<Cudnn> cudnn_;
  Scheduler scheduler_;                              // its thread ends before what it works on
  std::vector<Scheduler::Stream*> default_streams_;  // by device
};

}  // namespace dualpath::fake_cuda
