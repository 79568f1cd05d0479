#include "parallel/nccl_communicator.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fmt/ranges.h>
#include <map>
#include <nccl.h>
#include <optional>
#include <string_view>
#include <unistd.h>
#include <utility>
#include <vector>

#include "core/cuda/cuda_device.h"
#include "core/cuda/runtime/cuda_check.h"
#include "parallel/gpu_operations.h"
#include "parallel/layered_communicator.h"

namespace dualpath {
namespace {

#define NCCL_CHECK(call)                                                                        \
  do {                                                                                          \
    const ncclResult_t nccl_code = (call);                                                      \
    CHECK_AS(ExitCode::peer, nccl_code == ncclSuccess, "{}: {}", #call, nccl_error(nccl_code)); \
  } while (false)

// With what NCCL says about the last error, if anything.
std::string nccl_error(ncclResult_t code) {
  const char* const details = ncclGetLastError(nullptr);
  const std::string more =
      details == nullptr || *details == '\0' ? "" : fmt::format(" ({})", details);
  return ncclGetErrorString(code) + more;
}

ncclDataType_t nccl_type(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return ncclFloat32;
    case DType::f64:
      return ncclFloat64;
    case DType::i32:
      return ncclInt32;
    case DType::bf16:
      break;
  }
  DUALPATH_FAIL(ExitCode::internal, "{} is not reduced", name_of(dtype));
}

ncclRedOp_t nccl_op(Reduce reduce) {
  switch (reduce) {
    case Reduce::sum:
      return ncclSum;
    case Reduce::max:
      return ncclMax;
    case Reduce::min:
      return ncclMin;
  }
  DUALPATH_FAIL(ExitCode::internal, "reduction {}", static_cast<int>(reduce));
}

std::size_t count_of(Tensor tensor) {
  return static_cast<std::size_t>(tensor.numel());
}

class NcclCommunicator final : public LayeredCommunicator {
 public:
  NcclCommunicator(Communicator& host, int gpu, OperationsUnderWay& operations);
  NcclCommunicator(std::unique_ptr<Communicator> host, int gpu, OperationsUnderWay& operations)
      : NcclCommunicator(*host, gpu, operations) {
    own(std::move(host));
  }
  ~NcclCommunicator() override;

  std::unique_ptr<Stream> make_stream_beside(Device& device) const override {
    return device.make_stream();
  }
  double busy_ms() override {
    issued_.retire();
    return issued_.busy_ms();
  }
  std::unique_ptr<Communicator> split(int color, int key, const std::string& name) override {
    return std::make_unique<NcclCommunicator>(base().split(color, key, name), gpu_, operations_);
  }

 private:
  void start_all_reduce(Tensor data, Reduce reduce, Stream& stream) override;
  void start_all_gather(Tensor whole, Tensor part, Stream& stream) override;
  void start_reduce_scatter(Tensor part, Tensor whole, Stream& stream) override;
  void start_broadcast(Tensor data, int root, Stream& stream) override;
  void start_exchange(std::span<const Transfer> transfers, Stream& stream) override;

  void copy(Collective kind, Tensor to, Tensor from, Stream& stream);
  // Puts call(stream) on the stream, where there is something to send.
  template <class Call>
  void issue(Collective kind, std::size_t bytes, Stream& stream, Call call);
  // What the library has found out since, at any time, about itself or another rank; or "".
  std::string look();

  const int gpu_;
  OperationsUnderWay& operations_;
  GpuOperations issued_;
  ncclComm_t comm_ = nullptr;  // null in a group of one
  std::optional<OperationsUnderWay::Lookout> lookout_;
};

NcclCommunicator::NcclCommunicator(Communicator& host, int gpu, OperationsUnderWay& operations)
    : LayeredCommunicator(host),
      gpu_(gpu),
      operations_(operations),
      issued_(operations, name(), gpu) {
  if (size() == 1) return;
  ncclUniqueId id{};
  if (rank() == 0) NCCL_CHECK(ncclGetUniqueId(&id));
  const std::string sent = host.broadcast(std::string(id.internal, sizeof id.internal), 0);
  std::memcpy(id.internal, sent.data(), sizeof id.internal);
  const OperationsUnderWay::Operation joining(operations_, name(), "start of NCCL", 0);
  CUDA_CHECK(cudaSetDevice(gpu_));
  NCCL_CHECK(ncclCommInitRank(&comm_, size(), id, rank()));
  lookout_.emplace(operations_, [this] { return look(); });
}

// A rank that fails must not wait for the others.
NcclCommunicator::~NcclCommunicator() {
  lookout_.reset();
  if (comm_ == nullptr) return;
  if (std::uncaught_exceptions() == 0)
    ncclCommDestroy(comm_);
  else
    ncclCommAbort(comm_);
}

std::string NcclCommunicator::look() {
  issued_.retire();
  ncclResult_t state = ncclSuccess;
  const ncclResult_t asked = ncclCommGetAsyncError(comm_, &state);
  if (asked != ncclSuccess) state = asked;
  if (state == ncclSuccess || state == ncclInProgress) return "";
  return fmt::format("{}: NCCL has failed: {}", name(), nccl_error(state));
}

template <class Call>
void NcclCommunicator::issue(Collective kind, std::size_t bytes, Stream& stream, Call call) {
  auto* own = dynamic_cast<CudaStream*>(&stream);
  CHECK(own != nullptr, "{} {}: NCCL takes streams of the GPU", name(), name_of(kind));
  if (bytes == 0) return;
  issued_.run(name_of(kind), static_cast<std::int64_t>(bytes), *own, [&] { call(own->handle()); });
}

void NcclCommunicator::start_all_reduce(Tensor data, Reduce reduce, Stream& stream) {
  issue(Collective::all_reduce, data.bytes(), stream, [&](cudaStream_t on) {
    NCCL_CHECK(ncclAllReduce(data.data, data.data, count_of(data), nccl_type(data.dtype),
                             nccl_op(reduce), comm_, on));
  });
}

void NcclCommunicator::start_broadcast(Tensor data, int root, Stream& stream) {
  issue(Collective::broadcast, data.bytes(), stream, [&](cudaStream_t on) {
    NCCL_CHECK(ncclBroadcast(data.data, data.data, data.bytes(), ncclInt8, root, comm_, on));
  });
}

// In a group of one, of either kind.
void NcclCommunicator::copy(Collective kind, Tensor to, Tensor from, Stream& stream) {
  if (to.data == from.data) return;
  issue(kind, from.bytes(), stream, [&](cudaStream_t on) {
    CUDA_CHECK(cudaMemcpyAsync(to.data, from.data, from.bytes(), cudaMemcpyDeviceToDevice, on));
  });
}

void NcclCommunicator::start_all_gather(Tensor whole, Tensor part, Stream& stream) {
  if (size() == 1) return copy(Collective::all_gather, whole, part, stream);
  issue(Collective::all_gather, whole.bytes(), stream, [&](cudaStream_t on) {
    NCCL_CHECK(ncclAllGather(part.data, whole.data, part.bytes(), ncclInt8, comm_, on));
  });
}

void NcclCommunicator::start_reduce_scatter(Tensor part, Tensor whole, Stream& stream) {
  if (size() == 1) return copy(Collective::reduce_scatter, part, whole, stream);
  issue(Collective::reduce_scatter, whole.bytes(), stream, [&](cudaStream_t on) {
    NCCL_CHECK(ncclReduceScatter(whole.data, part.data, count_of(part), nccl_type(part.dtype),
                                 ncclSum, comm_, on));
  });
}

void NcclCommunicator::start_exchange(std::span<const Transfer> transfers, Stream& stream) {
  std::size_t bytes = 0;
  for (const Transfer& t : transfers) bytes += t.data.bytes();
  issue(Collective::exchange, bytes, stream, [&](cudaStream_t on) {
    NCCL_CHECK(ncclGroupStart());
    ncclResult_t result = ncclSuccess;
    for (const Transfer& t : transfers) {
      if (t.data.bytes() == 0 || result != ncclSuccess) continue;
      result = t.send ? ncclSend(t.data.data, t.data.bytes(), ncclInt8, t.peer, comm_, on)
                      : ncclRecv(t.data.data, t.data.bytes(), ncclInt8, t.peer, comm_, on);
    }
    NCCL_CHECK(ncclGroupEnd());
    NCCL_CHECK(result);
  });
}

// The GPU as NCCL tells two of them apart: by host and place on its bus.
std::string place_of(int gpu) {
  char host[256] = {}, bus[64] = {};
  gethostname(host, sizeof host - 1);
  CUDA_CHECK(cudaDeviceGetPCIBusId(bus, sizeof bus, gpu));
  return fmt::format("{} of {}", bus, host);
}

// Why the library does not load; "" where it does.
std::string why_not_loaded() {
  try {
    int ignored = 0;
    ncclGetVersion(&ignored);
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

// What the first rank without the library lacks; "" where all have it.
std::string what_is_missing(Communicator& ranks) {
  const std::vector<std::string> all = ranks.all_gather(why_not_loaded());
  const auto first = std::find_if(all.begin(), all.end(), [](const auto& x) { return !x.empty(); });
  return first == all.end() ? "" : fmt::format("rank {}: {}", first - all.begin(), *first);
}

}  // namespace

std::string nccl_obstacle(Communicator& ranks, const Device& device) {
  const std::optional<int> gpu = cuda_index(device);
  const std::vector<std::string> places = ranks.all_gather(gpu ? place_of(*gpu) : "");
  std::map<std::string, int> ranks_of;
  for (int rank = 0; rank < ranks.size(); ++rank) {
    const std::string& place = places[static_cast<std::size_t>(rank)];
    if (place.empty()) return fmt::format("rank {} computes on no GPU", rank);
    const auto [first, is_new] = ranks_of.emplace(place, rank);
    if (!is_new) return fmt::format("ranks {} and {} share GPU {}", first->second, rank, place);
  }
  return ranks.size() == 1 ? "" : what_is_missing(ranks);  // a group of one calls nothing of it
}

// NVLink SHARP adds in an order that may change from one time to the next.
std::unique_ptr<Communicator> make_nccl_communicator(Communicator& host, const Device& device,
                                                     OperationsUnderWay& operations) {
  setenv("NCCL_NVLS_ENABLE", "0", 0);
  return std::make_unique<NcclCommunicator>(host, cuda_index(device).value(), operations);
}

std::string nccl_version() {
  if (!why_not_loaded().empty()) return "";
  int version = 0;
  NCCL_CHECK(ncclGetVersion(&version));
  return fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

std::string nccl_settings() {
  std::vector<std::string> found;
  for (char** variable = environ; *variable != nullptr; ++variable)
    if (std::string_view(*variable).starts_with("NCCL_")) found.emplace_back(*variable);
  std::sort(found.begin(), found.end());
  return fmt::format("{}", fmt::join(found, " "));
}

}  // namespace dualpath
