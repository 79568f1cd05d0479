// What the program has made of cuBLASLt's, and the products that it asks for.
#pragma once

#include <array>
#include <cublasLt.h>

#include "tests/fake_cuda/handles.h"
#include "tests/fake_cuda/memory.h"

namespace dualpath::fake_cuda {

// A column-major matrix in device memory.
struct Layout {
  cudaDataType type;
  std::uint64_t rows, columns;
  std::int64_t leading_dimension;
  bool operator==(const Layout&) const = default;
};

struct Description {
  cublasComputeType_t compute_type;
  cudaDataType scale_type;
  std::array<cublasOperation_t, 2> operations{CUBLAS_OP_N, CUBLAS_OP_N};
};

struct Preference {
  std::uint64_t workspace_bytes = 0;
  std::array<std::uint32_t, 4> alignments{256, 256, 256, 256};  // of A, B, C, D
};

class Blaslt {
 public:
  Handles<int> libraries{"cuBLASLt handle"};  // the device of each
  Handles<Layout> layouts{"matrix layout"};
  Handles<Description> descriptions{"product description"};
  Handles<Preference> preferences{"preference of products"};

  void append_leaks(std::vector<std::string>& leaks) const {
    libraries.append_leaks(leaks);
    layouts.append_leaks(leaks);
    descriptions.append_leaks(leaks);
    preferences.append_leaks(leaks);
  }
};

// D = alpha·op(A)·op(B) + beta·C
struct Product {
  Description description;
  std::array<Layout, 4> matrices;  // A, B, C, D
  float alpha = 1, beta = 0;
};

// Throws Refusal for a product that cuBLASLt does not compute.
void check_product(const Product& product);

// At near addresses. Sums in fp32 of values in fp32, whose order is the algorithm's; C is not read
// where beta is 0.
void compute_product(const Product& product, int algorithm, const void* a, const void* b,
                     const void* c, void* d);

}  // namespace dualpath::fake_cuda
