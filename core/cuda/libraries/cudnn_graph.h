// A computation as cuDNN's graph API takes it, tensor by tensor and operation by operation, and the
// plan by which the library carries it out.
#pragma once

#include <array>
#include <cudnn.h>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/base/error.h"

// Throws Error(configuration) for lack of memory, else Error(internal), with the library's own
// explanation.
#define CUDNN_CHECK(call)                                                                \
  do {                                                                                   \
    const cudnnStatus_t cudnn_status = (call);                                           \
    CHECK_AS(::dualpath::cudnn_code(cudnn_status), cudnn_status == CUDNN_STATUS_SUCCESS, \
             "{}: {}{}", #call, cudnnGetErrorString(cudnn_status),                       \
             ::dualpath::cudnn_explanation());                                           \
  } while (false)

namespace dualpath {

ExitCode cudnn_code(cudnnStatus_t failure);
std::string cudnn_explanation();  // of this thread's last failed call: " (why)", or empty

// Owns a descriptor of the library's.
class CudnnDescriptor {
 public:
  explicit CudnnDescriptor(cudnnBackendDescriptorType_t type);
  cudnnBackendDescriptor_t get() const { return handle_.get(); }

  template <class Values>
  void set_all(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
               const Values& values) {
    CUDNN_CHECK(cudnnBackendSetAttribute(get(), name, type, std::ssize(values), std::data(values)));
  }
  template <class T>
  void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, const T& value) {
    CUDNN_CHECK(cudnnBackendSetAttribute(get(), name, type, 1, &value));
  }
  void set(cudnnBackendAttributeName_t name, const CudnnDescriptor& other) {
    set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, other.get());
  }
  void finalize() { CUDNN_CHECK(cudnnBackendFinalize(get())); }

 private:
  struct Destroy {
    void operator()(cudnnBackendDescriptor_t handle) const {
      cudnnBackendDestroyDescriptor(handle);
    }
  };
  std::unique_ptr<std::remove_pointer_t<cudnnBackendDescriptor_t>, Destroy> handle_;
};

using CudnnDims = std::array<std::int64_t, 4>;

// A tensor of a graph; `id` is unique in it.
struct CudnnTensor {
  std::int64_t id;
  cudnnDataType_t type;
  CudnnDims dims, strides;  // strides in elements
};

struct CudnnNumber {
  CudnnTensor tensor;
  float value;
};

// Operations compute in fp32, and what stands between them is fp32 where nothing else is said.
class CudnnGraph {
 public:
  // What lies in memory, and is told to CudnnPlan::run().
  CudnnTensor in_memory(cudnnDataType_t type, const CudnnDims& dims, const CudnnDims& strides);
  CudnnTensor number(float value);
  // What only stands between operations.
  CudnnTensor between(const CudnnDims& dims, cudnnDataType_t type = CUDNN_DATA_FLOAT);

  // c = a·b, of the last two dimensions; b's second dimension divides a's, and is repeated.
  void matmul(CudnnTensor c, CudnnTensor a, CudnnTensor b);
  // y = mode(x), mode(x, b); where ? x : otherwise
  void apply_to(CudnnTensor y, cudnnPointwiseMode_t mode, CudnnTensor x);
  void apply_to(CudnnTensor y, cudnnPointwiseMode_t mode, CudnnTensor x, CudnnTensor b);
  void select(CudnnTensor y, CudnnTensor x, CudnnTensor otherwise, CudnnTensor where);
  // y = the index of every element of x along `axis`
  void index(CudnnTensor y, CudnnTensor x, int axis);
  // y = the sum or largest of x along the dimensions in which y is smaller
  void reduce_to(CudnnTensor y, cudnnReduceTensorOp_t mode, CudnnTensor x);

  // The same into a tensor between operations, of x's shape.
  CudnnTensor apply(cudnnPointwiseMode_t mode, CudnnTensor x);
  CudnnTensor apply(cudnnPointwiseMode_t mode, CudnnTensor x, CudnnTensor b);
  // x with its last two dimensions exchanged, rounded to `type`.
  CudnnTensor transpose(CudnnTensor x, cudnnDataType_t type);

 private:
  friend class CudnnPlan;
  CudnnTensor add(cudnnDataType_t type, const CudnnDims& dims, const CudnnDims& strides,
                  bool is_virtual, bool is_number);
  CudnnDescriptor& descriptor(const CudnnTensor& tensor) { return tensors_[index_of(tensor)]; }
  static std::size_t index_of(const CudnnTensor& tensor) {
    return static_cast<std::size_t>(tensor.id - 1);
  }
  CudnnDescriptor pointwise_operation(cudnnPointwiseMode_t mode, CudnnTensor y, CudnnTensor x,
                                      cudnnDataType_t compute, std::int64_t axis);
  void add_operation(CudnnDescriptor operation);

  std::vector<CudnnDescriptor> tensors_;  // id 1 first
  std::vector<CudnnDescriptor> operations_;
  std::vector<CudnnNumber> numbers_;
};

struct CudnnOperand {
  CudnnTensor tensor;
  const void* data;  // on the GPU
};

// What a plan is made for: the GPU of a handle, or, for tests, a GPU that is only described.
struct CudnnTarget {
  cudnnHandle_t handle = nullptr;
  const CudnnDescriptor* described_gpu = nullptr;
};

class CudnnPlan {
 public:
  // The first that the heuristics name and that gives the same bits every time. Throws
  // Error(internal) where the library has none, Error(configuration) for lack of memory.
  CudnnPlan(const CudnnGraph& graph, const CudnnTarget& target);

  std::int64_t workspace_bytes() const { return workspace_bytes_; }
  // On the handle's stream, with every tensor that lies in memory.
  void run(cudnnHandle_t handle, std::initializer_list<CudnnOperand> operands, void* workspace);

 private:
  std::vector<CudnnNumber> numbers_;
  CudnnDescriptor plan_{CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR};
  std::int64_t workspace_bytes_ = 0;
};

}  // namespace dualpath
