// ParameterStore: the one enumeration of a model's parameters, as far as this rank holds them.
// Values and gradients each lie in one flat buffer that is laid out in regions: runs of one bucket
// (a layer, the embedding, the head) whose gradients are summed over the same ranks.
// Initialisation, optimizer, reduction, checkpoint and counts all walk this enumeration.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/base/tensor.h"
#include "core/base/tensor_slice.h"
#include "core/device/device.h"
#include "parallel/process_grid.h"

namespace dualpath {

struct ParameterInit {
  enum class Law { constant, normal, uniform };
  Law law;
  double value;  // the constant, the standard deviation, or the bound of uniform ±value
};

// Whether the ranks of the tensor axis all hold a parameter, or rank r of t its rows
// [R·r/t, R·(r+1)/t), R the size of dim 0.
enum class Cut { whole, rows };

struct ParameterSpec {
  std::string name;  // "layers.0.deep.gate"
  Shape shape;       // global
  ParameterInit init;
  bool decay;                   // weight decay applies
  bool product = false;         // enters matrix products: has a copy in the operand type
  bool joins_previous = false;  // placed without a gap behind the one before: one fused matrix
  Cut cut = Cut::whole;
  bool on_both_ends = false;  // also on the pipeline's other end (tied embedding)
  bool looked_up = false;     // read row by row from the values (embedding)
};

// A handle into the store; a default one stands for "this model has no such parameter".
struct Parameter {
  int index = -1;
  explicit operator bool() const { return index >= 0; }
};

// Where this rank stands: it decides which rows of a cut parameter it holds, and which shard of a
// region's optimizer state.
struct GridPlace {
  int rank = 0;
  GridShape shape;
};

// [begin, end), of the flat buffers' elements, or of rows.
struct Interval {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  std::int64_t size() const { return end - begin; }
};

// A run of the flat buffers that is reduced, updated and gathered as one.
struct ParameterRegion {
  int bucket;
  GridGroup group;  // the ranks over which its gradients are summed, and who share its shards
  bool product;
  bool looked_up;  // read row by row from the values, product or not
  Interval all;
  Interval shard;               // this rank's equal part of it
  std::int64_t operand_offset;  // where all.begin stands among the operand copies; product only
  // The elements whose values this rank has: all; or only its shard, where masters are sharded and
  // nothing but matrix products reads the parameter, which read copies.
  Interval resident;
  std::int64_t resident_offset;  // where resident.begin stands in the buffer of values
};

struct StoreOptions {
  NumericTypes types = {};
  bool gradients = true;         // inference has none: their tensors keep null memory
  bool sharded_masters = false;  // only an owner has the values of what products read copies of
};

// A part of one region with one decay.
struct ParameterRange {
  Interval interval;
  bool decay;
};

class ParameterStore {
 public:
  explicit ParameterStore(const GridPlace& place = {}) : place_(place) {}

  // What is declared from here on belongs to the next bucket, but for what is small (norms, gains,
  // gates: neither `product` nor `looked_up`), which has bucket 0 together.
  void begin_bucket() { ++bucket_; }
  int num_buckets() const { return bucket_ + 1; }
  // REQUIRES: names are unique, seal() has not been called.
  Parameter declare(ParameterSpec spec);
  // Lays out the flat buffers. To be called once, after the last declare().
  void seal();

  // Every tensor then has its shape and place, but no memory: a dry run needs no more.
  void set_options(const StoreOptions& options);
  void allocate(Device& device, const StoreOptions& options);
  // Fills the values that are here; the same for every grid. Synchronous.
  void initialize(std::uint64_t seed, Device& device, Stream& stream);
  // operands = values, as far as those are here. To be called whenever values were written other
  // than by AdamW.
  void refresh_operands(Ops& ops) const;

  // Null memory where the values are not all here.
  Tensor value(Parameter parameter) const { return fused_value(parameter, 1); }
  // The value as matrix products read it: the copy in the operand type, if that is another.
  Tensor operand(Parameter parameter) const { return fused_operand(parameter, 1); }
  Tensor gradient(Parameter parameter) const { return fused_gradient(parameter, 1); }
  // `count` parameters that join one another, as one matrix of their rows together.
  Tensor fused_value(Parameter first, int count) const;
  Tensor fused_operand(Parameter first, int count) const;
  Tensor fused_gradient(Parameter first, int count) const;

  const NumericTypes& types() const { return types_; }
  const GridPlace& place() const { return place_; }
  std::int64_t flat_size() const { return flat_size_; }  // elements, gaps included
  std::size_t value_bytes() const {
    return static_cast<std::size_t>(value_size_) * size_of(types_.master);
  }
  // Bytes of the copies in the operand type; 0 where that is the master type.
  std::size_t operand_bytes() const {
    return has_operands() ? static_cast<std::size_t>(operand_size_) * size_of(types_.operand) : 0;
  }
  // REQUIRES: masters are not sharded.
  Tensor flat_values() const;
  Tensor flat_gradients() const { return {gradients_.data(), types_.master, {flat_size_}}; }
  // The values of an interval within a region's resident one.
  Tensor values_of(const ParameterRegion& region, Interval interval) const;
  // The operand copies of an interval within one region; empty where there are none.
  Tensor operands_of(const ParameterRegion& region, Interval interval) const;

  std::span<const ParameterSpec> specs() const { return specs_; }
  const ParameterSpec& spec(Parameter parameter) const { return specs_[index(parameter)]; }
  // The rows of dim 0 that this rank holds, and the shape that they make.
  Interval local_rows(Parameter parameter) const;
  Shape local_shape(Parameter parameter) const;
  // Where they begin in the flat buffers.
  std::int64_t offset(Parameter parameter) const { return offsets_[index(parameter)]; }
  std::int64_t num_parameters() const;  // elements held, without gaps

  std::span<const ParameterRegion> regions() const { return regions_; }
  // Runs of one decay within an interval of one region, in order; together they cover it.
  std::vector<ParameterRange> ranges(Interval interval) const;

 private:
  static std::size_t index(Parameter parameter) {
    return static_cast<std::size_t>(parameter.index);
  }
  void append_region(int bucket, GridGroup group, bool product);
  // `count` parameters that join one another, as one shape.
  Shape fused_shape(Parameter first, int count) const;
  const ParameterRegion& region_of(Parameter parameter) const {
    return regions_[static_cast<std::size_t>(region_of_parameter_[index(parameter)])];
  }
  bool has_operands() const { return types_.operand != types_.master; }

  GridPlace place_;
  NumericTypes types_;
  int bucket_ = 0;
  bool sealed_ = false;
  std::vector<ParameterSpec> specs_;
  std::vector<int> buckets_;              // of each spec
  std::vector<std::int64_t> offsets_;     // elements
  std::vector<int> region_of_parameter_;  // index into regions_
  std::vector<ParameterRegion> regions_;  // in order of place
  std::int64_t flat_size_ = 0;
  std::int64_t operand_size_ = 0;
  std::int64_t value_size_ = 0;
  Buffer values_;
  Buffer operands_;  // empty where the operand type is the master type
  Buffer gradients_;
};

}  // namespace dualpath
