#include "parallel/mpi_communicator.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <mpi.h>
#include <numeric>
#include <utility>

namespace dualpath {

namespace {

std::string mpi_error(int code) {
  char text[MPI_MAX_ERROR_STRING] = {};
  int length = 0;
  MPI_Error_string(code, text, &length);
  return {text, static_cast<std::size_t>(length)};
}

#define MPI_CHECK(call)                                                                      \
  do {                                                                                       \
    const int mpi_code = (call);                                                             \
    CHECK_AS(ExitCode::peer, mpi_code == MPI_SUCCESS, "{}: {}", #call, mpi_error(mpi_code)); \
  } while (false)

MPI_Datatype mpi_type(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return MPI_FLOAT;
    case DType::f64:
      return MPI_DOUBLE;
    case DType::i32:
      return MPI_INT32_T;
    case DType::bf16:
      break;
  }
  DUALPATH_FAIL(ExitCode::internal, "MPI cannot reduce {}", name_of(dtype));
}

MPI_Op mpi_op(Reduce reduce) {
  switch (reduce) {
    case Reduce::sum:
      return MPI_SUM;
    case Reduce::max:
      return MPI_MAX;
    case Reduce::min:
      return MPI_MIN;
  }
  return MPI_OP_NULL;
}

// Large tensors go in pieces: OpenMPI reduces them three times as fast as one call of 64 MB, and
// their counts fit MPI's int.
constexpr std::int64_t piece_bytes = 2 << 20;
// reduce_scatter: staging for one piece of every rank, of which there are two, and its least piece.
constexpr std::int64_t staging_bytes = 8 << 20, min_staged_bytes = 16 << 10;

// body(offset, bytes of the piece) for the pieces of `bytes` bytes.
template <class Body>
void for_each_piece(std::int64_t bytes, std::int64_t size_of_piece, Body body) {
  for (std::int64_t offset = 0; offset < bytes; offset += size_of_piece)
    body(offset, std::min(size_of_piece, bytes - offset));
}

// sum[i] = addends[0][i] + addends[1][i] + ..., added in this order. sum may be one of the addends.
template <class T>
void add_in_order(std::byte* sum, std::span<const std::byte* const> addends, std::int64_t bytes) {
  constexpr std::int64_t block = 1024;
  T total[block];
  const std::int64_t numel = bytes / static_cast<std::int64_t>(sizeof(T));
  for (std::int64_t begin = 0; begin < numel; begin += block) {
    const std::int64_t count = std::min(block, numel - begin);
    const auto values = [&](std::size_t k) {
      return reinterpret_cast<const T*>(addends[k]) + begin;
    };
    std::copy_n(values(0), count, total);
    for (std::size_t k = 1; k < addends.size(); ++k) {
      const T* const x = values(k);
      for (std::int64_t i = 0; i < count; ++i) total[i] += x[i];
    }
    std::copy_n(total, count, reinterpret_cast<T*>(sum) + begin);
  }
}

void add_in_order(DType dtype, std::byte* sum, std::span<const std::byte* const> addends,
                  std::int64_t bytes) {
  if (dtype == DType::f32) return add_in_order<float>(sum, addends, bytes);
  if (dtype == DType::f64) return add_in_order<double>(sum, addends, bytes);
  return add_in_order<std::int32_t>(sum, addends, bytes);
}

std::byte* bytes_of(Tensor tensor) {
  return static_cast<std::byte*>(tensor.data);
}

std::int64_t num_bytes(Tensor tensor) {
  return static_cast<std::int64_t>(tensor.bytes());
}

int rank_in(MPI_Comm comm) {
  int rank = 0;
  MPI_CHECK(MPI_Comm_rank(comm, &rank));
  return rank;
}

int num_ranks(MPI_Comm comm) {
  int size = 1;
  MPI_CHECK(MPI_Comm_size(comm, &size));
  return size;
}

class MpiCommunicator final : public Communicator {
 public:
  // Owns `comm` but for MPI_COMM_WORLD.
  MpiCommunicator(MPI_Comm comm, const std::string& name, OperationsUnderWay& operations)
      : Communicator(name, rank_in(comm), num_ranks(comm)),
        comm_(comm),
        operations_(operations),
        addends_(static_cast<std::size_t>(size())) {
    MPI_CHECK(MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN));
    requests_.reserve(2 * static_cast<std::size_t>(size()) + max_transfers);
  }
  ~MpiCommunicator() override {
    if (comm_ != MPI_COMM_WORLD) MPI_Comm_free(&comm_);
  }

  std::vector<std::string> all_gather(const std::string& message) override;
  std::string broadcast(const std::string& message, int root) override;
  void barrier() override;
  std::unique_ptr<Communicator> split(int color, int key, const std::string& name) override;

 private:
  void start_all_reduce(Tensor data, Reduce reduce, Stream& stream) override;
  void start_all_gather(Tensor whole, Tensor part, Stream& stream) override;
  void start_reduce_scatter(Tensor part, Tensor whole, Stream& stream) override;
  void start_broadcast(Tensor data, int root, Stream& stream) override;
  void start_exchange(std::span<const Transfer> transfers, Stream& stream) override;

  void gather_pieces(Tensor whole, Tensor part);
  void reduce_pieces(Tensor part, Tensor whole);

  // The one operation that is under way.
  class Operation {
   public:
    Operation(MpiCommunicator& ranks, const char* kind, std::int64_t bytes)
        : ranks_(ranks), entry_(ranks.operations_, ranks.name(), kind, bytes) {
      CHECK(!ranks.in_use_.test_and_set(), "{}: {} meets another operation of the group",
            ranks.name(), kind);
    }
    ~Operation() { ranks_.in_use_.clear(); }

   private:
    MpiCommunicator& ranks_;
    OperationsUnderWay::Operation entry_;
  };

  // Issues body() on the stream.
  template <class Body>
  void run(Stream& stream, Collective kind, std::int64_t bytes, Body body);

  // The rank that lies `distance` behind this one in the ring of all.
  int rank_after(int distance) const { return (rank() + distance) % size(); }

  // What is under way until wait_for_all().
  MPI_Request* next_request() { return &requests_.emplace_back(MPI_REQUEST_NULL); }
  void wait_for_all() {
    MPI_CHECK(
        MPI_Waitall(static_cast<int>(requests_.size()), requests_.data(), MPI_STATUSES_IGNORE));
    requests_.clear();
  }
  void send(const std::byte* data, std::int64_t bytes, int peer) {
    MPI_CHECK(MPI_Isend(data, static_cast<int>(bytes), MPI_BYTE, peer, 0, comm_, next_request()));
  }
  void receive(std::byte* data, std::int64_t bytes, int peer) {
    MPI_CHECK(MPI_Irecv(data, static_cast<int>(bytes), MPI_BYTE, peer, 0, comm_, next_request()));
  }

  MPI_Comm comm_;
  OperationsUnderWay& operations_;
  std::atomic_flag in_use_;
  // State of the operation under way.
  std::vector<MPI_Request> requests_;
  std::vector<std::byte> staging_;         // reduce_scatter: two pieces of each rank, in turn
  std::vector<const std::byte*> addends_;  // and where they are
};

template <class Body>
void MpiCommunicator::run(Stream& stream, Collective kind, std::int64_t bytes, Body body) {
  stream.run([this, kind, bytes, body] {
    using namespace std::chrono;
    const auto start = steady_clock::now();
    const Operation operation(*this, name_of(kind), bytes);
    body();
    add_busy_ns(duration_cast<nanoseconds>(steady_clock::now() - start).count());
  });
}

void MpiCommunicator::start_all_reduce(Tensor data, Reduce reduce, Stream& stream) {
  run(stream, Collective::all_reduce, num_bytes(data), [this, data, reduce] {
    const MPI_Datatype type = mpi_type(data.dtype);
    const auto size = static_cast<std::int64_t>(size_of(data.dtype));
    for_each_piece(num_bytes(data), piece_bytes, [&](std::int64_t offset, std::int64_t bytes) {
      MPI_CHECK(MPI_Allreduce(MPI_IN_PLACE, bytes_of(data) + offset, static_cast<int>(bytes / size),
                              type, mpi_op(reduce), comm_));
    });
  });
}

void MpiCommunicator::start_broadcast(Tensor data, int root, Stream& stream) {
  run(stream, Collective::broadcast, num_bytes(data), [this, data, root] {
    for_each_piece(num_bytes(data), piece_bytes, [&](std::int64_t offset, std::int64_t bytes) {
      MPI_CHECK(MPI_Bcast(bytes_of(data) + offset, static_cast<int>(bytes), MPI_BYTE, root, comm_));
    });
  });
}

void MpiCommunicator::start_all_gather(Tensor whole, Tensor part, Stream& stream) {
  run(stream, Collective::all_gather, num_bytes(whole),
      [this, whole, part] { gather_pieces(whole, part); });
}

void MpiCommunicator::start_reduce_scatter(Tensor part, Tensor whole, Stream& stream) {
  run(stream, Collective::reduce_scatter, num_bytes(whole),
      [this, part, whole] { reduce_pieces(part, whole); });
}

void MpiCommunicator::start_exchange(std::span<const Transfer> transfers, Stream& stream) {
  struct Message {
    std::byte* data;
    std::int64_t bytes;
    int peer;
    bool send;
  };
  std::array<Message, max_transfers> messages{};
  std::transform(transfers.begin(), transfers.end(), messages.begin(), [](const Transfer& t) {
    return Message{bytes_of(t.data), num_bytes(t.data), t.peer, t.send};
  });
  std::int64_t bytes = 0;
  for (const Message& message : messages) bytes += message.bytes;
  run(stream, Collective::exchange, bytes, [this, messages, num_messages = transfers.size()] {
    for (const Message& message : std::span(messages).first(num_messages)) {
      for_each_piece(message.bytes, piece_bytes, [&](std::int64_t offset, std::int64_t bytes) {
        if (message.send)
          send(message.data + offset, bytes, message.peer);
        else
          receive(message.data + offset, bytes, message.peer);
      });
    }
    wait_for_all();
  });
}

// Every rank's part goes straight into its place on every other rank. All at once: ranks that share
// cores lose more time where they wait for one another at every piece than the pieces take.
void MpiCommunicator::gather_pieces(Tensor whole, Tensor part) {
  const std::int64_t part_bytes = num_bytes(part);
  const auto place = [&](int rank) { return bytes_of(whole) + rank * part_bytes; };
  if (part.data != place(rank())) std::copy_n(bytes_of(part), part_bytes, place(rank()));
  for_each_piece(part_bytes, piece_bytes, [&](std::int64_t offset, std::int64_t bytes) {
    for (int distance = 1; distance < size(); ++distance) {
      const int from = rank_after(size() - distance);
      receive(place(from) + offset, bytes, from);
      send(bytes_of(part) + offset, bytes, rank_after(distance));
    }
  });
  wait_for_all();
}

// Every rank gets the others' addends of its own part, and adds them in order of rank: the same
// bits whatever the pieces, which no reduction of MPI promises. While it adds those of one piece
// the next are on their way.
void MpiCommunicator::reduce_pieces(Tensor part, Tensor whole) {
  const std::int64_t part_bytes = num_bytes(part);
  const std::int64_t piece = std::min((part_bytes + 63) / 64 * 64,
                                      std::max(staging_bytes / size() / 64 * 64, min_staged_bytes));
  const auto needed = static_cast<std::size_t>(2 * piece * size());
  if (staging_.size() < needed) staging_.resize(needed);
  const auto addend = [&](int rank, std::int64_t offset) {  // of this rank's part
    if (rank == this->rank()) return bytes_of(whole) + rank * part_bytes + offset;
    return staging_.data() + (offset / piece % 2 * size() + rank) * piece;
  };
  const auto post = [&](std::int64_t offset) {
    const std::int64_t bytes = std::min(piece, part_bytes - offset);
    for (int distance = 1; distance < size(); ++distance) {
      const int from = rank_after(size() - distance), to = rank_after(distance);
      receive(addend(from, offset), bytes, from);
      send(bytes_of(whole) + to * part_bytes + offset, bytes, to);
    }
  };
  if (part_bytes > 0) post(0);
  for_each_piece(part_bytes, piece, [&](std::int64_t offset, std::int64_t bytes) {
    wait_for_all();
    if (offset + piece < part_bytes) post(offset + piece);
    for (int r = 0; r < size(); ++r) addends_[static_cast<std::size_t>(r)] = addend(r, offset);
    add_in_order(part.dtype, bytes_of(part) + offset, addends_, bytes);
  });
}

std::vector<std::string> MpiCommunicator::all_gather(const std::string& message) {
  const int length = static_cast<int>(message.size());
  const Operation operation(*this, "all_gather", length);
  std::vector<int> lengths(static_cast<std::size_t>(size())), begins(lengths.size());
  MPI_CHECK(MPI_Allgather(&length, 1, MPI_INT, lengths.data(), 1, MPI_INT, comm_));
  std::exclusive_scan(lengths.begin(), lengths.end(), begins.begin(), 0);
  std::string all(static_cast<std::size_t>(begins.back() + lengths.back()), '\0');
  MPI_CHECK(MPI_Allgatherv(message.data(), length, MPI_CHAR, all.data(), lengths.data(),
                           begins.data(), MPI_CHAR, comm_));
  std::vector<std::string> messages;
  for (std::size_t r = 0; r < lengths.size(); ++r) {
    messages.push_back(
        all.substr(static_cast<std::size_t>(begins[r]), static_cast<std::size_t>(lengths[r])));
  }
  return messages;
}

std::string MpiCommunicator::broadcast(const std::string& message, int root) {
  check_root(root);
  std::int64_t length = static_cast<std::int64_t>(message.size());
  const Operation operation(*this, "broadcast", length);
  MPI_CHECK(MPI_Bcast(&length, 1, MPI_INT64_T, root, comm_));
  std::string result = message;
  result.resize(static_cast<std::size_t>(length));
  MPI_CHECK(MPI_Bcast(result.data(), static_cast<int>(length), MPI_CHAR, root, comm_));
  return result;
}

void MpiCommunicator::barrier() {
  const Operation operation(*this, "barrier", 0);
  MPI_CHECK(MPI_Barrier(comm_));
}

std::unique_ptr<Communicator> MpiCommunicator::split(int color, int key, const std::string& name) {
  const Operation operation(*this, "split", 0);
  MPI_Comm part = MPI_COMM_NULL;
  MPI_CHECK(MPI_Comm_split(comm_, color, key, &part));
  return std::make_unique<MpiCommunicator>(part, name, operations_);
}

}  // namespace

MpiSession::MpiSession(OperationsUnderWay& operations) : operations_(operations) {
  int provided = MPI_THREAD_SINGLE;
  MPI_CHECK(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided));
  CHECK_AS(ExitCode::configuration, provided == MPI_THREAD_MULTIPLE,
           "this MPI library gives thread level {}, MPI_THREAD_MULTIPLE ({}) is needed", provided,
           int{MPI_THREAD_MULTIPLE});
  MPI_Comm host = MPI_COMM_NULL;
  MPI_CHECK(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &host));
  MPI_CHECK(MPI_Comm_rank(host, &local_rank_));
  MPI_CHECK(MPI_Comm_size(host, &local_size_));
  MPI_Comm_free(&host);
}

MpiSession::~MpiSession() {
  // A rank that fails must not wait for the others in MPI_Finalize.
  if (std::uncaught_exceptions() == 0) MPI_Finalize();
}

std::unique_ptr<Communicator> MpiSession::world() {
  return std::make_unique<MpiCommunicator>(MPI_COMM_WORLD, "world", operations_);
}

void abort_job(int exit_code) {
  int initialized = 0, finalized = 0;
  MPI_Initialized(&initialized);
  MPI_Finalized(&finalized);
  if (initialized && !finalized) MPI_Abort(MPI_COMM_WORLD, exit_code);
}

bool started_by_mpi_launcher() {
  // Set by OpenMPI's mpirun, by any PMIx launcher and by srun with PMI-2.
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"}) {
    if (std::getenv(name) != nullptr) return true;
  }
  return false;
}

}  // namespace dualpath
