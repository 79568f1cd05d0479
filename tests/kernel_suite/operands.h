// One kernel call, run on a device and on the reference, and compared element by element within the
// rounding bound that the reference carries along (reference_ops/rounded.h).
#pragma once

#include <cstdint>
#include <functional>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "core/device.h"

namespace dualpath {

// The operands of a call. A call names each operand once; the name and the case's seed fix its
// contents, so that every run of the call gets the same numbers. Random reals are fp32 numbers.
class Operands {
 public:
  enum class Role { input, output };
  enum class Kind { arithmetic, f64, i32 };
  struct Operand {
    std::string name;
    Kind kind;
    Role role;
    Shape shape;
    std::vector<double> start;
    double start_error = 0;  // relative
  };

  virtual ~Operands() = default;

  Tensor input(const std::string& name, Shape shape, double low = -1, double high = 1);
  // The cosines or sines of angles[0], angles[1], ... in fp32. A kernel may know that they are, so
  // that their rounding counts.
  Tensor cosines(const std::string& angles, Shape shape);
  Tensor sines(const std::string& angles, Shape shape);
  // Starts as NaN, to be overwritten.
  Tensor output(const std::string& name, Shape shape);
  // Read and written: starts with random numbers.
  Tensor inout(const std::string& name, Shape shape, double low = -1, double high = 1);
  // The same of DType::f64, for sums.
  Tensor sums(const std::string& name, Shape shape, double low = -1, double high = 1);
  // Whole numbers in [begin, end).
  Tensor whole_numbers(const std::string& name, Shape shape, std::int64_t begin, std::int64_t end);
  // i32 in [begin, end).
  Tensor ids(const std::string& name, Shape shape, std::int64_t begin, std::int64_t end);

 protected:
  explicit Operands(std::uint64_t seed) : seed_(seed) {}

 private:
  virtual Tensor place(Operand operand) = 0;
  Tensor place_uniform(const std::string& name, Kind kind, Role role, Shape shape, double low,
                       double high);
  Tensor place_turns(const std::string& angles, Shape shape, double (*function)(double));
  std::vector<double> draw_whole(const std::string& name, Shape shape, std::int64_t begin,
                                 std::int64_t end) const;
  std::uint64_t seed_;
};

using KernelCall = std::function<void(Ops&, Operands&)>;

enum class Demand { within_rounding, exact };

// Whether all outputs of the call on `device` are within the bound of the reference (or equal to
// it) and two runs give the same bits. `arithmetic` is the element type of the device's kernels.
testing::AssertionResult agrees(Device& device, DType arithmetic, const KernelCall& call,
                                Demand demand = Demand::within_rounding);

}  // namespace dualpath
