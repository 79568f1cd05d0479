// Communicator: collective operations among a group of ranks. All ranks of a group issue the same
// operations in the same order. A tensor operation runs as work of the stream it is given: its
// tensors must outlive that work. Operations of one communicator do not overlap with one another.
// Host operations block.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/base/tensor.h"
#include "core/device/device.h"

namespace dualpath {

enum class Reduce { sum, max, min };

enum class Collective { all_reduce, all_gather, reduce_scatter, broadcast, exchange };
inline constexpr int num_collectives = 5;
const char* name_of(Collective kind);  // "all_reduce"

// One message of an exchange: to or from `peer`, another rank of the group.
struct Transfer {
  Tensor data;
  int peer = 0;
  bool send = false;
};

// What a rank has issued: calls, and the least bytes that it must send for them. With n ranks, a
// call sends
//   all_reduce                    2 (n-1)/n of the tensor's bytes, rounded up
//   all_gather, reduce_scatter    n-1 times the part's bytes
//   broadcast                     the tensor's bytes
//   exchange                      the bytes of the tensors it sends
// and nothing where n = 1.
struct Traffic {
  struct Count {
    std::int64_t calls = 0;
    std::int64_t bytes = 0;
    bool operator==(const Count&) const = default;
  };
  Count& operator[](Collective kind) { return counts[static_cast<std::size_t>(kind)]; }
  const Count& operator[](Collective kind) const { return counts[static_cast<std::size_t>(kind)]; }
  // Calls of n ranks, each on a tensor (all_gather, reduce_scatter: part; exchange: sends) of
  // `bytes`.
  void add(Collective kind, std::int64_t bytes, int ranks, std::int64_t calls = 1);
  Traffic& operator+=(const Traffic& more);
  Traffic& operator-=(const Traffic& earlier);
  std::int64_t total_bytes() const;
  bool operator==(const Traffic&) const = default;

  std::array<Count, num_collectives> counts;
};

class Communicator {
 public:
  static constexpr std::size_t max_transfers = 8;

  Communicator(std::string name, int rank, int size);
  virtual ~Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  const std::string& name() const { return name_; }  // of the group: "world", "tensor"
  int rank() const { return rank_; }
  int size() const { return size_; }

  // Every rank gives tensors of the same type and shape. Results have the same bits each time, with
  // the same ranks, the same version of the backend, and equal machines.

  // data = reduction of data over all ranks. f32, f64 or i32.
  void all_reduce(Tensor data, Reduce reduce, Stream& stream);
  // whole = the ranks' parts in order of rank, so whole has size() times the elements of part.
  // part may be this rank's own place in whole.
  void all_gather(Tensor whole, Tensor part, Stream& stream);
  // part = piece rank() of size() of the sum of whole over all ranks; in host memory added in order
  // of rank. f32, f64 or i32. part may be this rank's own place in whole.
  void reduce_scatter(Tensor part, Tensor whole, Stream& stream);
  // data = root's data.
  void broadcast(Tensor data, int root, Stream& stream);
  // At most max_transfers messages, all in flight at once. Messages from one rank to another match
  // in order of issue and have equal sizes. Only the ranks of a message take part.
  void exchange(std::span<const Transfer> transfers, Stream& stream);

  const Traffic& traffic() const { return traffic_; }
  // Time inside tensor operations that have ended, waiting for other ranks included.
  virtual double busy_ms() { return static_cast<double>(busy_ns_) * 1e-6; }

  // A stream for operations on tensors of `device` that overlap with its kernels. Issuing on it
  // does not block the host.
  virtual std::unique_ptr<Stream> make_stream_beside(Device& device) const {
    return device.make_threaded_stream();
  }

  // Every rank's message, by rank. Collective, host, blocking.
  virtual std::vector<std::string> all_gather(const std::string& message) = 0;
  // Root's message. Collective, host, blocking.
  virtual std::string broadcast(const std::string& message, int root) = 0;
  virtual void barrier() = 0;

  // The ranks of one color form a new group, ordered by key, then by rank. Collective.
  virtual std::unique_ptr<Communicator> split(int color, int key, const std::string& name) = 0;

 protected:
  void check_root(int root) const;
  void add_busy_ns(std::int64_t time) { busy_ns_ += time; }

 private:
  // The operations above, their operands checked. Reductions and broadcasts have several ranks.
  virtual void start_all_reduce(Tensor data, Reduce reduce, Stream& stream) = 0;
  virtual void start_all_gather(Tensor whole, Tensor part, Stream& stream) = 0;
  virtual void start_reduce_scatter(Tensor part, Tensor whole, Stream& stream) = 0;
  virtual void start_broadcast(Tensor data, int root, Stream& stream) = 0;
  virtual void start_exchange(std::span<const Transfer> transfers, Stream& stream) = 0;

  void check_part(Tensor part, Tensor whole, Collective kind) const;

  const std::string name_;
  const int rank_;
  const int size_;
  Traffic traffic_;
  std::atomic<std::int64_t> busy_ns_ = 0;  // written by the threads of streams
};

// A group of one, in host memory.
std::unique_ptr<Communicator> make_self_communicator(const std::string& name = "self");

}  // namespace dualpath
