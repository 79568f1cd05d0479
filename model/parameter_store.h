// ParameterStore: the one enumeration of a model's parameters. Values and gradients each lie in one
// flat buffer, in order of declaration (embedding, layer by layer, final norm, head), so that
// initialisation, optimizer, reduction, checkpoint and counts all walk the same list.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/device.h"
#include "core/tensor.h"
#include "core/tensor_slice.h"

namespace dualpath {

struct ParameterInit {
  enum class Law { constant, normal, uniform };
  Law law;
  double value;  // the constant, the standard deviation, or the bound of uniform ±value
};

struct ParameterSpec {
  std::string name;  // "layers.0.deep.gate"
  Shape shape;       // global
  ParameterInit init;
  bool decay;                   // weight decay applies
  bool product = false;         // enters matrix products: has a copy in the operand type
  bool joins_previous = false;  // placed without a gap behind the one before: one fused matrix
};

// A handle into the store; a default one stands for "this model has no such parameter".
struct Parameter {
  int index = -1;
  explicit operator bool() const { return index >= 0; }
};

// A run of the flat buffers with one treatment.
struct ParameterRange {
  std::int64_t begin;
  std::int64_t end;
  bool decay;
  Tensor operand;  // the copy of these values in the operand type; empty where there is none
};

class ParameterStore {
 public:
  // REQUIRES: names are unique, allocate() has not been called.
  Parameter declare(ParameterSpec spec);

  // Before allocate() every tensor has its shape but no memory (a dry run needs no more).
  void set_types(const NumericTypes& types) { types_ = types; }
  // Without gradients (inference) the gradient tensors keep null memory.
  void allocate(Device& device, const NumericTypes& types, bool with_gradients);
  // Fills all values; the same for every grid. Synchronous.
  void initialize(std::uint64_t seed, Device& device, Stream& stream);
  // operands = values. To be called whenever values were written other than by AdamW.
  void refresh_operands(Ops& ops) const;

  Tensor value(Parameter parameter) const { return view(values_.data(), parameter, 1); }
  // The value as matrix products read it: the copy in the operand type, if that is another.
  Tensor operand(Parameter parameter) const { return fused_operand(parameter, 1); }
  Tensor gradient(Parameter parameter) const { return view(gradients_.data(), parameter, 1); }
  // `count` parameters that join one another, as one matrix of their rows together.
  Tensor fused_value(Parameter first, int count) const {
    return view(values_.data(), first, count);
  }
  Tensor fused_operand(Parameter first, int count) const;
  Tensor fused_gradient(Parameter first, int count) const {
    return view(gradients_.data(), first, count);
  }

  const NumericTypes& types() const { return types_; }
  std::int64_t flat_size() const { return flat_size_; }  // elements, gaps for alignment included
  // Of the copies in the operand type; 0 where that is the master type.
  std::size_t operand_bytes() const { return operands_.bytes(); }
  Tensor flat_values() const { return {values_.data(), types_.master, {flat_size_}}; }
  Tensor flat_gradients() const { return {gradients_.data(), types_.master, {flat_size_}}; }

  std::span<const ParameterSpec> specs() const { return specs_; }
  std::int64_t offset(Parameter parameter) const { return offsets_[index(parameter)]; }
  std::int64_t num_parameters() const;         // elements of all parameters, without gaps
  std::vector<ParameterRange> ranges() const;  // maximal runs of one treatment, in order

 private:
  static std::size_t index(Parameter parameter) {
    return static_cast<std::size_t>(parameter.index);
  }
  Tensor view(std::byte* base, Parameter first, int count) const;

  bool has_operands() const { return types_.operand != types_.master; }
  Tensor operands_at(std::int64_t offset, Shape shape) const;

  NumericTypes types_;
  std::vector<ParameterSpec> specs_;
  std::vector<std::int64_t> offsets_;          // elements
  std::vector<std::int64_t> operand_offsets_;  // elements of operands_; of `product` ones only
  std::int64_t flat_size_ = 0;
  std::int64_t operand_size_ = 0;
  Buffer values_;
  Buffer operands_;  // empty where the operand type is the master type
  Buffer gradients_;
};

}  // namespace dualpath
