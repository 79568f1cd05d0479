// The functions of cuBLASLt that we call, each passed on to the library's, which is loaded with the
// first call: it maps hundreds of megabytes, which a program that computes on the CPU, prints its
// version or plans a job need not wait for.
#include <cublasLt.h>
#include <dlfcn.h>

#include "core/error.h"

#define DUALPATH_TEXT_OF(number) #number
#define DUALPATH_SONAME(major) "libcublasLt.so." DUALPATH_TEXT_OF(major)

namespace dualpath {
namespace {

void* load(const char* name) {
  void* library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  CHECK_AS(ExitCode::configuration, library != nullptr,
           "{} is needed for matrix products on a GPU and cannot be loaded: {}", name, dlerror());
  return library;
}

void* find(const char* function) {
  static void* const library = load(DUALPATH_SONAME(CUBLAS_VER_MAJOR));
  void* address = dlsym(library, function);
  CHECK_AS(ExitCode::configuration, address != nullptr, "cuBLASLt has no {}: {}", function,
           dlerror());
  return address;
}

}  // namespace
}  // namespace dualpath

// Of the function `name`, whose parameters and arguments follow in parentheses.
#define PASS_ON(result, name, parameters, arguments)                                       \
  result CUBLASWINAPI name parameters {                                                    \
    static const auto function = reinterpret_cast<decltype(&name)>(dualpath::find(#name)); \
    return function arguments;                                                             \
  }

PASS_ON(size_t, cublasLtGetVersion, (), ())
PASS_ON(const char*, cublasLtGetStatusString, (cublasStatus_t status), (status))
PASS_ON(cublasStatus_t, cublasLtCreate, (cublasLtHandle_t * handle), (handle))
PASS_ON(cublasStatus_t, cublasLtDestroy, (cublasLtHandle_t handle), (handle))
PASS_ON(cublasStatus_t, cublasLtMatmulDescCreate,
        (cublasLtMatmulDesc_t * product, cublasComputeType_t compute, cudaDataType_t scale),
        (product, compute, scale))
PASS_ON(cublasStatus_t, cublasLtMatmulDescDestroy, (cublasLtMatmulDesc_t product), (product))
PASS_ON(cublasStatus_t, cublasLtMatmulDescSetAttribute,
        (cublasLtMatmulDesc_t product, cublasLtMatmulDescAttributes_t attribute, const void* value,
         size_t bytes),
        (product, attribute, value, bytes))
PASS_ON(cublasStatus_t, cublasLtMatrixLayoutCreate,
        (cublasLtMatrixLayout_t * layout, cudaDataType type, uint64_t rows, uint64_t columns,
         int64_t stride),
        (layout, type, rows, columns, stride))
PASS_ON(cublasStatus_t, cublasLtMatrixLayoutDestroy, (cublasLtMatrixLayout_t layout), (layout))
PASS_ON(cublasStatus_t, cublasLtMatmulPreferenceCreate, (cublasLtMatmulPreference_t * preference),
        (preference))
PASS_ON(cublasStatus_t, cublasLtMatmulPreferenceDestroy, (cublasLtMatmulPreference_t preference),
        (preference))
PASS_ON(cublasStatus_t, cublasLtMatmulPreferenceSetAttribute,
        (cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t attribute,
         const void* value, size_t bytes),
        (preference, attribute, value, bytes))
PASS_ON(cublasStatus_t, cublasLtMatmulAlgoGetHeuristic,
        (cublasLtHandle_t handle, cublasLtMatmulDesc_t product, cublasLtMatrixLayout_t a,
         cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
         cublasLtMatmulPreference_t preference, int most, cublasLtMatmulHeuristicResult_t results[],
         int* count),
        (handle, product, a, b, c, d, preference, most, results, count))
PASS_ON(cublasStatus_t, cublasLtMatmulAlgoCheck,
        (cublasLtHandle_t handle, cublasLtMatmulDesc_t product, cublasLtMatrixLayout_t a,
         cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
         const cublasLtMatmulAlgo_t* algorithm, cublasLtMatmulHeuristicResult_t* result),
        (handle, product, a, b, c, d, algorithm, result))
PASS_ON(cublasStatus_t, cublasLtMatmul,
        (cublasLtHandle_t handle, cublasLtMatmulDesc_t product, const void* alpha, const void* a,
         cublasLtMatrixLayout_t a_layout, const void* b, cublasLtMatrixLayout_t b_layout,
         const void* beta, const void* c, cublasLtMatrixLayout_t c_layout, void* d,
         cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t* algorithm, void* workspace,
         size_t workspace_bytes, cudaStream_t stream),
        (handle, product, alpha, a, a_layout, b, b_layout, beta, c, c_layout, d, d_layout,
         algorithm, workspace, workspace_bytes, stream))
