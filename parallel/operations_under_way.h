// Operations among ranks that have begun and not ended: what a watchdog looks at.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "core/base/tracer.h"

namespace dualpath {

struct OperationDescription {
  std::uint64_t number = 0;  // operations are counted from 1 in the order in which they begin
  std::int64_t step = 0;     // training step; 0: none has begun
  std::string group;         // name of the communicator
  std::string kind;          // "all_reduce", "barrier"
  std::int64_t bytes = 0;    // of this rank's tensors or message
  std::string failure;       // what a lookout has found while this was under way
};

// Any thread may call anything here. No call waits for another rank.
class OperationsUnderWay {
 public:
  // One operation, from construction to destruction. What it is given outlives it. It is a phase
  // for the tracer where the thread that began it carries it out.
  class Operation {
   public:
    Operation(OperationsUnderWay& all, const std::string& group, const char* kind,
              std::int64_t bytes, bool is_phase = true);
    ~Operation();
    Operation(const Operation&) = delete;
    Operation& operator=(const Operation&) = delete;

   private:
    friend OperationsUnderWay;
    OperationsUnderWay& all_;
    const std::string& group_;
    const char* const kind_;
    const std::int64_t bytes_;
    const Phase phase_;
    std::uint64_t number_ = 0;
    Operation* older_ = nullptr;  // the neighbours in the list of those under way
    Operation* newer_ = nullptr;
  };

  // For operations that no thread waits for, as on a GPU. During its lifetime, every look() calls
  // `look`, on any thread. `look` ends the entries of operations that are done and returns what has
  // failed, or "". It does not wait.
  class Lookout {
   public:
    Lookout(OperationsUnderWay& all, std::function<std::string()> look);
    ~Lookout();
    Lookout(const Lookout&) = delete;
    Lookout& operator=(const Lookout&) = delete;

   private:
    friend OperationsUnderWay;
    OperationsUnderWay& all_;
    const std::function<std::string()> look_;
  };

  // Calls all lookouts; returns what the first that has found a failure says, or "".
  std::string look() const;

  // Operations found from here on are described as this step's.
  void at_step(std::int64_t step);

  std::optional<OperationDescription> oldest() const;

  // Told of all operations that begin from here on, on their threads; null: nobody. Not to be
  // called while any is under way.
  void trace(Tracer* tracer) { tracer_ = tracer; }
  Tracer* tracer() const { return tracer_; }

 private:
  mutable std::mutex mutex_;
  Tracer* tracer_ = nullptr;
  std::int64_t step_ = 0;
  std::uint64_t num_begun_ = 0;
  Operation* oldest_ = nullptr;
  Operation* newest_ = nullptr;
  mutable std::mutex lookouts_mutex_;  // taken before mutex_
  std::vector<const Lookout*> lookouts_;
};

}  // namespace dualpath
