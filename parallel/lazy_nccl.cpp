// The functions of NCCL that we call, each passed on to the library's, which is loaded with the
// first call: the program starts without one, and GPUs then talk through the host.
#include <nccl.h>

#include "core/cuda/libraries/lazy_library.h"

namespace {

const dualpath::LazyLibrary& library() {
  static const dualpath::LazyLibrary nccl(DUALPATH_SONAME("libnccl.so.", NCCL_MAJOR),
                                          "parallel.backend = nccl");
  return nccl;
}

}  // namespace

DUALPATH_PASS_ON(ncclResult_t, ncclGetVersion, (int* version), (version))
DUALPATH_PASS_ON(const char*, ncclGetErrorString, (ncclResult_t result), (result))
DUALPATH_PASS_ON(const char*, ncclGetLastError, (ncclComm_t comm), (comm))
DUALPATH_PASS_ON(ncclResult_t, ncclGetUniqueId, (ncclUniqueId * id), (id))
DUALPATH_PASS_ON(ncclResult_t, ncclCommInitRank,
                 (ncclComm_t * comm, int size, ncclUniqueId id, int rank), (comm, size, id, rank))
DUALPATH_PASS_ON(ncclResult_t, ncclCommDestroy, (ncclComm_t comm), (comm))
DUALPATH_PASS_ON(ncclResult_t, ncclCommAbort, (ncclComm_t comm), (comm))
DUALPATH_PASS_ON(ncclResult_t, ncclCommGetAsyncError, (ncclComm_t comm, ncclResult_t* result),
                 (comm, result))
DUALPATH_PASS_ON(ncclResult_t, ncclAllReduce,
                 (const void* from, void* to, size_t count, ncclDataType_t type, ncclRedOp_t op,
                  ncclComm_t comm, cudaStream_t stream),
                 (from, to, count, type, op, comm, stream))
DUALPATH_PASS_ON(ncclResult_t, ncclBroadcast,
                 (const void* from, void* to, size_t count, ncclDataType_t type, int root,
                  ncclComm_t comm, cudaStream_t stream),
                 (from, to, count, type, root, comm, stream))
DUALPATH_PASS_ON(ncclResult_t, ncclAllGather,
                 (const void* from, void* to, size_t count, ncclDataType_t type, ncclComm_t comm,
                  cudaStream_t stream),
                 (from, to, count, type, comm, stream))
DUALPATH_PASS_ON(ncclResult_t, ncclReduceScatter,
                 (const void* from, void* to, size_t count, ncclDataType_t type, ncclRedOp_t op,
                  ncclComm_t comm, cudaStream_t stream),
                 (from, to, count, type, op, comm, stream))
DUALPATH_PASS_ON(ncclResult_t, ncclGroupStart, (), ())
DUALPATH_PASS_ON(ncclResult_t, ncclGroupEnd, (), ())
DUALPATH_PASS_ON(ncclResult_t, ncclSend,
                 (const void* data, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                  cudaStream_t stream),
                 (data, count, type, peer, comm, stream))
DUALPATH_PASS_ON(ncclResult_t, ncclRecv,
                 (void* data, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                  cudaStream_t stream),
                 (data, count, type, peer, comm, stream))
