// Work of a CUDA stream as CUDA graphs.
#pragma once

#include <vector>

#include "core/cuda/runtime/cuda_stream.h"
#include "core/device/work_recorder.h"

namespace dualpath {

class CudaRecorder final : public WorkRecorder {
 public:
  // The stream outlives it.
  explicit CudaRecorder(CudaStream& stream) : stream_(stream) {}
  // What was issued still runs.
  ~CudaRecorder() override;
  CudaRecorder(const CudaRecorder&) = delete;
  CudaRecorder& operator=(const CudaRecorder&) = delete;

  bool record(std::size_t number, const Issue& issue) override;
  void replay(std::size_t number, const Issue& issue) override;

 private:
  cudaGraphExec_t make(const Issue& issue);

  CudaStream& stream_;
  std::vector<cudaGraphExec_t> graphs_;  // by number; null: none
};

}  // namespace dualpath
