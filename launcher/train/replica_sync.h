// ReplicaSync: keeps parameters equal on the ranks that hold the same. Gradients are summed over
// each region's group as soon as the last micro-batch's backward pass is done with the region. New
// values are gathered; the next forward pass waits for a region's only where it reads them. The
// shared weights of the deep loop are reduced once a step, whatever K is.
//
//   sharded (ZeRO-1)   reduce-scatter of gradients, the shard's update, all-gather of values
//   otherwise          all-reduce of gradients, every rank's update of all
//
// All ranks issue these collectives in the same order.
#pragma once

#include <optional>
#include <vector>

#include "model/stage.h"
#include "parallel/grid_communicators.h"

namespace dualpath {

class ReplicaSync final : public BucketEvents {
 public:
  // All arguments outlive this; kernels of `ops` run on `compute`.
  ReplicaSync(const ParameterStore& parameters, GridCommunicators& ranks, bool sharded, Ops& ops,
              Stream& compute, Stream& communication);

  // Waits for the bucket's values, if they are being gathered.
  void before_forward(int bucket) override;
  // Starts the reduction of the bucket's gradients.
  void after_backward(int bucket) override;
  // Reduces what is left; all gradients are reduced on return.
  void finish_reduction();

  // Starts the all-gather of a region's updated values; does nothing unless sharded.
  void start_gather(std::size_t region);
  void wait_for_values();
  // Gathers all values that this rank holds, and all copies, from their owners' shards. Waits.
  void gather_everything();

  // Time that the host has spent in waits so far, and in operations on an inline stream.
  double exposed_ms() const { return exposed_ms_; }

 private:
  void reduce(std::size_t region);
  void gather_values(const ParameterRegion& region, Communicator& group);
  void gather_copies(const ParameterRegion& region, Communicator& group);
  // Matrix products read copies in another type: those are gathered instead of the values.
  bool gathers_copies(const ParameterRegion& region) const;

  const ParameterStore& parameters_;
  GridCommunicators& ranks_;
  bool sharded_;
  Ops& ops_;
  Stream& compute_;
  Stream& communication_;
  std::vector<bool> reduced_;                   // by region, of this step
  std::vector<std::optional<Event>> gathered_;  // by region: when its values are there
  double exposed_ms_ = 0;
};

}  // namespace dualpath
