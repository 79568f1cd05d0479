// A communicator built on another one, which carries out its host operations.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "parallel/communicator.h"

namespace dualpath {

class LayeredCommunicator : public Communicator {
 public:
  // Among the ranks of `base`, which outlives this.
  explicit LayeredCommunicator(Communicator& base)
      : Communicator(base.name(), base.rank(), base.size()), base_(base) {}

  double busy_ms() override { return base_.busy_ms(); }
  std::vector<std::string> all_gather(const std::string& message) final {
    return base_.all_gather(message);
  }
  std::string broadcast(const std::string& message, int root) final {
    return base_.broadcast(message, root);
  }
  void barrier() final { base_.barrier(); }

 protected:
  Communicator& base() { return base_; }
  // Takes ownership of base(), as a communicator made by split() does.
  void own(std::unique_ptr<Communicator> base) { owned_ = std::move(base); }

 private:
  Communicator& base_;
  std::unique_ptr<Communicator> owned_;
};

}  // namespace dualpath
