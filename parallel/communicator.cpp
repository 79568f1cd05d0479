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

void Traffic::add(Collective kind, std::int64_t bytes, int ranks, std::int64_t calls) {
  Count& count = (*this)[kind];
  count.calls += calls;
  if (ranks == 1) return;
  const std::int64_t others = ranks - 1;
  if (kind == Collective::all_reduce) bytes = (2 * others * bytes + others) / ranks;
  if (kind == Collective::all_gather || kind == Collective::reduce_scatter) bytes *= others;
  count.bytes += calls * bytes;
}

Traffic& Traffic::operator+=(const Traffic& more) {
  for (std::size_t i = 0; i < counts.size(); ++i) {
    counts[i].calls += more.counts[i].calls;
    counts[i].bytes += more.counts[i].bytes;
  }
  return *this;
}

Traffic& Traffic::operator-=(const Traffic& earlier) {
  for (std::size_t i = 0; i < counts.size(); ++i) {
    counts[i].calls -= earlier.counts[i].calls;
    counts[i].bytes -= earlier.counts[i].bytes;
  }
  return *this;
}

std::int64_t Traffic::total_bytes() const {
  std::int64_t bytes = 0;
  for (const Count& count : counts) bytes += count.bytes;
  return bytes;
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

void Communicator::all_reduce(Tensor data, Reduce reduce, Stream& stream) {
  check_reducible(data.dtype, Collective::all_reduce);
  traffic_.add(Collective::all_reduce, static_cast<std::int64_t>(data.bytes()), size_);
  if (size_ > 1) start_all_reduce(data, reduce, stream);
}

void Communicator::all_gather(Tensor whole, Tensor part, Stream& stream) {
  check_part(part, whole, Collective::all_gather);
  traffic_.add(Collective::all_gather, static_cast<std::int64_t>(part.bytes()), size_);
  start_all_gather(whole, part, stream);
}

void Communicator::reduce_scatter(Tensor part, Tensor whole, Stream& stream) {
  check_reducible(whole.dtype, Collective::reduce_scatter);
  check_part(part, whole, Collective::reduce_scatter);
  traffic_.add(Collective::reduce_scatter, static_cast<std::int64_t>(part.bytes()), size_);
  start_reduce_scatter(part, whole, stream);
}

void Communicator::broadcast(Tensor data, int root, Stream& stream) {
  check_root(root);
  traffic_.add(Collective::broadcast, static_cast<std::int64_t>(data.bytes()), size_);
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
  traffic_.add(Collective::exchange, sent_bytes, size_);
  if (!transfers.empty()) start_exchange(transfers, stream);
}

}  // namespace dualpath
