// The functions of cuBLASLt that we call, each passed on to the library's, which is loaded with the
// first call: it maps hundreds of megabytes, which a program that computes on the CPU, prints its
// version or plans a job need not wait for.
#include <cublasLt.h>

#include "core/cuda/libraries/lazy_library.h"

namespace {

const dualpath::LazyLibrary& library() {
  static const dualpath::LazyLibrary cublaslt(DUALPATH_SONAME("libcublasLt.so.", CUBLAS_VER_MAJOR),
                                              "matrix products on a GPU");
  return cublaslt;
}

}  // namespace

DUALPATH_PASS_ON(size_t CUBLASWINAPI, cublasLtGetVersion, (), ())
DUALPATH_PASS_ON(const char* CUBLASWINAPI, cublasLtGetStatusString, (cublasStatus_t status),
                 (status))
DUALPATH_PASS_ON(cublasStatus_t CUBLASWINAPI, cublasLtCreate, (cublasLtHandle_t * handle), (handle))
DUALPATH_PASS_ON(cublasStatus_t CUBLASWINAPI, cublasLtDestroy, (cublasLtHandle_t handle), (handle))
DUALPATH_PASS_ON(cublasStatus_t CUBLASWINAPI, cublasLtMatmulDescCreate,
                 (cublasLtMatmulDesc_t * product, cublasComputeType_t compute,
                  cudaDataType_t scale),
                 (product, compute, scale))
DUALPATH_PASS_ON(cublasStatus_t CUBLASWINAPI, cublasLtMatmulDescDestroy,
                 (cublasLtMatmulDesc_t product), (product))
DUALPATH_PASS_ON(cublasStatus_t CUBLASWINAPI, cublasLtMatmulDescSetAttribute,
                 (cublasLtMatmulDesc_t product, cublasLtMatmulDescAttributes_t attribute,
                  const void* value, size_t bytes),
                 (product, attribute, value, bytes))
DUALPATH_PASS_ON(cublasStatus_t CUBLASWINAPI, cublasLtMatrixLayoutCreate,
                 (cublasLtMatrixLayout_t * layout, cudaDataType type, uint64_t rows,
                  uint64_t columns, int64_t stride),
                 (layout, type, rows, columns, stride))
DUALPATH_PASS_ON(cublasStatus_t CUBLASWINAPI, cublasLtMatrixLayoutDestroy,
                 (cublasLtMatrixLayout_t layout), (layout))
DUALPATH_PASS_ON(cublasStatus_t CUBLASWINAPI, cublasLtMatmulPreferenceCreate,
                 (cublasLtMatmulPreference_t * preference), (preference))
DUALPATH_PASS_ON(cublasStatus_t CUBLASWINAPI, cublasLtMatmulPreferenceDestroy,
                 (cublasLtMatmulPreference_t preference), (preference))
DUALPATH_PASS_ON(cublasStatus_t CUBLASWINAPI, cublasLtMatmulPreferenceSetAttribute,
                 (cublasLtMatmulPreference_t preference,
                  cublasLtMatmulPreferenceAttributes_t attribute, const void* value, size_t bytes),
                 (preference, attribute, value, bytes))
DUALPATH_PASS_ON(cublasStatus_t CUBLASWINAPI, cublasLtMatmulAlgoGetHeuristic,
                 (cublasLtHandle_t handle, cublasLtMatmulDesc_t product, cublasLtMatrixLayout_t a,
                  cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                  cublasLtMatmulPreference_t preference, int most,
                  cublasLtMatmulHeuristicResult_t results[], int* count),
                 (handle, product, a, b, c, d, preference, most, results, count))
DUALPATH_PASS_ON(cublasStatus_t CUBLASWINAPI, cublasLtMatmulAlgoCheck,
                 (cublasLtHandle_t handle, cublasLtMatmulDesc_t product, cublasLtMatrixLayout_t a,
                  cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                  const cublasLtMatmulAlgo_t* algorithm, cublasLtMatmulHeuristicResult_t* result),
                 (handle, product, a, b, c, d, algorithm, result))
DUALPATH_PASS_ON(cublasStatus_t CUBLASWINAPI, cublasLtMatmul,
                 (cublasLtHandle_t handle, cublasLtMatmulDesc_t product, const void* alpha,
                  const void* a, cublasLtMatrixLayout_t a_layout, const void* b,
                  cublasLtMatrixLayout_t b_layout, const void* beta, const void* c,
                  cublasLtMatrixLayout_t c_layout, void* d, cublasLtMatrixLayout_t d_layout,
                  const cublasLtMatmulAlgo_t* algorithm, void* workspace, size_t workspace_bytes,
                  cudaStream_t stream),
                 (handle, product, alpha, a, a_layout, b, b_layout, beta, c, c_layout, d, d_layout,
                  algorithm, workspace, workspace_bytes, stream))
