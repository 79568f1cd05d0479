// The functions of cuDNN that we call, each passed on to the library's, which is loaded with the
// first call: the program starts without one, and attention is then left to our own kernels. From
// the part of cuDNN that has them: libcudnn.so.9 itself ends the process where it misses a part.
#include <cudnn.h>

#include "core/cuda/libraries/lazy_library.h"

namespace {

const dualpath::LazyLibrary& library() {
  static const dualpath::LazyLibrary graphs(DUALPATH_SONAME("libcudnn_graph.so.", CUDNN_MAJOR),
                                            "cuDNN's attention");
  return graphs;
}

}  // namespace

DUALPATH_PASS_ON(size_t CUDNNWINAPI, cudnnGetVersion, (), ())
DUALPATH_PASS_ON(const char* CUDNNWINAPI, cudnnGetErrorString, (cudnnStatus_t status), (status))
DUALPATH_PASS_ON(void CUDNNWINAPI, cudnnGetLastErrorString, (char* text, size_t size), (text, size))
DUALPATH_PASS_ON(cudnnStatus_t CUDNNWINAPI, cudnnCreate, (cudnnHandle_t * handle), (handle))
DUALPATH_PASS_ON(cudnnStatus_t CUDNNWINAPI, cudnnDestroy, (cudnnHandle_t handle), (handle))
DUALPATH_PASS_ON(cudnnStatus_t CUDNNWINAPI, cudnnSetStream,
                 (cudnnHandle_t handle, cudaStream_t stream), (handle, stream))
DUALPATH_PASS_ON(cudnnStatus_t CUDNNWINAPI, cudnnBackendCreateDescriptor,
                 (cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t* descriptor),
                 (type, descriptor))
DUALPATH_PASS_ON(cudnnStatus_t CUDNNWINAPI, cudnnBackendDestroyDescriptor,
                 (cudnnBackendDescriptor_t descriptor), (descriptor))
DUALPATH_PASS_ON(cudnnStatus_t CUDNNWINAPI, cudnnBackendFinalize,
                 (cudnnBackendDescriptor_t descriptor), (descriptor))
DUALPATH_PASS_ON(cudnnStatus_t CUDNNWINAPI, cudnnBackendSetAttribute,
                 (cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                  cudnnBackendAttributeType_t type, int64_t count, const void* values),
                 (descriptor, name, type, count, values))
DUALPATH_PASS_ON(cudnnStatus_t CUDNNWINAPI, cudnnBackendGetAttribute,
                 (cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                  cudnnBackendAttributeType_t type, int64_t most, int64_t* count, void* values),
                 (descriptor, name, type, most, count, values))
DUALPATH_PASS_ON(cudnnStatus_t CUDNNWINAPI, cudnnBackendExecute,
                 (cudnnHandle_t handle, cudnnBackendDescriptor_t plan,
                  cudnnBackendDescriptor_t operands),
                 (handle, plan, operands))
