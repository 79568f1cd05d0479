// Streams that are being captured: their work goes into a graph instead of being done.
#pragma once

#include <driver_types.h>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/fake_cuda/scheduler.h"

namespace dualpath::fake_cuda {

// The work of one stream, in its order: captures that fork into other streams are not imitated.
struct Graph {
  struct Piece {
    std::function<void()> work;
    double milliseconds;
  };
  int device;
  std::vector<Piece> pieces;
};

// What is refused throws Refusal, and spoils the capture: it goes on, but makes no graph.
class Captures {
 public:
  void begin(const Scheduler::Stream& stream, cudaStreamCaptureMode mode);
  std::shared_ptr<const Graph> end(const Scheduler::Stream& stream);

  bool is_capturing(const Scheduler::Stream& stream) const;
  // REQUIRES: is_capturing(stream).
  void add(const Scheduler::Stream& stream, Graph::Piece piece);
  // A call that has no place in a graph.
  void refuse_in(const Scheduler::Stream& stream, cudaError_t error, const std::string& why);
  // What waits, or allocates, beside the graph: not for a thread that captures, nor for any while a
  // capture is global.
  void refuse_beside(const std::string& call);

 private:
  struct Capture {
    std::thread::id thread;
    cudaStreamCaptureMode mode;
    Graph graph;
    bool spoilt = false;
  };
  mutable std::mutex mutex_;
  std::map<const Scheduler::Stream*, Capture> captures_;
};

}  // namespace dualpath::fake_cuda
