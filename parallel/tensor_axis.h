// TensorAxis: a layer's view of the ranks that share the wide FFN. Its collectives run on a stream
// of their own, after what the compute stream has issued so far; a layer waits for them where it
// needs their result.
#pragma once

#include "core/device/device.h"
#include "parallel/communicator.h"

namespace dualpath {

class TensorAxis {
 public:
  // A group of one.
  TensorAxis() = default;
  // The shape of a group without its ranks: for a dry run.
  TensorAxis(int rank, int size) : rank_(rank), size_(size) {}
  TensorAxis(Communicator& ranks, Stream& compute, Stream& communication)
      : rank_(ranks.rank()),
        size_(ranks.size()),
        ranks_(&ranks),
        compute_(&compute),
        communication_(&communication) {}

  int rank() const { return rank_; }
  int size() const { return size_; }
  // This rank's rows of what the whole group has.
  Tensor own_part(Tensor group) const {
    const std::int64_t rows = group.rows() / size_;
    return group.slice(rank_ * rows, (rank_ + 1) * rows);
  }

  // group = every rank's own part.
  void start_all_gather(Tensor group);
  // own part of group = the sum of the ranks' own-part rows; the rest of group is used up.
  void start_reduce_scatter(Tensor group);
  // The computing stream goes on only when all that was started is done.
  void wait();

  // How long the host was held up so far: in waits, and in operations on an inline stream.
  double exposed_ms() const { return exposed_ms_; }

 private:
  int rank_ = 0;
  int size_ = 1;
  Communicator* ranks_ = nullptr;
  Stream* compute_ = nullptr;
  Stream* communication_ = nullptr;
  double exposed_ms_ = 0;
};

}  // namespace dualpath
