#include "parallel/tensor_axis.h"

#include "parallel/scoped_timer.h"

namespace dualpath {

void TensorAxis::start_all_gather(Tensor group) {
  if (ranks_ == nullptr || size_ == 1) return;
  const ScopedTimer timer(exposed_ms_);
  communication_->wait_for(*compute_);
  ranks_->all_gather(group, own_part(group), *communication_);
}

void TensorAxis::start_reduce_scatter(Tensor group) {
  if (ranks_ == nullptr || size_ == 1) return;
  const ScopedTimer timer(exposed_ms_);
  communication_->wait_for(*compute_);
  ranks_->reduce_scatter(own_part(group), group, *communication_);
}

void TensorAxis::wait() {
  if (ranks_ == nullptr || size_ == 1) return;
  const ScopedTimer timer(exposed_ms_);
  compute_->wait_for(*communication_);
}

}  // namespace dualpath
