#include "parallel/staged_communicator.h"

#include <algorithm>
#include <array>
#include <utility>

#include "parallel/layered_communicator.h"

namespace dualpath {
namespace {

constexpr std::size_t page = 4096;

constexpr std::size_t on_pages(std::size_t bytes) {
  return (bytes + page - 1) / page * page;
}

Tensor flat(Tensor tensor) {
  return tensor.reshape({tensor.numel()});
}

std::int64_t elements_in(std::size_t bytes, DType dtype) {
  return static_cast<std::int64_t>(bytes / size_of(dtype));
}

// body(begin, end) for pieces of [0, numel).
template <class Body>
void for_each_piece(std::int64_t numel, std::int64_t piece, const Body& body) {
  for (std::int64_t begin = 0; begin < numel; begin += piece)
    body(begin, std::min(begin + piece, numel));
}

class StagedCommunicator final : public LayeredCommunicator {
 public:
  StagedCommunicator(Communicator& host, Device& device, std::size_t piece_bytes)
      : LayeredCommunicator(host), device_(device), piece_bytes_(piece_bytes) {}
  StagedCommunicator(std::unique_ptr<Communicator> host, Device& device, std::size_t piece_bytes)
      : StagedCommunicator(*host, device, piece_bytes) {
    own(std::move(host));
  }

  std::unique_ptr<Communicator> split(int color, int key, const std::string& name) override {
    return std::make_unique<StagedCommunicator>(base().split(color, key, name), device_,
                                                piece_bytes_);
  }

 private:
  void start_all_reduce(Tensor data, Reduce reduce, Stream& stream) override;
  void start_all_gather(Tensor whole, Tensor part, Stream& stream) override;
  void start_reduce_scatter(Tensor part, Tensor whole, Stream& stream) override;
  void start_broadcast(Tensor data, int root, Stream& stream) override;
  void start_exchange(std::span<const Transfer> transfers, Stream& stream) override;

  // Host memory for so many elements; the operations, which follow one another, all use the same.
  Tensor staged(DType dtype, std::int64_t count);
  // How many elements of each rank's part are moved at once.
  std::int64_t elements_of_each(DType dtype) const {
    const std::size_t share = piece_bytes_ / static_cast<std::size_t>(size());
    return elements_in(std::max(share / page * page, page), dtype);
  }

  Device& device_;
  const std::size_t piece_bytes_;
  Buffer staging_;   // of collectives: a piece, but at least a page for each rank
  Buffer messages_;  // of exchanges
};

Tensor StagedCommunicator::staged(DType dtype, std::int64_t count) {
  if (staging_.data() == nullptr)
    staging_ =
        device_.allocate_host(std::max(piece_bytes_, page * static_cast<std::size_t>(size())));
  return {staging_.data(), dtype, {count}};
}

void StagedCommunicator::start_all_reduce(Tensor data, Reduce reduce, Stream& stream) {
  for_each_piece(data.numel(), elements_in(piece_bytes_, data.dtype),
                 [&](std::int64_t begin, std::int64_t end) {
                   const Tensor piece = flat(data).slice(begin, end);
                   const Tensor host = staged(data.dtype, end - begin);
                   device_.copy_to_host(host.data, piece, stream);
                   base().all_reduce(host, reduce, stream);
                   device_.copy_to_device(piece, host.data, stream);
                 });
}

// In host memory the pieces of all ranks' parts stand behind one another.
void StagedCommunicator::start_all_gather(Tensor whole, Tensor part, Stream& stream) {
  const std::int64_t part_numel = part.numel();
  const Tensor own = flat(whole).slice(rank() * part_numel, (rank() + 1) * part_numel);
  const bool in_place = part.data == own.data;
  if (in_place && size() == 1) return;
  for_each_piece(part_numel, elements_of_each(part.dtype),
                 [&](std::int64_t begin, std::int64_t end) {
                   const std::int64_t count = end - begin;
                   const Tensor all = staged(part.dtype, count * size());
                   const Tensor mine = all.slice(rank() * count, (rank() + 1) * count);
                   device_.copy_to_host(mine.data, flat(part).slice(begin, end), stream);
                   base().all_gather(all, mine, stream);
                   for (int r = 0; r < size(); ++r) {
                     if (in_place && r == rank()) continue;
                     const std::int64_t offset = r * part_numel;
                     device_.copy_to_device(flat(whole).slice(offset + begin, offset + end),
                                            all.slice(r * count, (r + 1) * count).data, stream);
                   }
                 });
}

void StagedCommunicator::start_reduce_scatter(Tensor part, Tensor whole, Stream& stream) {
  const std::int64_t part_numel = part.numel();
  if (part.data == whole.data && size() == 1) return;
  for_each_piece(part_numel, elements_of_each(part.dtype),
                 [&](std::int64_t begin, std::int64_t end) {
                   const std::int64_t count = end - begin;
                   const Tensor all = staged(part.dtype, count * size());
                   for (int r = 0; r < size(); ++r) {
                     const std::int64_t offset = r * part_numel;
                     device_.copy_to_host(all.slice(r * count, (r + 1) * count).data,
                                          flat(whole).slice(offset + begin, offset + end), stream);
                   }
                   const Tensor mine = all.slice(rank() * count, (rank() + 1) * count);
                   base().reduce_scatter(mine, all, stream);
                   device_.copy_to_device(flat(part).slice(begin, end), mine.data, stream);
                 });
}

void StagedCommunicator::start_broadcast(Tensor data, int root, Stream& stream) {
  for_each_piece(data.numel(), elements_in(piece_bytes_, data.dtype),
                 [&](std::int64_t begin, std::int64_t end) {
                   const Tensor piece = flat(data).slice(begin, end);
                   const Tensor host = staged(data.dtype, end - begin);
                   if (rank() == root) device_.copy_to_host(host.data, piece, stream);
                   base().broadcast(host, root, stream);
                   if (rank() != root) device_.copy_to_device(piece, host.data, stream);
                 });
}

// Whole messages at once, however large: cut into pieces, those of one exchange would not match
// those of several at the other end.
void StagedCommunicator::start_exchange(std::span<const Transfer> transfers, Stream& stream) {
  std::size_t bytes = 0;
  for (const Transfer& t : transfers) bytes += on_pages(t.data.bytes());
  if (bytes > messages_.bytes()) {
    stream.synchronize();  // an exchange before this one may still use it
    messages_ = device_.allocate_host(bytes);
  }
  std::array<Transfer, max_transfers> hosts;
  std::byte* place = messages_.data();
  for (std::size_t i = 0; i < transfers.size(); ++i) {
    const Transfer& t = transfers[i];
    hosts[i] = {{place, t.data.dtype, {t.data.numel()}}, t.peer, t.send};
    place += on_pages(t.data.bytes());
    if (t.send) device_.copy_to_host(hosts[i].data.data, t.data, stream);
  }
  base().exchange(std::span(hosts).first(transfers.size()), stream);
  for (std::size_t i = 0; i < transfers.size(); ++i) {
    const Transfer& t = transfers[i];
    if (!t.send) device_.copy_to_device(t.data, hosts[i].data.data, stream);
  }
}

}  // namespace

std::unique_ptr<Communicator> make_staged_communicator(Communicator& host, Device& device,
                                                       std::size_t piece_bytes) {
  CHECK(piece_bytes > 0 && piece_bytes % page == 0, "pieces of {} bytes", piece_bytes);
  return std::make_unique<StagedCommunicator>(host, device, piece_bytes);
}

}  // namespace dualpath
