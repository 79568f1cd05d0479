// Streams that are being captured: their work goes into a graph instead of being done.
#pragma once

#include <atomic>
#include <driver_types.h>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
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

// What of a capture can be refused for no reason. unseen_work: the call succeeds, and spoils the
// capture all the same, as a library's may.
enum class CaptureCall { begin, work, unseen_work, end, instantiate, upload };

// What is refused throws Refusal, and spoils the capture: it goes on, but makes no graph.
class Captures {
 public:
  void begin(const Scheduler::Stream& stream, cudaStreamCaptureMode mode);
  std::shared_ptr<const Graph> end(const Scheduler::Stream& stream);

  // Once: the call after `before` others of its kind.
  void refuse(CaptureCall call, int before);
  // Throws if it is this one. Work and its capture's end are looked after by add() and end().
  void meet(CaptureCall call);
  int num_pieces() const { return num_pieces_; }  // of work that was captured

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
  bool is_due(CaptureCall call);

  mutable std::mutex mutex_;
  std::optional<std::pair<CaptureCall, int>> refused_;  // and the calls before it
  std::atomic<int> num_pieces_ = 0;
  std::map<const Scheduler::Stream*, Capture> captures_;
};

}  // namespace dualpath::fake_cuda
