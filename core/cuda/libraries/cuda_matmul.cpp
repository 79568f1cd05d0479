#include "core/cuda/libraries/cuda_matmul.h"

#include <charconv>
#include <fmt/ranges.h>
#include <span>

#include "core/cuda/runtime/cuda_check.h"

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
  explicit Preference(const gpu::Product& product) {
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
  explicit Plan(const gpu::Product& p)
      : description(p.shape),
        first(p.shape.first, p.operand_type),
        second(p.shape.second, p.operand_type),
        d(p.shape.d, p.result_type) {}

  Description description;
  Layout first, second, d;
  Algorithm algorithm{};
};

CudaMatmul::CudaMatmul(void* workspace) : workspace_(workspace) {
  CUBLAS_CHECK(cublasLtCreate(&handle_));
}

CudaMatmul::~CudaMatmul() {
  cublasLtDestroy(handle_);
}

std::vector<CudaMatmul::Algorithm> CudaMatmul::algorithms(const gpu::Product& p, int most) const {
  const Plan plan(p);
  const Preference preference(p);
  std::vector<cublasLtMatmulHeuristicResult_t> found(static_cast<std::size_t>(most));
  int num_found = 0;
  const cublasStatus_t status =
      cublasLtMatmulAlgoGetHeuristic(handle_, plan.description, plan.first, plan.second, plan.d,
                                     plan.d, preference, most, found.data(), &num_found);
  std::vector<Algorithm> algorithms;
  for (int i = 0; i < num_found; ++i) {
    const cublasLtMatmulHeuristicResult_t& result = found[static_cast<std::size_t>(i)];
    if (result.state == CUBLAS_STATUS_SUCCESS) algorithms.push_back(result.algo);
  }
  CHECK(status == CUBLAS_STATUS_SUCCESS && !algorithms.empty(),
        "cuBLASLt has no algorithm for {}: {}", gpu::text_of(p), cublasLtGetStatusString(status));
  return algorithms;
}

void CudaMatmul::keep_to(const gpu::Product& p, const Algorithm& algorithm) {
  auto plan = std::make_unique<Plan>(p);
  plan->algorithm = algorithm;
  cublasLtMatmulHeuristicResult_t result{};
  const cublasStatus_t status = cublasLtMatmulAlgoCheck(
      handle_, plan->description, plan->first, plan->second, plan->d, plan->d, &algorithm, &result);
  CHECK_AS(ExitCode::checkpoint,
           status == CUBLAS_STATUS_SUCCESS && result.workspaceSize <= workspace_bytes,
           "cuBLASLt cannot use the algorithm that was chosen for {}: {}", gpu::text_of(p),
           cublasLtGetStatusString(status));
  plans_[p] = std::move(plan);
}

const CudaMatmul::Plan& CudaMatmul::plan_of(const gpu::Product& p) {
  if (!plans_.contains(p)) keep_to(p, algorithms(p, 1).front());
  return *plans_.at(p);
}

void CudaMatmul::run(const op::Matmul& op, cudaStream_t stream) {
  run(gpu::product_of(op), op.b.data, op.a.data, op.c.data, stream);
}

void CudaMatmul::run(const gpu::Product& p, const void* first, const void* second, void* d,
                     cudaStream_t stream) {
  const Plan& plan = plan_of(p);
  const float alpha = 1;
  const cublasStatus_t status = cublasLtMatmul(
      handle_, plan.description, &alpha, first, plan.first, second, plan.second, &p.shape.beta, d,
      plan.d, d, plan.d, &plan.algorithm, workspace_, workspace_bytes, stream);
  CHECK(status == CUBLAS_STATUS_SUCCESS, "cublasLtMatmul of {}: {}", gpu::text_of(p),
        cublasLtGetStatusString(status));
}

std::string text_of(const CudaMatmul::Algorithm& algorithm) {
  return fmt::format("{:x}", fmt::join(std::span(algorithm.data), " "));
}

CudaMatmul::Algorithm algorithm_of(const std::string& text) {
  CudaMatmul::Algorithm algorithm{};
  const char* at = text.data();
  const char* const end = at + text.size();
  bool whole = true;
  for (std::uint64_t& word : algorithm.data) {
    const auto [next, error] = std::from_chars(at, end, word, 16);
    whole = whole && error == std::errc{};
    at = next == end ? end : next + 1;
  }
  CHECK_AS(ExitCode::checkpoint, whole && text == text_of(algorithm),
           "'{}' is no algorithm of cuBLASLt's", text);
  return algorithm;
}

}  // namespace dualpath
