#include <cstring>

#include "parallel/communicator.h"

namespace dualpath {
namespace {

class SelfCommunicator final : public Communicator {
 public:
  explicit SelfCommunicator(const std::string& name) : Communicator(name, 0, 1) {}

  std::vector<std::string> all_gather(const std::string& message) override { return {message}; }
  std::string broadcast(const std::string& message, int root) override {
    check_root(root);
    return message;
  }
  void barrier() override {}
  std::unique_ptr<Communicator> split(int, int, const std::string& name) override {
    return make_self_communicator(name);
  }

 private:
  void start_all_reduce(Tensor, Reduce, Stream&) override {}
  void start_all_gather(Tensor whole, Tensor part, Stream& stream) override {
    copy(whole, part, stream);
  }
  void start_reduce_scatter(Tensor part, Tensor whole, Stream& stream) override {
    copy(part, whole, stream);
  }
  void start_broadcast(Tensor, int, Stream&) override {}
  void start_exchange(std::span<const Transfer>, Stream&) override {}

  static void copy(Tensor to, Tensor from, Stream& stream) {
    if (to.data == from.data || from.bytes() == 0) return;
    stream.run([=] { std::memcpy(to.data, from.data, from.bytes()); });
  }
};

}  // namespace

std::unique_ptr<Communicator> make_self_communicator(const std::string& name) {
  return std::make_unique<SelfCommunicator>(name);
}

}  // namespace dualpath
