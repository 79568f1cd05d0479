// CUDA_CHECK(call) and CUBLAS_CHECK(call): throw Error(internal) where a call of the CUDA runtime
// or of cuBLASLt fails.
#pragma once

#include <cuda_runtime_api.h>

#include "core/base/error.h"

#define CUDA_CHECK(call)                                                                 \
  do {                                                                                   \
    const cudaError_t cuda_status = (call);                                              \
    CHECK(cuda_status == cudaSuccess, "{}: {}", #call, cudaGetErrorString(cuda_status)); \
  } while (false)

#define CUBLAS_CHECK(call)                                         \
  do {                                                             \
    const cublasStatus_t cublas_status = (call);                   \
    CHECK(cublas_status == CUBLAS_STATUS_SUCCESS, "{}: {}", #call, \
          cublasLtGetStatusString(cublas_status));                 \
  } while (false)
