// KernelTuner: chooses among algorithms that compute the same thing at different speeds and with
// different last bits. Calls that leave a choice, and the algorithms chosen for them, are texts of
// one line, so that ranks can exchange them and a run can store them.
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
  // Prefix of a choice: our own kernel is used instead of a library's; the reason follows.
  static constexpr std::string_view own_kernel = "own kernel: ";

  virtual ~KernelTuner() = default;
  // What a choice is valid for: the model of the GPU and the versions of libraries.
  virtual std::string made_for() const = 0;
  // Computes nothing; notes those calls issued on it that leave a choice.
  virtual Ops& recorder() = 0;
  virtual std::vector<std::string> calls() const = 0;  // noted so far, each once
  // The fastest algorithm, by measurement. REQUIRES: `call` is one of calls(). Throws
  // Error(configuration) where memory does not suffice to measure.
  virtual std::string choose(const std::string& call) = 0;
  // Makes the kernels use these choices, and allocates the memory that the noted calls need. Other
  // calls use the same algorithm at every start, unmeasured. REQUIRES: none of the noted calls was
  // issued yet. Throws Error(checkpoint) where an algorithm cannot be used here.
  virtual void keep_to(const Choices& choices) = 0;
};

}  // namespace dualpath
