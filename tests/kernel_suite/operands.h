// One kernel call, run on a device and on the reference, and compared element by element within the
// rounding bound that the reference carries along (reference_ops/rounded.h).
#pragma once

#include <cstdint>
#include <functional>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "core/device/device.h"

namespace dualpath {

// The operands of a call. A call names each operand once; the name and the case's seed fix its
// contents, so that every run of the call gets the same numbers. Random reals are fp32 numbers, or
// bf16 numbers where the operand's type is bf16.
class Operands {
 public:
  enum class Role { input, output };
  struct Name {
    Name(const char* text, TypeClass type_class = TypeClass::master)
        : text(text), type_class(type_class) {}
    std::string text;
    TypeClass type_class;
  };
  struct Operand {
    std::string name;
    TypeClass type_class;
    Role role;
    Shape shape;
    std::vector<double> start;
    double start_error = 0;  // relative
  };

  virtual ~Operands() = default;

  // To be said of an output that has been stored and is read by a later call: if its type is bf16,
  // that rounded it.
  virtual void stored(Tensor) {}
  DType type_of(TypeClass type_class) const;
  bool same_type(TypeClass a, TypeClass b) const { return type_of(a) == type_of(b); }

  Tensor input(const Name& name, Shape shape, double low = -1, double high = 1);
  // The cosines or sines of angles[0], angles[1], ... in fp32. A kernel may know that they are, so
  // that their rounding counts.
  Tensor cosines(const std::string& angles, Shape shape);
  Tensor sines(const std::string& angles, Shape shape);
  // Starts as NaN, to be overwritten.
  Tensor output(const Name& name, Shape shape);
  // Read and written: starts with random numbers.
  Tensor inout(const Name& name, Shape shape, double low = -1, double high = 1);
  // The same of DType::f64, for sums.
  Tensor sums(const std::string& name, Shape shape, double low = -1, double high = 1);
  // Whole numbers in [begin, end).
  Tensor whole_numbers(const Name& name, Shape shape, std::int64_t begin, std::int64_t end);
  // i32 in [begin, end).
  Tensor ids(const std::string& name, Shape shape, std::int64_t begin, std::int64_t end);
  // i32, as given.
  Tensor table(const std::string& name, Shape shape, std::vector<double> values);

 protected:
  Operands(std::uint64_t seed, const NumericTypes& types) : seed_(seed), types_(types) {}

 private:
  virtual Tensor place(Operand operand) = 0;
  Tensor place_uniform(const Name& name, Role role, Shape shape, double low, double high);
  Tensor place_turns(const std::string& angles, Shape shape, double (*function)(double));
  std::vector<double> draw_whole(const std::string& name, Shape shape, std::int64_t begin,
                                 std::int64_t end) const;
  std::uint64_t seed_;
  NumericTypes types_;
};

inline Operands::Name stream(const char* name) {
  return {name, TypeClass::stream};
}
inline Operands::Name operand(const char* name) {
  return {name, TypeClass::operand};
}

using KernelCall = std::function<void(Ops&, Operands&)>;

enum class Demand { within_rounding, exact };  // exact but for rounding to bf16 when stored

// Whether all outputs of the call on `device` are within the bound of the reference (or equal to
// it) and two runs give the same bits.
testing::AssertionResult agrees(Device& device, const NumericTypes& types, const KernelCall& call,
                                Demand demand = Demand::within_rounding);

}  // namespace dualpath
