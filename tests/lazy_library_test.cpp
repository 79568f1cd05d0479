// Libraries that are loaded by the first call of one of their functions: cuBLASLt, of which what
// only describes a product works without a GPU.
#include "core/cuda/libraries/lazy_library.h"

#include <cublasLt.h>
#include <dlfcn.h>
#include <gmock/gmock.h>
#include <string>

#include "tests/expect_error.h"

namespace {

using dualpath::error_of;
using dualpath::ExitCode;
using dualpath::LazyLibrary;
using testing::AllOf;
using testing::HasSubstr;

bool is_loaded() {
  const std::string name = "libcublasLt.so." + std::to_string(CUBLAS_VER_MAJOR);
  void* library = dlopen(name.c_str(), RTLD_LAZY | RTLD_NOLOAD);
  if (library != nullptr) dlclose(library);
  return library != nullptr;
}

TEST(LazyCublasLt, IsLoadedByTheFirstCall) {
  EXPECT_FALSE(is_loaded());
  EXPECT_EQ(cublasLtGetVersion() / 10000, CUBLAS_VER_MAJOR);
  EXPECT_TRUE(is_loaded());
}

TEST(LazyCublasLt, PassesArgumentsAndResultsOn) {
  cublasLtMatrixLayout_t layout = nullptr;
  ASSERT_EQ(cublasLtMatrixLayoutCreate(&layout, CUDA_R_16BF, 3, 5, 7), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(cublasLtMatrixLayoutDestroy(layout), CUBLAS_STATUS_SUCCESS);

  cublasLtMatmulDesc_t product = nullptr;
  ASSERT_EQ(cublasLtMatmulDescCreate(&product, CUBLAS_COMPUTE_32F, CUDA_R_32F),
            CUBLAS_STATUS_SUCCESS);
  const cublasOperation_t transposed = CUBLAS_OP_T;
  EXPECT_EQ(cublasLtMatmulDescSetAttribute(product, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                           sizeof transposed),
            CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(cublasLtMatmulDescSetAttribute(product, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, 1),
            CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(cublasLtMatmulDescDestroy(product), CUBLAS_STATUS_SUCCESS);
  EXPECT_STRNE(cublasLtGetStatusString(CUBLAS_STATUS_INVALID_VALUE),
               cublasLtGetStatusString(CUBLAS_STATUS_SUCCESS));
}

TEST(LazyLibrary, SaysWhatIsMissingAndWhatFor) {
  EXPECT_THAT(
      error_of(ExitCode::configuration, [] { LazyLibrary("libnowhere.so.1", "this test"); }),
      AllOf(HasSubstr("libnowhere.so.1 is needed for this test"), HasSubstr("No such file")));
  const LazyLibrary c("libc.so.6", "this test");
  EXPECT_NE(c.address("strlen"), nullptr);
  EXPECT_THAT(error_of(ExitCode::configuration, [&] { c.address("strlength"); }),
              HasSubstr("libc.so.6 has no strlength"));
}

}  // namespace
