// A small model in training on a grid of ranks, and what of it can be compared between grids.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/device/slice_access.h"
#include "data/tokens/sample_source.h"
#include "launcher/train/trainer.h"

namespace dualpath {

inline constexpr NumericTypes fp64 = NumericTypes::all(DType::f64);
inline constexpr NumericTypes fp32;

// Eight layers of one architecture, so that up to eight pieces can be cut; global batch 8.
TrainerOptions grid_options(Architecture architecture, const NumericTypes& types,
                            const ParallelConfig& parallel, std::int64_t micro_batch = 1);
inline constexpr std::int64_t grid_batch = 8;
inline constexpr std::int64_t grid_tokens = 12;  // a sequence

struct History {
  std::vector<double> losses, norms, readouts;
};

struct GridRig {
  // On the CPU, in fp64 on the reference.
  GridRig(const TrainerOptions& options, Communicator& ranks);
  GridRig(const TrainerOptions& options, Communicator& ranks, std::unique_ptr<Device> device);
  // From a new start.
  History train(std::int64_t steps);
  // From where the trainer's progress stands.
  History go_on(std::int64_t steps);

  std::unique_ptr<Device> device;
  std::unique_ptr<Stream> stream;
  MockTokens source;
  Trainer trainer;
};

// Whole tensors by name, as doubles, from the slices that the ranks own. Collective.
using GlobalTensors = std::map<std::string, std::vector<double>>;
GlobalTensors assemble(const std::vector<TensorSlice>& own, Communicator& ranks,
                       const SliceAccess& memory = {});

struct FirstStep {
  double loss;
  GlobalTensors gradient;
};
// Of a new start. Collective.
FirstStep first_step(GridRig& rig, Communicator& ranks);
// Euclidean, over all elements of all tensors.
double distance(const GlobalTensors& a, const GlobalTensors& b);

// How far two computations of the first step may be apart that differ in nothing but rounding: the
// loss, and the gradient by distance(); and the step in fp64.
struct RoundingBound {
  double loss, gradient;
  FirstStep exact;
};
RoundingBound rounding_bound(const NumericTypes& types, Architecture architecture);

// "t2 p1 d2 1f1b zero 1"
std::string describe(const ParallelConfig& parallel);

// The layouts of this many ranks that the tests go through.
std::vector<ParallelConfig> layouts_of(int ranks);

}  // namespace dualpath
