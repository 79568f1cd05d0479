#include "parallel/mpi_communicator.h"

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <mpi.h>
#include <numeric>

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

// OpenMPI reduces pieces of this size three times as fast as one call of 64 MB, and a piece's
// count always fits MPI's int.
constexpr std::int64_t piece_elements = 1 << 19;

class MpiCommunicator final : public Communicator {
 public:
  MpiCommunicator(MPI_Comm comm, bool owned) : comm_(comm), owned_(owned) {
    MPI_CHECK(MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN));
    MPI_CHECK(MPI_Comm_rank(comm_, &rank_));
    MPI_CHECK(MPI_Comm_size(comm_, &size_));
  }
  ~MpiCommunicator() override {
    if (owned_) MPI_Comm_free(&comm_);
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  void all_reduce(Tensor data, Reduce reduce, Stream& stream) override {
    if (size_ == 1) return;
    stream.synchronize();
    for_each_piece(data, [&](void* piece, int count) {
      MPI_CHECK(
          MPI_Allreduce(MPI_IN_PLACE, piece, count, mpi_type(data.dtype), mpi_op(reduce), comm_));
    });
  }

  void broadcast(Tensor data, int root, Stream& stream) override {
    if (size_ == 1) return;
    stream.synchronize();
    for_each_piece(data, [&](void* piece, int count) {
      MPI_CHECK(MPI_Bcast(piece, count, mpi_type(data.dtype), root, comm_));
    });
  }

  std::vector<std::string> all_gather(const std::string& message) override {
    const int length = static_cast<int>(message.size());
    std::vector<int> lengths(static_cast<std::size_t>(size_)), begins(lengths.size());
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

  std::string broadcast(const std::string& message, int root) override {
    std::int64_t length = static_cast<std::int64_t>(message.size());
    MPI_CHECK(MPI_Bcast(&length, 1, MPI_INT64_T, root, comm_));
    std::string result = message;
    result.resize(static_cast<std::size_t>(length));
    MPI_CHECK(MPI_Bcast(result.data(), static_cast<int>(length), MPI_CHAR, root, comm_));
    return result;
  }

  void barrier() override { MPI_CHECK(MPI_Barrier(comm_)); }

  std::unique_ptr<Communicator> split(int color, int key) override {
    MPI_Comm part = MPI_COMM_NULL;
    MPI_CHECK(MPI_Comm_split(comm_, color, key, &part));
    return std::make_unique<MpiCommunicator>(part, true);
  }

 private:
  template <class Collective>
  static void for_each_piece(Tensor data, Collective collective) {
    auto* base = static_cast<std::byte*>(data.data);
    for (std::int64_t begin = 0; begin < data.numel(); begin += piece_elements) {
      const std::int64_t count = std::min(piece_elements, data.numel() - begin);
      collective(base + static_cast<std::size_t>(begin) * size_of(data.dtype),
                 static_cast<int>(count));
    }
  }

  MPI_Comm comm_;
  bool owned_;
  int rank_ = 0;
  int size_ = 1;
};

}  // namespace

MpiSession::MpiSession() {
  int provided = MPI_THREAD_SINGLE;
  MPI_CHECK(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided));
  CHECK_AS(ExitCode::configuration, provided == MPI_THREAD_MULTIPLE,
           "this MPI library gives thread level {}, MPI_THREAD_MULTIPLE ({}) is needed", provided,
           MPI_THREAD_MULTIPLE);
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
  return std::make_unique<MpiCommunicator>(MPI_COMM_WORLD, false);
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
