// The fake cuBLASLt: what it refuses, and that an algorithm gives the same bits every time.
#include <cstring>
#include <cublasLt.h>
#include <gmock/gmock.h>

#include "tests/fake_cuda/machine.h"

namespace dualpath::fake_cuda {
namespace {

constexpr std::uint64_t rows = 3, inner = 50, columns = 2;

// D [rows, columns] = A [rows, inner] · B [inner, columns], column-major, of one device.
class FakeBlaslt : public testing::Test {
 protected:
  FakeBlaslt() {
    cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking);
    EXPECT_EQ(cublasLtCreate(&library_), CUBLAS_STATUS_SUCCESS);
    cublasLtMatmulDescCreate(&description_, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    cublasLtMatmulPreferenceCreate(&preference_);
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::uint64_t{workspace_bytes});
    a_ = layout(rows, inner);
    b_ = layout(inner, columns);
    d_ = layout(rows, columns);
    cudaMalloc(&memory_, bytes);
    std::vector<float> values(bytes / sizeof(float));
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = 1 / static_cast<float>(i % 97 + 1);
    cudaMemcpyAsync(memory_, values.data(), bytes, cudaMemcpyHostToDevice, stream_);
  }

  static cublasLtMatrixLayout_t layout(std::uint64_t r, std::uint64_t c, std::int64_t stride = 0,
                                       cudaDataType type = CUDA_R_32F) {
    cublasLtMatrixLayout_t made = nullptr;
    cublasLtMatrixLayoutCreate(&made, type, r, c,
                               stride == 0 ? static_cast<std::int64_t>(r) : stride);
    return made;
  }
  template <class T>
  void prefer(cublasLtMatmulPreferenceAttributes_t name, T value) {
    EXPECT_EQ(cublasLtMatmulPreferenceSetAttribute(preference_, name, &value, sizeof value),
              CUBLAS_STATUS_SUCCESS);
  }

  cublasStatus_t propose(std::vector<cublasLtMatmulHeuristicResult_t>& found, int num_asked = 5) {
    found.resize(static_cast<std::size_t>(num_asked));
    int num_found = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
        library_, description_, a_, b_, d_, d_, preference_, num_asked, found.data(), &num_found);
    found.resize(static_cast<std::size_t>(num_found));
    return status;
  }
  cublasLtMatmulAlgo_t algorithm(std::size_t i = 0) {
    std::vector<cublasLtMatmulHeuristicResult_t> found;
    EXPECT_EQ(propose(found), CUBLAS_STATUS_SUCCESS);
    return found.at(i).algo;
  }

  std::byte* at(std::size_t offset) const { return static_cast<std::byte*>(memory_) + offset; }
  std::byte* matrix_a() const { return at(0); }
  std::byte* matrix_b() const { return at(4096); }
  std::byte* matrix_d() const { return at(8192); }
  std::byte* workspace() const { return at(bytes - workspace_bytes); }

  cublasStatus_t multiply(const cublasLtMatmulAlgo_t& chosen, const float& beta, const void* a,
                          std::size_t room = workspace_bytes) {
    const float alpha = 1;
    return cublasLtMatmul(library_, description_, &alpha, a, a_, matrix_b(), b_, &beta, matrix_d(),
                          d_, matrix_d(), d_, &chosen, workspace(), room, stream_);
  }
  std::vector<float> product(std::size_t i) {
    EXPECT_EQ(multiply(algorithm(i), 0, matrix_a()), CUBLAS_STATUS_SUCCESS);
    std::vector<float> result(rows * columns);
    EXPECT_EQ(cudaMemcpyAsync(result.data(), matrix_d(), result.size() * sizeof(float),
                              cudaMemcpyDeviceToHost, stream_),
              cudaSuccess);
    return result;
  }

  static constexpr std::size_t workspace_bytes = 1 << 20, bytes = 2 << 20;
  Machine machine_;
  cudaStream_t stream_ = nullptr;
  cublasLtHandle_t library_ = nullptr;
  cublasLtMatmulDesc_t description_ = nullptr;
  cublasLtMatmulPreference_t preference_ = nullptr;
  cublasLtMatrixLayout_t a_ = nullptr, b_ = nullptr, d_ = nullptr;
  void* memory_ = nullptr;
};

TEST_F(FakeBlaslt, AnAlgorithmGivesTheSameBitsEveryTime) {
  const std::vector<float> first = product(0), second = product(1);
  EXPECT_EQ(product(0), first);
  EXPECT_EQ(product(1), second);
  EXPECT_NE(first, second);
  const auto value = [](std::size_t offset, std::uint64_t i) {
    return 1 / static_cast<double>((offset / sizeof(float) + i) % 97 + 1);
  };
  for (std::uint64_t row = 0; row < rows; ++row) {
    for (std::uint64_t column = 0; column < columns; ++column) {
      double sum = 0;
      for (std::uint64_t k = 0; k < inner; ++k)
        sum += value(0, k * rows + row) * value(4096, column * inner + k);
      // All terms are positive: each of fewer than 2·inner roundings is of a part of the sum.
      EXPECT_NEAR(first[column * rows + row], sum, 2 * inner * 0x1p-24 * sum);
    }
  }
}

TEST_F(FakeBlaslt, AlgorithmsTakeTheirTime) {
  const auto time_of = [&](std::size_t i) {
    cudaEvent_t begin, end;
    cudaEventCreate(&begin);
    cudaEventCreate(&end);
    cudaEventRecord(begin, stream_);
    multiply(algorithm(i), 0, matrix_a());
    cudaEventRecord(end, stream_);
    cudaEventSynchronize(end);
    float milliseconds = 0;
    EXPECT_EQ(cudaEventElapsedTime(&milliseconds, begin, end), cudaSuccess);
    return milliseconds;
  };
  const auto& expected = machine_.options().product_milliseconds;
  for (std::size_t i = 0; i < expected.size(); ++i)
    EXPECT_FLOAT_EQ(time_of(i), static_cast<float>(expected[i]));
}

TEST_F(FakeBlaslt, FactorsAreReadWhenTheProductIsIssued) {
  const std::vector<float> once = product(0);
  float beta = 1;
  EXPECT_EQ(multiply(algorithm(), beta, matrix_a()), CUBLAS_STATUS_SUCCESS);
  beta = 0;
  std::vector<float> twice(once.size());
  cudaMemcpyAsync(twice.data(), matrix_d(), twice.size() * sizeof(float), cudaMemcpyDeviceToHost,
                  stream_);
  for (std::size_t i = 0; i < once.size(); ++i) EXPECT_EQ(twice[i], 2 * once[i]);
}

TEST_F(FakeBlaslt, ProposesWhatFitsTheWorkspace) {
  std::vector<cublasLtMatmulHeuristicResult_t> found;
  EXPECT_EQ(propose(found), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(found.size(), machine_.options().product_milliseconds.size());
  EXPECT_EQ(propose(found, 2), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(found.size(), 2u);
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::uint64_t{0});
  EXPECT_EQ(propose(found), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(found.size(), 1u);
}

TEST_F(FakeBlaslt, RefusesWrongProducts) {
  std::vector<cublasLtMatmulHeuristicResult_t> found;
  a_ = layout(rows, inner + 1);
  EXPECT_EQ(propose(found), CUBLAS_STATUS_INVALID_VALUE);
  a_ = layout(rows, inner, rows - 1);
  EXPECT_EQ(propose(found), CUBLAS_STATUS_INVALID_VALUE);
  a_ = layout(rows, inner, rows, CUDA_R_16BF);
  EXPECT_EQ(propose(found), CUBLAS_STATUS_INVALID_VALUE);
  a_ = layout(inner, rows);
  EXPECT_EQ(propose(found), CUBLAS_STATUS_INVALID_VALUE);
  const cublasOperation_t transpose = CUBLAS_OP_T;
  EXPECT_EQ(cublasLtMatmulDescSetAttribute(description_, CUBLASLT_MATMUL_DESC_TRANSA, &transpose,
                                           sizeof transpose),
            CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(propose(found), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(
      cublasLtMatmulDescSetAttribute(description_, CUBLASLT_MATMUL_DESC_TRANSA, &transpose, 1),
      CUBLAS_STATUS_INVALID_VALUE);
  cublasLtMatrixLayoutDestroy(a_);
  EXPECT_EQ(propose(found), CUBLAS_STATUS_INVALID_VALUE);
}

TEST_F(FakeBlaslt, RefusesWhatWasNotPromised) {
  const cublasLtMatmulAlgo_t chosen = algorithm(), in_parts = algorithm(1);
  EXPECT_EQ(multiply(chosen, 0, at(16)), CUBLAS_STATUS_NOT_SUPPORTED);  // alignment
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, std::uint32_t{16});
  EXPECT_EQ(multiply(algorithm(), 0, at(16)), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(multiply(chosen, 0, at(bytes - 256)), CUBLAS_STATUS_INVALID_VALUE);  // its end
  const std::vector<float> host(rows * inner + 64);
  EXPECT_EQ(multiply(chosen, 0, host.data()), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(multiply(in_parts, 0, matrix_a(), 16), CUBLAS_STATUS_INVALID_VALUE);  // workspace
  EXPECT_EQ(multiply({}, 0, matrix_a()), CUBLAS_STATUS_INVALID_VALUE);
  a_ = layout(rows, inner, rows + 1);
  EXPECT_EQ(multiply(chosen, 0, matrix_a()), CUBLAS_STATUS_NOT_SUPPORTED);  // another product's
  cublasLtMatmulHeuristicResult_t checked;
  EXPECT_EQ(cublasLtMatmulAlgoCheck(library_, description_, a_, b_, d_, d_, &chosen, &checked),
            CUBLAS_STATUS_NOT_SUPPORTED);
}

TEST_F(FakeBlaslt, RefusesAnotherDevice) {
  const cublasLtMatmulAlgo_t chosen = algorithm();
  cudaSetDevice(1);
  EXPECT_EQ(multiply(chosen, 0, matrix_a()), CUBLAS_STATUS_INVALID_VALUE);
  cudaSetDevice(0);
  EXPECT_EQ(multiply(chosen, 0, matrix_a()), CUBLAS_STATUS_SUCCESS);
}

}  // namespace
}  // namespace dualpath::fake_cuda
