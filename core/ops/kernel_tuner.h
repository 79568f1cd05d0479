// KernelTuner: the choice among algorithms that compute the same thing at different speeds and with
// different last bits. A call that leaves a choice and the algorithm chosen for it are texts of one
// line, so that ranks can tell each other and a run can keep them.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace dualpath {

class Ops;

class KernelTuner {
 public:
  using Choices = std::map<std::string, std::string>;  // algorithms by call
  // Begins the choice of a kernel of ours where a library was meant to compute; why not follows.
  static constexpr std::string_view own_kernel = "own kernel: ";

  virtual ~KernelTuner() = default;
  // What a choice holds for: the GPU's kind and the versions of libraries.
  virtual std::string made_for() const = 0;
  // Computes nothing, and notes the calls issued on it that leave a choice.
  virtual Ops& recorder() = 0;
  virtual std::vector<std::string> calls() const = 0;  // noted so far, each once
  // The fastest, by measuring. REQUIRES: `call` is one of calls(). Throws Error(configuration) for
  // want of memory, which is nothing to choose by.
  virtual std::string choose(const std::string& call) = 0;
  // From here on the kernels keep to these choices, and have what memory the noted calls need; what
  // is not among them takes the same algorithm at every start, unmeasured. REQUIRES: none of the
  // noted calls was issued yet. Throws Error(checkpoint) where an algorithm cannot be used here.
  virtual void keep_to(const Choices& choices) = 0;
};

}  // namespace dualpath
