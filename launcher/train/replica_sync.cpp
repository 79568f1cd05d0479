#include "launcher/train/replica_sync.h"

#include <algorithm>

#include "parallel/scoped_timer.h"

namespace dualpath {

namespace {

bool is_tied(const ParameterRegion& region) {
  return region.group == GridGroup::tied || region.group == GridGroup::tied_shard;
}

}  // namespace

ReplicaSync::ReplicaSync(const ParameterStore& parameters, GridCommunicators& ranks, bool sharded,
                         Ops& ops, Stream& compute, Stream& communication)
    : parameters_(parameters),
      ranks_(ranks),
      sharded_(sharded),
      ops_(ops),
      compute_(compute),
      communication_(communication),
      reduced_(parameters.regions().size()),
      gathered_(parameters.regions().size()) {}

bool ReplicaSync::gathers_copies(const ParameterRegion& region) const {
  return !region.looked_up && !parameters_.operands_of(region, region.all).empty();
}

// A tied embedding's gradient is whole only at the end of the pass on its other stage: it must not
// stand in the way of the other buckets.
void ReplicaSync::after_backward(int bucket) {
  for (std::size_t r = 0; r < reduced_.size(); ++r) {
    const ParameterRegion& region = parameters_.regions()[r];
    if (region.bucket == bucket && !is_tied(region)) reduce(r);
  }
}

void ReplicaSync::reduce(std::size_t r) {
  reduced_[r] = true;
  const ParameterRegion& region = parameters_.regions()[r];
  Communicator& group = ranks_.of(region.group);
  if (group.size() == 1) return;
  const ScopedTimer timer(exposed_ms_);
  const Tensor gradients = parameters_.flat_gradients();
  const Tensor whole = gradients.slice(region.all.begin, region.all.end);
  communication_.wait_for(compute_);
  if (sharded_) {
    group.reduce_scatter(gradients.slice(region.shard.begin, region.shard.end), whole,
                         communication_);
  } else {
    group.all_reduce(whole, Reduce::sum, communication_);
  }
}

void ReplicaSync::finish_reduction() {
  for (const bool tied_now : {false, true}) {
    for (std::size_t r = 0; r < reduced_.size(); ++r) {
      if (!reduced_[r] && is_tied(parameters_.regions()[r]) == tied_now) reduce(r);
    }
  }
  std::fill(reduced_.begin(), reduced_.end(), false);
  const ScopedTimer timer(exposed_ms_);
  compute_.wait_for(communication_);
}

void ReplicaSync::start_gather(std::size_t r) {
  const ParameterRegion& region = parameters_.regions()[r];
  Communicator& group = ranks_.of(region.group);
  if (!sharded_ || group.size() == 1) return;
  const ScopedTimer timer(exposed_ms_);
  communication_.wait_for(compute_);
  if (gathers_copies(region)) {
    gather_copies(region, group);
  } else {
    gather_values(region, group);
  }
  gathered_[r] = communication_.record_event();
}

void ReplicaSync::before_forward(int bucket) {
  for (std::size_t r = 0; r < gathered_.size(); ++r) {
    const ParameterRegion& region = parameters_.regions()[r];
    if (region.bucket != bucket || !gathered_[r]) continue;
    {
      const ScopedTimer timer(exposed_ms_);
      compute_.wait_for(*gathered_[r]);
    }
    gathered_[r].reset();
    const Tensor copies = parameters_.operands_of(region, region.all);
    if (!copies.empty() && !gathers_copies(region))
      ops_.run(op::Copy{.out = copies, .in = parameters_.values_of(region, region.all)});
  }
}

void ReplicaSync::wait_for_values() {
  for (int bucket = 0; bucket < parameters_.num_buckets(); ++bucket) before_forward(bucket);
}

void ReplicaSync::gather_everything() {
  parameters_.refresh_operands(ops_);
  communication_.wait_for(compute_);
  for (const ParameterRegion& region : parameters_.regions()) {
    Communicator& group = ranks_.of(region.group);
    if (group.size() == 1) continue;
    if (region.resident.size() < region.all.size()) {
      gather_copies(region, group);
    } else {
      gather_values(region, group);
    }
  }
  compute_.wait_for(communication_);
  parameters_.refresh_operands(ops_);
}

void ReplicaSync::gather_values(const ParameterRegion& region, Communicator& group) {
  group.all_gather(parameters_.values_of(region, region.all),
                   parameters_.values_of(region, region.shard), communication_);
}

void ReplicaSync::gather_copies(const ParameterRegion& region, Communicator& group) {
  group.all_gather(parameters_.operands_of(region, region.all),
                   parameters_.operands_of(region, region.shard), communication_);
}

}  // namespace dualpath
