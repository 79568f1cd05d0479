#include "core/cuda/cuda_recorder.h"

#include <utility>

#include "core/cuda/cuda_check.h"

namespace dualpath {

CudaRecorder::~CudaRecorder() {
  for (cudaGraphExec_t graph : graphs_)
    if (graph != nullptr) cudaGraphExecDestroy(graph);
}

bool CudaRecorder::record(std::size_t number, const Issue& issue) {
  const cudaGraph_t captured = stream_.capture(issue);
  cudaGraphExec_t executable = nullptr;
  const cudaError_t status = cudaGraphInstantiate(&executable, captured, 0);
  cudaGraphDestroy(captured);
  CHECK(status == cudaSuccess, "cudaGraphInstantiate: {}", cudaGetErrorString(status));
  if (number >= graphs_.size()) graphs_.resize(number + 1);
  const cudaGraphExec_t before = std::exchange(graphs_[number], executable);
  if (before != nullptr) cudaGraphExecDestroy(before);
  replay(number, issue);
  return true;
}

void CudaRecorder::replay(std::size_t number, const Issue&) {
  CUDA_CHECK(cudaGraphLaunch(graphs_.at(number), stream_.use()));
}

}  // namespace dualpath
