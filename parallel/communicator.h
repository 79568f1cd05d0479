// Communicator: collective operations among a group of ranks. Tensor operations are issued on a
// stream, in the same order on all ranks; host operations block. With one rank all are no-ops.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/device.h"
#include "core/tensor.h"

namespace dualpath {

enum class Reduce { sum, max, min };

class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  // data = reduction of data over all ranks, in place. Deterministic for a given group size.
  virtual void all_reduce(Tensor data, Reduce reduce, Stream& stream) = 0;
  // data = root's data.
  virtual void broadcast(Tensor data, int root, Stream& stream) = 0;

  // Every rank's message, by rank. Collective, host, blocking.
  virtual std::vector<std::string> all_gather(const std::string& message) = 0;
  // Root's message. Collective, host, blocking.
  virtual std::string broadcast(const std::string& message, int root) = 0;
  virtual void barrier() = 0;

  // The ranks of one color form a new group, ordered by key, then by rank. Collective.
  virtual std::unique_ptr<Communicator> split(int color, int key) = 0;
};

// A group of one.
std::unique_ptr<Communicator> make_self_communicator();

}  // namespace dualpath
