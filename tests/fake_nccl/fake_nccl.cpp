#include "tests/fake_nccl/fake_nccl.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <fmt/format.h>
#include <limits>
#include <map>
#include <memory>
#include <mpi.h>
#include <mutex>
#include <nccl.h>
#include <optional>
#include <thread>

#include "core/base/error.h"
#include "tests/fake_cuda/calls.h"

using dualpath::fake_cuda::current_device;
using dualpath::fake_cuda::Machine;
using dualpath::fake_cuda::Refusal;
using dualpath::fake_cuda::Scheduler;

namespace dualpath::fake_nccl {
namespace {

// What every rank says of an operation that all must issue alike.
struct Description {
  int kind, type, reduction, root;
  std::int64_t count;
  bool operator==(const Description&) const = default;
};

struct Message {
  std::byte* data;  // near
  int bytes, peer;
  bool send;
};

struct Group {
  MPI_Comm ranks = MPI_COMM_NULL;
  int rank = 0, size = 0, device = 0;
  std::atomic<bool> aborted = false, lost = false;
  std::vector<Scheduler::Ticket> issued;
};

constexpr std::int64_t never = std::numeric_limits<std::int64_t>::max();

struct Library {
  std::mutex mutex;
  std::map<const void*, std::shared_ptr<Group>> groups;  // by handle
  std::int64_t num_ids = 0;
  std::int64_t until_hang = never, until_loss = never;  // operations
  std::string last_error;
};
Library& library() {
  static Library the_library;
  return the_library;
}

thread_local int group_depth = 0;
thread_local std::vector<Message> group_messages;
thread_local std::pair<const void*, cudaStream_t> group_place;

void require(bool condition, const std::string& why) {
  fake_cuda::require(condition, cudaErrorInvalidValue, why);
}

ncclResult_t answer(const char* name, const std::function<void(Machine&)>& body) {
  std::string why;
  const cudaError_t error = fake_cuda::answer(name, [&](Machine& machine) {
    try {
      body(machine);
    } catch (const Refusal& refusal) {
      why = refusal.what();
      throw;
    }
  });
  if (error == cudaSuccess) return ncclSuccess;
  const std::lock_guard lock(library().mutex);
  library().last_error = why;
  return ncclInvalidArgument;
}

std::shared_ptr<Group> group_of(ncclComm_t handle) {
  const std::lock_guard lock(library().mutex);
  const auto found = library().groups.find(handle);
  require(found != library().groups.end(), "there is no such communicator, or no longer");
  return found->second;
}

std::shared_ptr<Group> take(ncclComm_t handle) {
  const std::shared_ptr<Group> group = group_of(handle);
  require(group_depth == 0, "a group of calls is open");
  const std::lock_guard lock(library().mutex);
  library().groups.erase(handle);
  return group;
}

std::byte* near(Machine& machine, const Group& group, const void* data, std::size_t bytes) {
  require(machine.memory().owner_of(data, bytes) == group.device,
          "this is not memory of the communicator's GPU");
  return static_cast<std::byte*>(machine.memory().near(const_cast<void*>(data)));
}

// Puts body(), which may wait for other ranks, on the stream: while it does, other streams go on.
void issue(Machine& machine, const std::shared_ptr<Group>& group, cudaStream_t on,
           std::function<void()> body) {
  struct State {
    std::atomic<bool> started = false, done = false;
    std::string failure;
  };
  Scheduler::Stream& stream = machine.stream(on);
  require(stream.device() == group->device, "a stream of another GPU");
  bool hangs = false;
  {
    const std::lock_guard lock(library().mutex);
    for (std::int64_t* left : {&library().until_hang, &library().until_loss}) {
      if (*left == 0) hangs = true;
      if (*left > 0 && *left < never) --*left;
    }
    if (library().until_loss == 0 && hangs) group->lost = true;
  }
  machine.poll(on, [=, state = std::make_shared<State>(), body = std::move(body)] {
    if (group->aborted) return true;
    if (hangs) return false;
    if (!state->started.exchange(true)) {
      std::thread([state, body] {
        try {
          body();
        } catch (const std::exception& error) {
          state->failure = error.what();
        }
        state->done = true;
      }).detach();
    }
    if (!state->done) return false;
    CHECK(state->failure.empty(), "NCCL: {}", state->failure);
    return true;
  });
  group->issued.push_back(machine.scheduler().now(stream));
}

void check_alike(const Group& group, const Description& own) {
  std::vector<Description> all(static_cast<std::size_t>(group.size));
  MPI_Allgather(&own, sizeof own, MPI_BYTE, all.data(), sizeof own, MPI_BYTE, group.ranks);
  for (const Description& other : all)
    CHECK(other == own, "operation {} of {} elements meets operation {} of {}", own.kind, own.count,
          other.kind, other.count);
}

MPI_Datatype mpi_type(ncclDataType_t type) {
  switch (type) {
    case ncclFloat32:
      return MPI_FLOAT;
    case ncclFloat64:
      return MPI_DOUBLE;
    case ncclInt32:
      return MPI_INT32_T;
    case ncclInt8:
      return MPI_INT8_T;
    default:
      throw Refusal(cudaErrorInvalidValue, "a type that is not imitated");
  }
}

MPI_Op mpi_op(ncclRedOp_t op) {
  return op == ncclSum ? MPI_SUM : op == ncclMax ? MPI_MAX : MPI_MIN;
}

std::size_t bytes_of(MPI_Datatype type) {
  int size = 0;
  MPI_Type_size(type, &size);
  return static_cast<std::size_t>(size);
}

enum { all_reduce, all_gather, reduce_scatter, broadcast };

// How many elements of every rank an operand has.
enum class Extent { part, whole };

// A call of NCCL: its name, communicator and stream.
struct Call {
  const char* name;
  ncclComm_t handle;
  cudaStream_t stream;
};

struct Operands {
  const void* source;
  Extent sent;
  void* destination;
  Extent received;
};

// body(group, near source, near destination, MPI's type) as an operation that all ranks issue
// alike, on `own.count` elements or as many of each rank.
template <class Body>
ncclResult_t collective(const Call& call, const Operands& data, Description own, Body body) {
  return answer(call.name, [&](Machine& machine) {
    const std::shared_ptr<Group> group = group_of(call.handle);
    require(group_depth == 0, "collectives in a group of calls are not imitated");
    const MPI_Datatype type = mpi_type(static_cast<ncclDataType_t>(own.type));
    const auto part = static_cast<std::size_t>(own.count) * bytes_of(type);
    const std::size_t whole = part * static_cast<std::size_t>(group->size);
    std::byte* from = near(machine, *group, data.source, data.sent == Extent::whole ? whole : part);
    std::byte* to =
        near(machine, *group, data.destination, data.received == Extent::whole ? whole : part);
    issue(machine, group, call.stream, [=] {
      check_alike(*group, own);
      body(*group, from, to, type);
    });
  });
}

// The ranks' messages about themselves are collected by the one that made the id.
struct Hello {
  int rank, place, device;
  std::size_t host;
};

// Ranks of unlike NCCL_HOSTID are of several hosts for NCCL, and may share a GPU.
std::size_t host_of_rank() {
  const char* id = std::getenv("NCCL_HOSTID");
  return std::hash<std::string>()(id == nullptr ? "" : id);
}

void join(Group& group, const ncclUniqueId& id) {
  int own_place = 0, made_by = 0, tag = 0;
  std::memcpy(&made_by, id.internal, sizeof made_by);
  std::memcpy(&tag, id.internal + sizeof made_by, sizeof tag);
  MPI_Comm_rank(MPI_COMM_WORLD, &own_place);
  const Hello own{group.rank, own_place, group.device, host_of_rank()};
  std::vector<Hello> all(static_cast<std::size_t>(group.size));
  MPI_Request sent = MPI_REQUEST_NULL;
  MPI_Isend(&own, sizeof own, MPI_BYTE, made_by, tag, MPI_COMM_WORLD, &sent);
  const int bytes = static_cast<int>(all.size() * sizeof own);
  if (own_place == made_by) {
    for (Hello& hello : all)
      MPI_Recv(&hello, sizeof hello, MPI_BYTE, MPI_ANY_SOURCE, tag, MPI_COMM_WORLD,
               MPI_STATUS_IGNORE);
    std::sort(all.begin(), all.end(), [](auto& a, auto& b) { return a.rank < b.rank; });
    for (const Hello& hello : all)
      if (hello.place != own_place)
        MPI_Send(all.data(), bytes, MPI_BYTE, hello.place, tag + 1, MPI_COMM_WORLD);
  } else {
    MPI_Recv(all.data(), bytes, MPI_BYTE, made_by, tag + 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
  }
  MPI_Wait(&sent, MPI_STATUS_IGNORE);
  std::map<std::pair<std::size_t, int>, int> rank_on;
  std::vector<int> places;
  for (const Hello& hello : all) {
    require(hello.rank == static_cast<int>(places.size()), "ranks that are not 0 to n - 1");
    const auto [other, is_new] = rank_on.emplace(std::pair(hello.host, hello.device), hello.rank);
    require(is_new,
            fmt::format("Duplicate GPU detected : rank {} and rank {} both on CUDA device {}",
                        other->second, hello.rank, hello.device));
    places.push_back(hello.place);
  }
  MPI_Group everyone = MPI_GROUP_NULL, members = MPI_GROUP_NULL;
  MPI_Comm_group(MPI_COMM_WORLD, &everyone);
  MPI_Group_incl(everyone, group.size, places.data(), &members);
  MPI_Comm_create_group(MPI_COMM_WORLD, members, tag, &group.ranks);
  MPI_Comm_set_errhandler(group.ranks, MPI_ERRORS_RETURN);
  MPI_Group_free(&members);
  MPI_Group_free(&everyone);
}

// All under way at once; a message has been sent when the other rank takes it.
void carry(const Group& group, const std::vector<Message>& messages) {
  std::vector<MPI_Request> requests(messages.size());
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const Message& m = messages[i];
    if (m.send)
      MPI_Issend(m.data, m.bytes, MPI_BYTE, m.peer, 0, group.ranks, &requests[i]);
    else
      MPI_Irecv(m.data, m.bytes, MPI_BYTE, m.peer, 0, group.ranks, &requests[i]);
  }
  for (std::size_t i = 0; i < messages.size(); ++i) {
    MPI_Status status;
    CHECK(MPI_Wait(&requests[i], &status) == MPI_SUCCESS,
          "a message that is longer than its place");
    int bytes = messages[i].bytes;
    if (!messages[i].send) MPI_Get_count(&status, MPI_BYTE, &bytes);
    CHECK(bytes == messages[i].bytes, "a message of {} bytes where {} are awaited", bytes,
          messages[i].bytes);
  }
}

ncclResult_t add_message(const Call& call, const void* data, std::size_t bytes, int peer,
                         bool send) {
  return answer(call.name, [&](Machine& machine) {
    const std::shared_ptr<Group> group = group_of(call.handle);
    require(group_depth > 0, "messages outside a group of calls are not imitated");
    require(0 <= peer && peer < group->size && peer != group->rank, "no such peer");
    const std::pair<const void*, cudaStream_t> place(call.handle, call.stream);
    require(group_messages.empty() || place == group_place,
            "a group of calls on several streams or communicators is not imitated");
    group_place = place;
    group_messages.push_back(
        {near(machine, *group, data, bytes), static_cast<int>(bytes), peer, send});
  });
}

}  // namespace

void hang_after(std::int64_t operations) {
  library().until_hang = operations;
}

void lose_a_rank_after(std::int64_t operations) {
  library().until_loss = operations;
}

void work_again() {
  library().until_hang = library().until_loss = never;
}

int num_communicators() {
  const std::lock_guard lock(library().mutex);
  return static_cast<int>(library().groups.size());
}

}  // namespace dualpath::fake_nccl

using namespace dualpath::fake_nccl;

const char* ncclGetErrorString(ncclResult_t result) {
  switch (result) {
    case ncclSuccess:
      return "no error";
    case ncclInvalidArgument:
      return "invalid argument";
    case ncclRemoteError:
      return "remote process exited or there was a network error";
    default:
      return "an error";
  }
}

const char* ncclGetLastError(ncclComm_t) {
  return library().last_error.c_str();
}

ncclResult_t ncclGetVersion(int* version) {
  *version = NCCL_VERSION_CODE;
  return ncclSuccess;
}

// Who made it, and the tag of the messages about it: the first of two.
ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  const std::lock_guard lock(library().mutex);
  int place = 0, ranks = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &place);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  const int tag = 1000 + 2 * (static_cast<int>(library().num_ids++) * ranks + place);
  *id = {};
  std::memcpy(id->internal, &place, sizeof place);
  std::memcpy(id->internal + sizeof place, &tag, sizeof tag);
  return ncclSuccess;
}

ncclResult_t ncclCommInitRank(ncclComm_t* handle, int size, ncclUniqueId id, int rank) {
  return answer(__func__, [&](Machine&) {
    require(group_depth == 0, "a group of calls is open");
    const auto group = std::make_shared<Group>();
    group->rank = rank;
    group->size = size;
    group->device = current_device();
    join(*group, id);
    *handle = reinterpret_cast<ncclComm_t>(group.get());
    const std::lock_guard lock(library().mutex);
    library().groups[*handle] = group;
  });
}

ncclResult_t ncclCommDestroy(ncclComm_t handle) {
  return answer(__func__, [&](Machine& machine) {
    const std::shared_ptr<Group> group = take(handle);
    for (const Scheduler::Ticket& ticket : group->issued) machine.scheduler().wait(ticket);
    MPI_Comm_free(&group->ranks);
  });
}

// What has not begun does nothing any more.
ncclResult_t ncclCommAbort(ncclComm_t handle) {
  return answer(__func__, [&](Machine&) { take(handle)->aborted = true; });
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t handle, ncclResult_t* error) {
  return answer(__func__,
                [&](Machine&) { *error = group_of(handle)->lost ? ncclRemoteError : ncclSuccess; });
}

ncclResult_t ncclAllReduce(const void* source, void* destination, std::size_t count,
                           ncclDataType_t type, ncclRedOp_t op, ncclComm_t comm,
                           cudaStream_t stream) {
  const Description own{all_reduce, type, op, 0, static_cast<std::int64_t>(count)};
  return collective({__func__, comm, stream}, {source, Extent::part, destination, Extent::part},
                    own,
                    [=](const Group& group, std::byte* from, std::byte* to, MPI_Datatype mpi_type) {
                      MPI_Allreduce(from == to ? MPI_IN_PLACE : from, to, static_cast<int>(count),
                                    mpi_type, mpi_op(op), group.ranks);
                    });
}

ncclResult_t ncclBroadcast(const void* source, void* destination, std::size_t count,
                           ncclDataType_t type, int root, ncclComm_t comm, cudaStream_t stream) {
  const Description own{broadcast, type, 0, root, static_cast<std::int64_t>(count)};
  return collective({__func__, comm, stream}, {source, Extent::part, destination, Extent::part},
                    own,
                    [=](const Group& group, std::byte* from, std::byte* to, MPI_Datatype mpi_type) {
                      if (group.rank == root && from != to)
                        std::memcpy(to, from, count * bytes_of(mpi_type));
                      MPI_Bcast(to, static_cast<int>(count), mpi_type, root, group.ranks);
                    });
}

ncclResult_t ncclAllGather(const void* source, void* destination, std::size_t count,
                           ncclDataType_t type, ncclComm_t comm, cudaStream_t stream) {
  const Description own{all_gather, type, 0, 0, static_cast<std::int64_t>(count)};
  return collective(
      {__func__, comm, stream}, {source, Extent::part, destination, Extent::whole}, own,
      [=](const Group& group, std::byte* from, std::byte* to, MPI_Datatype mpi_type) {
        const std::size_t bytes = count * bytes_of(mpi_type);
        const bool in_place = from == to + static_cast<std::size_t>(group.rank) * bytes;
        MPI_Allgather(in_place ? MPI_IN_PLACE : from, static_cast<int>(count), mpi_type, to,
                      static_cast<int>(count), mpi_type, group.ranks);
      });
}

// Adds in order of rank, as the MPI backend does.
ncclResult_t ncclReduceScatter(const void* source, void* destination, std::size_t count,
                               ncclDataType_t type, ncclRedOp_t op, ncclComm_t comm,
                               cudaStream_t stream) {
  const Description own{reduce_scatter, type, op, 0, static_cast<std::int64_t>(count)};
  return collective(
      {__func__, comm, stream}, {source, Extent::whole, destination, Extent::part}, own,
      [=](const Group& group, std::byte* from, std::byte* to, MPI_Datatype mpi_type) {
        const std::size_t bytes = count * bytes_of(mpi_type);
        std::vector<std::byte> addends(static_cast<std::size_t>(group.size) * bytes);
        MPI_Alltoall(from, static_cast<int>(count), mpi_type, addends.data(),
                     static_cast<int>(count), mpi_type, group.ranks);
        std::byte* sum = addends.data();
        for (int r = 1; r < group.size; ++r) {  // the second operand = first + second
          MPI_Reduce_local(sum, sum + bytes, static_cast<int>(count), mpi_type, mpi_op(op));
          sum += bytes;
        }
        std::memcpy(to, sum, bytes);
      });
}

ncclResult_t ncclSend(const void* data, std::size_t count, ncclDataType_t type, int peer,
                      ncclComm_t comm, cudaStream_t stream) {
  return add_message({__func__, comm, stream}, data, count * bytes_of(mpi_type(type)), peer, true);
}

ncclResult_t ncclRecv(void* data, std::size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return add_message({__func__, comm, stream}, data, count * bytes_of(mpi_type(type)), peer, false);
}

ncclResult_t ncclGroupStart() {
  ++group_depth;
  return ncclSuccess;
}

ncclResult_t ncclGroupEnd() {
  return answer(__func__, [&](Machine& machine) {
    require(group_depth > 0, "no group of calls is open");
    if (--group_depth > 0 || group_messages.empty()) return;
    const auto handle = static_cast<ncclComm_t>(const_cast<void*>(group_place.first));
    const std::shared_ptr<Group> group = group_of(handle);
    issue(machine, group, group_place.second,
          [group, messages = std::exchange(group_messages, {})] { carry(*group, messages); });
  });
}
