#include "core/cuda/cuda_matmul.h"

#include "core/cuda/cuda_check.h"

namespace dualpath {
namespace {

cudaDataType_t data_type(DType type) {
  CHECK(type == DType::f32 || type == DType::bf16, "products are of f32 and bf16, not {}",
        name_of(type));
  return type == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F;
}

class Layout {
 public:
  Layout(const gpu::ColumnMajor& matrix, DType type) {
    CUBLAS_CHECK(cublasLtMatrixLayoutCreate(
        &layout_, data_type(type), static_cast<std::uint64_t>(matrix.rows),
        static_cast<std::uint64_t>(matrix.columns), matrix.leading_dimension));
  }
  ~Layout() { cublasLtMatrixLayoutDestroy(layout_); }
  Layout(const Layout&) = delete;
  Layout& operator=(const Layout&) = delete;
  operator cublasLtMatrixLayout_t() const { return layout_; }

 private:
  cublasLtMatrixLayout_t layout_ = nullptr;
};

class Description {
 public:
  explicit Description(const gpu::ColumnMajorProduct& product) {
    CUBLAS_CHECK(cublasLtMatmulDescCreate(&description_, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    set(CUBLASLT_MATMUL_DESC_TRANSA, product.transpose_first);
    set(CUBLASLT_MATMUL_DESC_TRANSB, product.transpose_second);
  }
  ~Description() { cublasLtMatmulDescDestroy(description_); }
  Description(const Description&) = delete;
  Description& operator=(const Description&) = delete;
  operator cublasLtMatmulDesc_t() const { return description_; }

 private:
  void set(cublasLtMatmulDescAttributes_t attribute, bool transpose) {
    const cublasOperation_t operation = transpose ? CUBLAS_OP_T : CUBLAS_OP_N;
    CUBLAS_CHECK(
        cublasLtMatmulDescSetAttribute(description_, attribute, &operation, sizeof operation));
  }
  cublasLtMatmulDesc_t description_ = nullptr;
};

class Preference {
 public:
  explicit Preference(const CudaProduct& product) {
    CUBLAS_CHECK(cublasLtMatmulPreferenceCreate(&preference_));
    set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, CudaMatmul::workspace_bytes);
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, product.alignments[0]);
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, product.alignments[1]);
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, product.alignments[2]);
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, product.alignments[2]);
    // Parts of a sum meet in fp32, in the workspace: not in a result that may be bf16.
    set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
        static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  }
  ~Preference() { cublasLtMatmulPreferenceDestroy(preference_); }
  Preference(const Preference&) = delete;
  Preference& operator=(const Preference&) = delete;
  operator cublasLtMatmulPreference_t() const { return preference_; }

 private:
  template <class T>
  void set(cublasLtMatmulPreferenceAttributes_t attribute, const T& value) {
    CUBLAS_CHECK(
        cublasLtMatmulPreferenceSetAttribute(preference_, attribute, &value, sizeof value));
  }
  cublasLtMatmulPreference_t preference_ = nullptr;
};

}  // namespace

struct CudaMatmul::Plan {
  explicit Plan(const CudaProduct& p)
      : description(p.product),
        first(p.product.first, p.operand_type),
        second(p.product.second, p.operand_type),
        d(p.product.d, p.result_type) {}

  Description description;
  Layout first, second, d;
  cublasLtMatmulAlgo_t algorithm{};
};

CudaMatmul::CudaMatmul(void* workspace) : workspace_(workspace) {
  CUBLAS_CHECK(cublasLtCreate(&handle_));
}

CudaMatmul::~CudaMatmul() {
  cublasLtDestroy(handle_);
}

const CudaMatmul::Plan& CudaMatmul::plan_of(const CudaProduct& p) {
  const auto found = plans_.find(p);
  if (found != plans_.end()) return *found->second;
  auto plan = std::make_unique<Plan>(p);
  const Preference preference(p);
  cublasLtMatmulHeuristicResult_t choice{};
  int num_choices = 0;
  const cublasStatus_t status =
      cublasLtMatmulAlgoGetHeuristic(handle_, plan->description, plan->first, plan->second, plan->d,
                                     plan->d, preference, 1, &choice, &num_choices);
  CHECK(status == CUBLAS_STATUS_SUCCESS && num_choices == 1,
        "cuBLASLt has no algorithm for a product {} x {} of {} into {}: {}", p.product.d.columns,
        p.product.d.rows, name_of(p.operand_type), name_of(p.result_type),
        cublasLtGetStatusString(status));
  plan->algorithm = choice.algo;
  return *plans_.emplace(p, std::move(plan)).first->second;
}

void CudaMatmul::run(Tensor c, Tensor a, Tensor b, MatmulFlags flags, cudaStream_t stream) {
  const CudaProduct p{
      gpu::column_major_product(c, a, b, flags),
      a.dtype,
      c.dtype,
      {gpu::alignment_of(b.data), gpu::alignment_of(a.data), gpu::alignment_of(c.data)}};
  const Plan& plan = plan_of(p);
  const float alpha = 1;
  CUBLAS_CHECK(cublasLtMatmul(handle_, plan.description, &alpha, b.data, plan.first, a.data,
                              plan.second, &p.product.beta, c.data, plan.d, c.data, plan.d,
                              &plan.algorithm, workspace_, workspace_bytes, stream));
}

}  // namespace dualpath
