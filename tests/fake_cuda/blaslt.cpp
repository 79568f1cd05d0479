// Entry points of cuBLASLt.
#include "tests/fake_cuda/blaslt.h"

#include <cstring>

#include "tests/fake_cuda/calls.h"

using namespace dualpath::fake_cuda;

namespace {

cublasStatus_t answer_blas(const char* name, const std::function<void(Machine&)>& body) {
  switch (answer(name, body)) {
    case cudaSuccess:
      return CUBLAS_STATUS_SUCCESS;
    case cudaErrorNotSupported:
      return CUBLAS_STATUS_NOT_SUPPORTED;
    case cudaErrorLaunchFailure:
      return CUBLAS_STATUS_EXECUTION_FAILED;
    case cudaErrorNoDevice:
      return CUBLAS_STATUS_NOT_INITIALIZED;
    default:
      return CUBLAS_STATUS_INVALID_VALUE;
  }
}

template <class Value>
Value attribute(const void* bytes, std::size_t size) {
  require(size == sizeof(Value), cudaErrorInvalidValue, "an attribute of another size");
  Value value;
  std::memcpy(&value, bytes, size);
  return value;
}

// What cublasLtMatmulAlgo_t holds.
struct Algorithm {
  std::uint64_t number;  // from 1, so that none was chosen where it is 0
  std::uint64_t workspace_bytes;
  std::array<std::uint32_t, 4> alignments;  // promised for A, B, C, D
  std::uint64_t product;                    // that it was chosen for
};
static_assert(sizeof(Algorithm) <= sizeof(cublasLtMatmulAlgo_t));

std::uint64_t digest(const Product& product) {
  std::uint64_t hash = 0;
  const auto add = [&](auto value) {
    hash = (hash ^ static_cast<std::uint64_t>(value)) * 0x9e3779b97f4a7c15;
    hash ^= hash >> 32;
  };
  for (const Layout& layout : product.matrices) {
    add(layout.type);
    add(layout.rows);
    add(layout.columns);
    add(layout.leading_dimension);
  }
  for (const cublasOperation_t operation : product.description.operations) add(operation);
  return hash;
}

Product described(Machine& machine, cublasLtMatmulDesc_t description, cublasLtMatrixLayout_t a,
                  cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d) {
  Handles<Layout>& layouts = machine.blaslt().layouts;
  const Product product{.description = machine.blaslt().descriptions.at(description),
                        .matrices = {layouts.at(a), layouts.at(b), layouts.at(c), layouts.at(d)}};
  check_product(product);
  return product;
}

Algorithm checked(const Machine& machine, const cublasLtMatmulAlgo_t* algorithm,
                  const Product& product) {
  require(algorithm != nullptr, cudaErrorInvalidValue, "no algorithm");
  Algorithm own;
  std::memcpy(&own, algorithm, sizeof own);
  require(0 < own.number && own.number <= machine.options().product_milliseconds.size(),
          cudaErrorInvalidValue, "this is not an algorithm");
  require(own.product == digest(product), cudaErrorNotSupported,
          "an algorithm for another product");
  return own;
}

std::size_t bytes_of(const Layout& layout) {
  const std::size_t elements =
      (layout.columns - 1) * static_cast<std::size_t>(layout.leading_dimension) + layout.rows;
  return elements * (layout.type == CUDA_R_16BF ? 2 : 4);
}

void require_on_device(const Machine& machine, int device, const void* memory, std::size_t bytes,
                       const char* what) {
  require(machine.memory().owner_of(memory, bytes) == device, cudaErrorInvalidValue,
          fmt::format("{} is not in memory of device {}", what, device));
}

float scalar(const Machine& machine, const void* host) {
  require(machine.memory().owner_of(host, sizeof(float)) < 0, cudaErrorInvalidValue,
          "a factor that is not in the host's memory");
  float value;
  std::memcpy(&value, host, sizeof value);
  return value;
}

}  // namespace

std::size_t cublasLtGetVersion() {
  return CUBLAS_VERSION;
}

const char* cublasLtGetStatusString(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS:
      return "success";
    case CUBLAS_STATUS_NOT_INITIALIZED:
      return "not initialized";
    case CUBLAS_STATUS_INVALID_VALUE:
      return "invalid value";
    case CUBLAS_STATUS_NOT_SUPPORTED:
      return "not supported";
    case CUBLAS_STATUS_EXECUTION_FAILED:
      return "execution failed";
    default:
      return "an error";
  }
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t* library) {
  return answer_blas(__func__, [&](Machine& machine) {
    *library = machine.blaslt().libraries.add<cublasLtHandle_t>(current_device());
  });
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t library) {
  return answer_blas(__func__,
                     [&](Machine& machine) { machine.blaslt().libraries.remove(library); });
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType type,
                                          std::uint64_t rows, std::uint64_t columns,
                                          std::int64_t leading_dimension) {
  return answer_blas(__func__, [&](Machine& machine) {
    *layout = machine.blaslt().layouts.add<cublasLtMatrixLayout_t>(
        {type, rows, columns, leading_dimension});
  });
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  return answer_blas(__func__, [&](Machine& machine) { machine.blaslt().layouts.remove(layout); });
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* description,
                                        cublasComputeType_t compute_type,
                                        cudaDataType_t scale_type) {
  return answer_blas(__func__, [&](Machine& machine) {
    *description = machine.blaslt().descriptions.add<cublasLtMatmulDesc_t>(
        {.compute_type = compute_type, .scale_type = scale_type});
  });
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t description) {
  return answer_blas(__func__,
                     [&](Machine& machine) { machine.blaslt().descriptions.remove(description); });
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t description,
                                              cublasLtMatmulDescAttributes_t name,
                                              const void* value, std::size_t bytes) {
  return answer_blas(__func__, [&](Machine& machine) {
    require(name == CUBLASLT_MATMUL_DESC_TRANSA || name == CUBLASLT_MATMUL_DESC_TRANSB,
            cudaErrorNotSupported, "this attribute of a product");
    const auto operation = attribute<cublasOperation_t>(value, bytes);
    require(operation == CUBLAS_OP_N || operation == CUBLAS_OP_T, cudaErrorInvalidValue,
            "this operation on a matrix");
    Description changed = machine.blaslt().descriptions.at(description);
    changed.operations[name == CUBLASLT_MATMUL_DESC_TRANSB] = operation;
    machine.blaslt().descriptions.set(description, changed);
  });
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  return answer_blas(__func__, [&](Machine& machine) {
    *preference = machine.blaslt().preferences.add<cublasLtMatmulPreference_t>({});
  });
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  return answer_blas(__func__,
                     [&](Machine& machine) { machine.blaslt().preferences.remove(preference); });
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t name,
                                                    const void* value, std::size_t bytes) {
  return answer_blas(__func__, [&](Machine& machine) {
    Preference changed = machine.blaslt().preferences.at(preference);
    switch (name) {
      case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
        changed.workspace_bytes = attribute<std::uint64_t>(value, bytes);
        break;
      case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
      case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
      case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
      case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
        changed.alignments[name - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES] =
            attribute<std::uint32_t>(value, bytes);
        break;
      case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
        attribute<std::uint32_t>(value, bytes);  // no algorithm here has a scheme
        break;
      default:
        throw Refusal(cudaErrorNotSupported, "this preference");
    }
    machine.blaslt().preferences.set(preference, changed);
  });
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t library,
                                              cublasLtMatmulDesc_t description,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int num_asked,
                                              cublasLtMatmulHeuristicResult_t results[],
                                              int* num_found) {
  return answer_blas(__func__, [&](Machine& machine) {
    machine.blaslt().libraries.at(library);
    const Product product = described(machine, description, a, b, c, d);
    const Preference preferred = machine.blaslt().preferences.at(preference);
    require(num_asked > 0, cudaErrorInvalidValue, "no algorithms asked for");
    *num_found = 0;
    const std::size_t num_algorithms = machine.options().product_milliseconds.size();
    for (std::uint64_t i = 0; i < num_algorithms && *num_found < num_asked; ++i) {
      // Those that sum in parts need room for them.
      const Algorithm algorithm{i + 1, i * 4096, preferred.alignments, digest(product)};
      if (algorithm.workspace_bytes > preferred.workspace_bytes) break;
      cublasLtMatmulHeuristicResult_t& result = results[(*num_found)++];
      result = {};
      std::memcpy(&result.algo, &algorithm, sizeof algorithm);
      result.workspaceSize = algorithm.workspace_bytes;
      result.state = CUBLAS_STATUS_SUCCESS;
      result.wavesCount = 1;
    }
    require(*num_found > 0, cudaErrorNotSupported, "no algorithm");
  });
}

cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t library, cublasLtMatmulDesc_t description,
                                       cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                       cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                       const cublasLtMatmulAlgo_t* algorithm,
                                       cublasLtMatmulHeuristicResult_t* result) {
  return answer_blas(__func__, [&](Machine& machine) {
    machine.blaslt().libraries.at(library);
    const Algorithm own = checked(machine, algorithm, described(machine, description, a, b, c, d));
    *result = {};
    result->algo = *algorithm;
    result->workspaceSize = own.workspace_bytes;
    result->state = CUBLAS_STATUS_SUCCESS;
    result->wavesCount = 1;
  });
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t library, cublasLtMatmulDesc_t description,
                              const void* alpha, const void* a, cublasLtMatrixLayout_t layout_a,
                              const void* b, cublasLtMatrixLayout_t layout_b, const void* beta,
                              const void* c, cublasLtMatrixLayout_t layout_c, void* d,
                              cublasLtMatrixLayout_t layout_d,
                              const cublasLtMatmulAlgo_t* algorithm, void* workspace,
                              std::size_t workspace_bytes, cudaStream_t stream) {
  return answer_blas(__func__, [&](Machine& machine) {
    const int device = machine.blaslt().libraries.at(library);
    require(device == current_device() && device == machine.stream(stream).device(),
            cudaErrorInvalidResourceHandle,
            "the library, the stream and the current device are not the same device's");
    Product product = described(machine, description, layout_a, layout_b, layout_c, layout_d);
    const Algorithm own = checked(machine, algorithm, product);
    product.alpha = scalar(machine, alpha);
    product.beta = scalar(machine, beta);
    const void* matrices[] = {a, b, c, d};
    for (std::size_t i = 0; i < 4; ++i) {
      require_on_device(machine, device, matrices[i], bytes_of(product.matrices[i]), "a matrix");
      require(reinterpret_cast<std::uintptr_t>(matrices[i]) % own.alignments[i] == 0,
              cudaErrorNotSupported, "a matrix with less alignment than was promised");
    }
    require(own.workspace_bytes <= workspace_bytes, cudaErrorInvalidValue,
            "a workspace that is too small");
    require_on_device(machine, device, workspace, workspace_bytes, "the workspace");

    const Memory& memory = machine.memory();
    machine.enqueue(
        stream,
        [=, number = static_cast<int>(own.number) - 1, a = memory.near(a), b = memory.near(b),
         c = memory.near(c), d = memory.near(d), room = memory.near(workspace)] {
          std::memset(room, 0xff, own.workspace_bytes);  // it is the library's
          compute_product(product, number, a, b, c, d);
        },
        machine.options().product_milliseconds[own.number - 1]);
  });
}
