// Matrix products by cuBLASLt, sums in fp32 (never TF32). The algorithm that the library's
// heuristics choose for a product is kept, so that the same product gives the same bits all through
// a run.
#pragma once

#include <array>
#include <compare>
#include <cublasLt.h>
#include <map>
#include <memory>

#include "core/cuda/gemm_layout.h"

namespace dualpath {

// What an algorithm is chosen for.
struct CudaProduct {
  gpu::ColumnMajorProduct product;
  DType operand_type, result_type;
  std::array<std::uint32_t, 3> alignments;  // of first, second and d, in bytes
  auto operator<=>(const CudaProduct&) const = default;
};

class CudaMatmul {
 public:
  // What the library works in: more than this many bytes help no product on Hopper.
  static constexpr std::size_t workspace_bytes = 32 << 20;

  // `workspace`: so many bytes of device memory.
  explicit CudaMatmul(void* workspace);
  ~CudaMatmul();

  // c (= or +=) op(a)·op(b). REQUIRES: check_matmul passes; no dimension is 0.
  void run(Tensor c, Tensor a, Tensor b, MatmulFlags flags, cudaStream_t stream);

 private:
  struct Plan;
  const Plan& plan_of(const CudaProduct& product);

  void* workspace_;
  cublasLtHandle_t handle_ = nullptr;
  std::map<CudaProduct, std::unique_ptr<Plan>> plans_;
};

}  // namespace dualpath
