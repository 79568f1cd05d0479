#include "parallel/communicator.h"

namespace dualpath {

namespace {

class SelfCommunicator final : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  void all_reduce(Tensor, Reduce, Stream&) override {}
  void broadcast(Tensor, int root, Stream&) override { check_root(root); }
  std::vector<std::string> all_gather(const std::string& message) override { return {message}; }
  std::string broadcast(const std::string& message, int root) override {
    check_root(root);
    return message;
  }
  void barrier() override {}
  std::unique_ptr<Communicator> split(int, int) override { return make_self_communicator(); }

 private:
  static void check_root(int root) { CHECK(root == 0, "root {} of a group of one", root); }
};

}  // namespace

std::unique_ptr<Communicator> make_self_communicator() {
  return std::make_unique<SelfCommunicator>();
}

}  // namespace dualpath
