// Matrix products by cuBLASLt, sums in fp32 (never TF32). A product takes the algorithm that it was
// told to keep to, else the first that the library's heuristics name, which is the same at every
// start: so the same product gives the same bits all through a run.
#pragma once

#include <cublasLt.h>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/cuda/libraries/gemm_layout.h"
#include "core/cuda/libraries/workspaces.h"

namespace dualpath {

class CudaMatmul {
 public:
  using Algorithm = cublasLtMatmulAlgo_t;
  static constexpr std::size_t workspace_bytes = gpu::product_workspace_bytes;

  // `workspace`: so many bytes of device memory.
  explicit CudaMatmul(void* workspace);
  ~CudaMatmul();

  // REQUIRES: check() passes; no dimension is 0.
  void run(const op::Matmul& op, cudaStream_t stream);
  // The same by its column-major operands.
  void run(const gpu::Product& product, const void* first, const void* second, void* d,
           cudaStream_t stream);

  // Those that the heuristics hold for the fastest, `most` at the most, and at least one.
  std::vector<Algorithm> algorithms(const gpu::Product& product, int most) const;
  // From here on. Throws Error(checkpoint) where this library or GPU has no such algorithm.
  void keep_to(const gpu::Product& product, const Algorithm& algorithm);

 private:
  struct Plan;
  const Plan& plan_of(const gpu::Product& product);

  void* workspace_;
  cublasLtHandle_t handle_ = nullptr;
  std::map<gpu::Product, std::unique_ptr<Plan>> plans_;
};

// The library's own bytes, which hold for its version. Throws Error(checkpoint) where the text is
// none.
std::string text_of(const CudaMatmul::Algorithm& algorithm);
CudaMatmul::Algorithm algorithm_of(const std::string& text);

}  // namespace dualpath
