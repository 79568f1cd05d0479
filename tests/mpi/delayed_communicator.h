// Communicators that do something before each tensor operation, so that tests find what does not
// wait, or waits too early.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "parallel/layered_communicator.h"

namespace dualpath {

// Passes everything on to another one.
class ForwardingCommunicator : public LayeredCommunicator {
 public:
  explicit ForwardingCommunicator(std::unique_ptr<Communicator> ranks)
      : LayeredCommunicator(*ranks) {
    own(std::move(ranks));
  }

 private:
  // Issued on the stream before each tensor operation.
  virtual void before(Stream& stream) = 0;

  void start_all_reduce(Tensor data, Reduce reduce, Stream& stream) override {
    before(stream);
    base().all_reduce(data, reduce, stream);
  }
  void start_all_gather(Tensor whole, Tensor part, Stream& stream) override {
    before(stream);
    base().all_gather(whole, part, stream);
  }
  void start_reduce_scatter(Tensor part, Tensor whole, Stream& stream) override {
    before(stream);
    base().reduce_scatter(part, whole, stream);
  }
  void start_broadcast(Tensor data, int root, Stream& stream) override {
    before(stream);
    base().broadcast(data, root, stream);
  }
  void start_exchange(std::span<const Transfer> transfers, Stream& stream) override {
    before(stream);
    base().exchange(transfers, stream);
  }
};

// Every tensor operation sleeps before it begins; of all groups split from this, or of those of
// one name.
class DelayedCommunicator final : public ForwardingCommunicator {
 public:
  DelayedCommunicator(std::unique_ptr<Communicator> ranks, std::chrono::microseconds delay,
                      std::string only = "")
      : ForwardingCommunicator(std::move(ranks)), delay_(delay), only_(std::move(only)) {}

  std::unique_ptr<Communicator> split(int color, int key, const std::string& name) override {
    return std::make_unique<DelayedCommunicator>(base().split(color, key, name), delay_, only_);
  }

 private:
  void before(Stream& stream) override {
    if (!only_.empty() && name() != only_) return;
    stream.run([delay = delay_] { std::this_thread::sleep_for(delay); });
  }

  std::chrono::microseconds delay_;
  std::string only_;
};

}  // namespace dualpath
