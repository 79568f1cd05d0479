// Carries out a graph of operations of cuDNN's, operation by operation, in fp32.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "tests/fake_cuda/cudnn.h"

namespace dualpath::fake_cuda {

struct CudnnTensorView {
  std::int64_t id = 0;
  int type = 0;  // cudnnDataType_t
  std::array<std::int64_t, 4> dims{}, strides{};
  bool is_virtual = false, is_number = false;

  std::int64_t numel() const { return dims[0] * dims[1] * dims[2] * dims[3]; }
  std::size_t bytes() const;  // of memory from its first element to its last
};

CudnnTensorView tensor_view(const CudnnNode& tensor);
// All of an operation graph's, each once.
std::vector<CudnnTensorView> tensors_of(const CudnnNode& graph);

// At near addresses, by the tensors' ids; numbers by value. Throws Refusal for what cuDNN does not
// compute.
void run_graph(const CudnnNode& graph, const std::map<std::int64_t, void*>& memory,
               const std::map<std::int64_t, float>& numbers);

}  // namespace dualpath::fake_cuda
