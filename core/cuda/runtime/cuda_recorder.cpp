#include "core/cuda/runtime/cuda_recorder.h"

#include <utility>

#include "core/cuda/runtime/cuda_check.h"

namespace dualpath {

CudaRecorder::~CudaRecorder() {
  for (cudaGraphExec_t graph : graphs_)
    if (graph != nullptr) cudaGraphExecDestroy(graph);
}

bool CudaRecorder::record(std::size_t number, const Issue& issue) {
  if (number >= graphs_.size()) graphs_.resize(number + 1);
  try {
    const cudaGraphExec_t before = std::exchange(graphs_[number], make(issue));
    if (before != nullptr) cudaGraphExecDestroy(before);
    // What the first launch would do: here memory for it may still be refused.
    CUDA_CHECK(cudaGraphUpload(graphs_[number], stream_.use()));
  } catch (...) {
    cudaGetLastError();  // told by now; one that the GPU does not recover from comes again
    throw;
  }
  return true;
}

cudaGraphExec_t CudaRecorder::make(const Issue& issue) {
  const cudaGraph_t captured = stream_.capture(issue);
  cudaGraphExec_t executable = nullptr;
  const cudaError_t status = cudaGraphInstantiate(&executable, captured, 0);
  cudaGraphDestroy(captured);
  CHECK(status == cudaSuccess, "cudaGraphInstantiate: {}", cudaGetErrorString(status));
  return executable;
}

void CudaRecorder::replay(std::size_t number, const Issue&) {
  CUDA_CHECK(cudaGraphLaunch(graphs_.at(number), stream_.use()));
}

}  // namespace dualpath
