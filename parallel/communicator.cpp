#include "parallel/communicator.h"

#include <utility>

namespace dualpath {
namespace {

void check_reducible(DType dtype, Collective kind) {
  CHECK(dtype != DType::bf16, "{} of bf16: sums are made in f32", name_of(kind));
}

bool overlap(Tensor a, Tensor b) {
  const auto* a_begin = static_cast<const std::byte*>(a.data);
  const auto* b_begin = static_cast<const std::byte*>(b.data);
  return a_begin < b_begin + b.bytes() && b_begin < a_begin + a.bytes();
}

}  // namespace

const char* name_of(Collective kind) {
  switch (kind) {
    case Collective::all_reduce:
      return "all_reduce";
    case Collective::all_gather:
      return "all_gather";
    case Collective::reduce_scatter:
      return "reduce_scatter";
    case Collective::broadcast:
      return "broadcast";
    case Collective::exchange:
      return "exchange";
  }
  return "";
}

Communicator::Communicator(std::string name, int rank, int size)
    : name_(std::move(name)), rank_(rank), size_(size) {}

void Communicator::check_root(int root) const {
  CHECK(0 <= root && root < size_, "root {} of a group of {}", root, size_);
}

void Communicator::check_part(Tensor part, Tensor whole, Collective kind) const {
  CHECK(part.dtype == whole.dtype, "{}: the part is {}, the whole {}", name_of(kind),
        name_of(part.dtype), name_of(whole.dtype));
  CHECK(whole.numel() == size_ * part.numel(), "{} {}: part {} and whole {} on {} ranks", name_,
        name_of(kind), part.shape.str(), whole.shape.str(), size_);
  const std::byte* own_place =
      static_cast<const std::byte*>(whole.data) + static_cast<std::size_t>(rank_) * part.bytes();
  CHECK(part.data == own_place || !overlap(part, whole),
        "{}: the part overlaps the whole elsewhere than in its own place", name_of(kind));
}

void Communicator::count(Collective kind, std::int64_t bytes) {
  ++traffic_[kind].calls;
  if (size_ > 1) traffic_[kind].bytes += bytes;
}

void Communicator::all_reduce(Tensor data, Reduce reduce, Stream& stream) {
  check_reducible(data.dtype, Collective::all_reduce);
  const auto bytes = static_cast<std::int64_t>(data.bytes());
  count(Collective::all_reduce, (2 * (size_ - 1) * bytes + size_ - 1) / size_);
  if (size_ > 1) start_all_reduce(data, reduce, stream);
}

void Communicator::all_gather(Tensor whole, Tensor part, Stream& stream) {
  check_part(part, whole, Collective::all_gather);
  count(Collective::all_gather, (size_ - 1) * static_cast<std::int64_t>(part.bytes()));
  start_all_gather(whole, part, stream);
}

void Communicator::reduce_scatter(Tensor part, Tensor whole, Stream& stream) {
  check_reducible(whole.dtype, Collective::reduce_scatter);
  check_part(part, whole, Collective::reduce_scatter);
  count(Collective::reduce_scatter, (size_ - 1) * static_cast<std::int64_t>(part.bytes()));
  start_reduce_scatter(part, whole, stream);
}

void Communicator::broadcast(Tensor data, int root, Stream& stream) {
  check_root(root);
  count(Collective::broadcast, static_cast<std::int64_t>(data.bytes()));
  if (size_ > 1) start_broadcast(data, root, stream);
}

void Communicator::exchange(std::span<const Transfer> transfers, Stream& stream) {
  CHECK(transfers.size() <= max_transfers, "{} transfers in an exchange, at most {} go at once",
        transfers.size(), max_transfers);
  std::int64_t sent_bytes = 0;
  for (const Transfer& transfer : transfers) {
    CHECK(0 <= transfer.peer && transfer.peer < size_ && transfer.peer != rank_,
          "rank {} of {} cannot exchange with rank {}", rank_, size_, transfer.peer);
    if (transfer.send) sent_bytes += static_cast<std::int64_t>(transfer.data.bytes());
  }
  count(Collective::exchange, sent_bytes);
  if (!transfers.empty()) start_exchange(transfers, stream);
}

}  // namespace dualpath
