// The communicator suite, whose tensors are the host's, for communicators of a device.
#pragma once

#include <vector>

#include "core/device/device.h"
#include "parallel/layered_communicator.h"

namespace dualpath {

// For tensors in host memory: they are copied to a device, where `ranks` moves them, and back.
class LiftedCommunicator final : public LayeredCommunicator {
 public:
  LiftedCommunicator(std::unique_ptr<Communicator> ranks, Device& device)
      : LayeredCommunicator(*ranks), device_(device), memory_(device.allocate(64 << 20)) {
    own(std::move(ranks));
  }

  std::unique_ptr<Communicator> split(int color, int key, const std::string& name) override {
    return std::make_unique<LiftedCommunicator>(base().split(color, key, name), device_);
  }

 private:
  void start_all_reduce(Tensor data, Reduce reduce, Stream& stream) override {
    const Tensor there = lift(data, stream);
    base().all_reduce(there, reduce, stream);
    device_.copy_to_host(data.data, there, stream);
  }
  void start_all_gather(Tensor whole, Tensor part, Stream& stream) override {
    const Tensor there = lift(whole, stream);
    base().all_gather(there, lifted_part(part, whole, there, stream), stream);
    device_.copy_to_host(whole.data, there, stream);
  }
  void start_reduce_scatter(Tensor part, Tensor whole, Stream& stream) override {
    const Tensor there = lift(whole, stream);
    const Tensor part_there = lifted_part(part, whole, there, stream);
    base().reduce_scatter(part_there, there, stream);
    device_.copy_to_host(part.data, part_there, stream);
  }
  void start_broadcast(Tensor data, int root, Stream& stream) override {
    const Tensor there = lift(data, stream);
    base().broadcast(there, root, stream);
    device_.copy_to_host(data.data, there, stream);
  }
  void start_exchange(std::span<const Transfer> transfers, Stream& stream) override {
    std::vector<Transfer> there;
    used_ = 0;
    for (const Transfer& t : transfers) there.push_back({place(t.data, stream), t.peer, t.send});
    base().exchange(there, stream);
    for (std::size_t i = 0; i < there.size(); ++i)
      if (!transfers[i].send) device_.copy_to_host(transfers[i].data.data, there[i].data, stream);
  }

  // In the memory's next place.
  Tensor place(Tensor tensor, Stream& stream) {
    const Tensor there{memory_.data() + used_, tensor.dtype, tensor.shape};
    used_ += (tensor.bytes() + 255) / 256 * 256;
    CHECK(used_ <= memory_.bytes(), "{} bytes for the tensors of one operation", used_);
    device_.copy_to_device(there, tensor.data, stream);
    return there;
  }
  // In its first place: operations on one stream follow one another.
  Tensor lift(Tensor tensor, Stream& stream) {
    used_ = 0;
    return place(tensor, stream);
  }
  // In its place of the whole, where it has one.
  Tensor lifted_part(Tensor part, Tensor whole, Tensor whole_there, Stream& stream) {
    const auto* begin = static_cast<const std::byte*>(whole.data);
    const auto offset = static_cast<const std::byte*>(part.data) - begin;
    if (offset < 0 || offset >= static_cast<std::ptrdiff_t>(whole.bytes()))
      return place(part, stream);
    return {static_cast<std::byte*>(whole_there.data) + offset, part.dtype, part.shape};
  }

  Device& device_;
  Buffer memory_;
  std::size_t used_ = 0;
};

}  // namespace dualpath
