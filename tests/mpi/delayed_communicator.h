// A communicator whose tensor operations take longer, so that tests find what does not wait.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "parallel/communicator.h"

namespace dualpath {

// Every tensor operation sleeps before it begins, on its stream. Groups split from this do too.
class DelayedCommunicator final : public Communicator {
 public:
  DelayedCommunicator(std::unique_ptr<Communicator> ranks, std::chrono::microseconds delay)
      : Communicator(ranks->name(), ranks->rank(), ranks->size()),
        ranks_(std::move(ranks)),
        delay_(delay) {}

  std::vector<std::string> all_gather(const std::string& message) override {
    return ranks_->all_gather(message);
  }
  std::string broadcast(const std::string& message, int root) override {
    return ranks_->broadcast(message, root);
  }
  void barrier() override { ranks_->barrier(); }
  std::unique_ptr<Communicator> split(int color, int key, const std::string& name) override {
    return std::make_unique<DelayedCommunicator>(ranks_->split(color, key, name), delay_);
  }

 private:
  void start_all_reduce(Tensor data, Reduce reduce, Stream& stream) override {
    sleep(stream);
    ranks_->all_reduce(data, reduce, stream);
  }
  void start_all_gather(Tensor whole, Tensor part, Stream& stream) override {
    sleep(stream);
    ranks_->all_gather(whole, part, stream);
  }
  void start_reduce_scatter(Tensor part, Tensor whole, Stream& stream) override {
    sleep(stream);
    ranks_->reduce_scatter(part, whole, stream);
  }
  void start_broadcast(Tensor data, int root, Stream& stream) override {
    sleep(stream);
    ranks_->broadcast(data, root, stream);
  }
  void start_exchange(std::span<const Transfer> transfers, Stream& stream) override {
    sleep(stream);
    ranks_->exchange(transfers, stream);
  }

  void sleep(Stream& stream) const {
    stream.run([delay = delay_] { std::this_thread::sleep_for(delay); });
  }

  std::unique_ptr<Communicator> ranks_;
  std::chrono::microseconds delay_;
};

}  // namespace dualpath
