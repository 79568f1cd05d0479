#include "core/cuda/libraries/cudnn_graph.h"

#include <algorithm>

namespace dualpath {
namespace {

constexpr CudnnDims packed(const CudnnDims& dims) {
  return {dims[1] * dims[2] * dims[3], dims[2] * dims[3], dims[3], 1};
}

cudnnBackendDescriptor_t create(cudnnBackendDescriptorType_t type) {
  cudnnBackendDescriptor_t descriptor = nullptr;
  CUDNN_CHECK(cudnnBackendCreateDescriptor(type, &descriptor));
  return descriptor;
}

std::vector<CudnnDescriptor> engine_configs(const CudnnDescriptor& graph,
                                            const CudnnTarget& target) {
  CudnnDescriptor heuristics(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, CUDNN_HEUR_MODE_A);
  if (target.described_gpu != nullptr)
    heuristics.set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, *target.described_gpu);
  heuristics.finalize();
  std::vector<CudnnDescriptor> configs;
  std::int64_t count = 0;
  CUDNN_CHECK(cudnnBackendGetAttribute(heuristics.get(), CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                       CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, &count, nullptr));
  std::vector<cudnnBackendDescriptor_t> handles;
  for (std::int64_t i = 0; i < count; ++i)
    handles.push_back(configs.emplace_back(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR).get());
  CUDNN_CHECK(cudnnBackendGetAttribute(heuristics.get(), CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                       CUDNN_TYPE_BACKEND_DESCRIPTOR, count, &count,
                                       handles.data()));
  configs.erase(configs.begin() + count, configs.end());
  return configs;
}

// Whether the engine says of itself that its sums have no fixed order.
bool varies(const CudnnDescriptor& config) {
  const CudnnDescriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  cudnnBackendDescriptor_t handle = engine.get();
  std::int64_t count = 0;
  CUDNN_CHECK(cudnnBackendGetAttribute(config.get(), CUDNN_ATTR_ENGINECFG_ENGINE,
                                       CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &count, &handle));
  std::array<cudnnBackendNumericalNote_t, CUDNN_NUMERICAL_NOTE_TYPE_COUNT> notes{};
  CUDNN_CHECK(cudnnBackendGetAttribute(handle, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE,
                                       CUDNN_TYPE_NUMERICAL_NOTE, std::ssize(notes), &count,
                                       notes.data()));
  const auto told = std::span(notes).first(static_cast<std::size_t>(count));
  return std::ranges::count(told, CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC) > 0;
}

}  // namespace

ExitCode cudnn_code(cudnnStatus_t failure) {
  return failure == CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED ||
                 failure == CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED
             ? ExitCode::configuration
             : ExitCode::internal;
}

std::string cudnn_explanation() {
  std::array<char, 1024> text{};
  cudnnGetLastErrorString(text.data(), text.size());
  return text[0] == '\0' ? "" : fmt::format(" ({})", text.data());
}

CudnnDescriptor::CudnnDescriptor(cudnnBackendDescriptorType_t type) : handle_(create(type)) {}

CudnnTensor CudnnGraph::add(cudnnDataType_t type, const CudnnDims& dims, const CudnnDims& strides,
                            bool is_virtual, bool is_number) {
  const auto id = static_cast<std::int64_t>(tensors_.size()) + 1;
  CudnnDescriptor& tensor = tensors_.emplace_back(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  tensor.set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, type);
  tensor.set_all(CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, dims);
  tensor.set_all(CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, strides);
  tensor.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, id);
  tensor.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, std::int64_t{16});
  tensor.set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, is_virtual);
  tensor.set(CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, is_number);
  tensor.finalize();
  return {id, type, dims, strides};
}

CudnnTensor CudnnGraph::in_memory(cudnnDataType_t type, const CudnnDims& dims,
                                  const CudnnDims& strides) {
  return add(type, dims, strides, false, false);
}

CudnnTensor CudnnGraph::number(float value) {
  const CudnnTensor tensor = add(CUDNN_DATA_FLOAT, {1, 1, 1, 1}, {1, 1, 1, 1}, false, true);
  numbers_.push_back({tensor, value});
  return tensor;
}

CudnnTensor CudnnGraph::between(const CudnnDims& dims, cudnnDataType_t type) {
  return add(type, dims, packed(dims), true, false);
}

void CudnnGraph::add_operation(CudnnDescriptor operation) {
  operation.finalize();
  operations_.push_back(std::move(operation));
}

void CudnnGraph::matmul(CudnnTensor c, CudnnTensor a, CudnnTensor b) {
  CudnnDescriptor how(CUDNN_BACKEND_MATMUL_DESCRIPTOR);
  how.set(CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, CUDNN_DATA_FLOAT);
  how.finalize();
  CudnnDescriptor operation(CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_MATMUL_ADESC, descriptor(a));
  operation.set(CUDNN_ATTR_OPERATION_MATMUL_BDESC, descriptor(b));
  operation.set(CUDNN_ATTR_OPERATION_MATMUL_CDESC, descriptor(c));
  operation.set(CUDNN_ATTR_OPERATION_MATMUL_DESC, how);
  add_operation(std::move(operation));
}

CudnnDescriptor CudnnGraph::pointwise_operation(cudnnPointwiseMode_t mode, CudnnTensor y,
                                                CudnnTensor x, cudnnDataType_t compute,
                                                std::int64_t axis) {
  CudnnDescriptor how(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
  how.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, mode);
  how.set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, compute);
  if (axis >= 0) how.set(CUDNN_ATTR_POINTWISE_AXIS, CUDNN_TYPE_INT64, axis);
  how.finalize();
  CudnnDescriptor operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, how);
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, descriptor(x));
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, descriptor(y));
  return operation;
}

void CudnnGraph::apply_to(CudnnTensor y, cudnnPointwiseMode_t mode, CudnnTensor x) {
  add_operation(pointwise_operation(mode, y, x, CUDNN_DATA_FLOAT, -1));
}

void CudnnGraph::apply_to(CudnnTensor y, cudnnPointwiseMode_t mode, CudnnTensor x, CudnnTensor b) {
  const cudnnDataType_t compute =
      y.type == CUDNN_DATA_BOOLEAN ? CUDNN_DATA_BOOLEAN : CUDNN_DATA_FLOAT;
  CudnnDescriptor operation = pointwise_operation(mode, y, x, compute, -1);
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, descriptor(b));
  add_operation(std::move(operation));
}

void CudnnGraph::select(CudnnTensor y, CudnnTensor x, CudnnTensor otherwise, CudnnTensor where) {
  CudnnDescriptor operation =
      pointwise_operation(CUDNN_POINTWISE_BINARY_SELECT, y, x, CUDNN_DATA_FLOAT, -1);
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, descriptor(otherwise));
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_TDESC, descriptor(where));
  add_operation(std::move(operation));
}

void CudnnGraph::index(CudnnTensor y, CudnnTensor x, int axis) {
  add_operation(pointwise_operation(CUDNN_POINTWISE_GEN_INDEX, y, x, CUDNN_DATA_FLOAT, axis));
}

void CudnnGraph::reduce_to(CudnnTensor y, cudnnReduceTensorOp_t mode, CudnnTensor x) {
  CudnnDescriptor how(CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
  how.set(CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, mode);
  how.set(CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, CUDNN_DATA_FLOAT);
  how.finalize();
  CudnnDescriptor operation(CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_REDUCTION_XDESC, descriptor(x));
  operation.set(CUDNN_ATTR_OPERATION_REDUCTION_YDESC, descriptor(y));
  operation.set(CUDNN_ATTR_OPERATION_REDUCTION_DESC, how);
  add_operation(std::move(operation));
}

CudnnTensor CudnnGraph::apply(cudnnPointwiseMode_t mode, CudnnTensor x) {
  const CudnnTensor y = between(x.dims);
  apply_to(y, mode, x);
  return y;
}

CudnnTensor CudnnGraph::apply(cudnnPointwiseMode_t mode, CudnnTensor x, CudnnTensor b) {
  const CudnnTensor y = between(x.dims);
  apply_to(y, mode, x, b);
  return y;
}

CudnnTensor CudnnGraph::transpose(CudnnTensor x, cudnnDataType_t type) {
  CudnnDims dims = x.dims, strides = x.strides;
  std::swap(dims[2], dims[3]);
  std::swap(strides[2], strides[3]);
  const CudnnTensor y = add(type, dims, strides, true, false);
  CudnnDescriptor operation(CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_RESHAPE_XDESC, descriptor(x));
  operation.set(CUDNN_ATTR_OPERATION_RESHAPE_YDESC, descriptor(y));
  add_operation(std::move(operation));
  return y;
}

CudnnPlan::CudnnPlan(const CudnnGraph& graph, const CudnnTarget& target)
    : numbers_(graph.numbers_) {
  CudnnDescriptor whole(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  std::vector<cudnnBackendDescriptor_t> operations;
  for (const CudnnDescriptor& operation : graph.operations_) operations.push_back(operation.get());
  whole.set_all(CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, operations);
  if (target.handle != nullptr)
    whole.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, target.handle);
  whole.finalize();
  std::string reason = "it knows none";
  for (const CudnnDescriptor& config : engine_configs(whole, target)) {
    if (varies(config)) {
      reason = "none gives the same bits every time";
      continue;
    }
    plan_ = CudnnDescriptor(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    plan_.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config);
    if (target.handle != nullptr)
      plan_.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, target.handle);
    if (target.described_gpu != nullptr)
      plan_.set(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, *target.described_gpu);
    const cudnnStatus_t status = cudnnBackendFinalize(plan_.get());
    if (status == CUDNN_STATUS_SUCCESS) {
      std::int64_t count = 0;
      CUDNN_CHECK(cudnnBackendGetAttribute(plan_.get(), CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
                                           CUDNN_TYPE_INT64, 1, &count, &workspace_bytes_));
      return;
    }
    reason = cudnnGetErrorString(status) + cudnn_explanation();
    CHECK_AS(ExitCode::configuration, cudnn_code(status) != ExitCode::configuration,
             "cuDNN makes no plan: {}", reason);
  }
  DUALPATH_FAIL(ExitCode::internal, "cuDNN has no plan: {}", reason);
}

void CudnnPlan::run(cudnnHandle_t handle, std::initializer_list<CudnnOperand> operands,
                    void* workspace) {
  constexpr std::size_t most = 16;
  std::array<std::int64_t, most> ids{};
  std::array<const void*, most> data{};
  CHECK(operands.size() + numbers_.size() <= most, "{} operands", operands.size());
  std::size_t count = 0;
  for (const CudnnOperand& operand : operands) {
    ids[count] = operand.tensor.id;
    data[count++] = operand.data;
  }
  for (const CudnnNumber& number : numbers_) {
    ids[count] = number.tensor.id;
    data[count++] = &number.value;
  }
  CudnnDescriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  pack.set_all(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, std::span(ids).first(count));
  pack.set_all(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR,
               std::span(data).first(count));
  pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, workspace);
  pack.finalize();
  CUDNN_CHECK(cudnnBackendExecute(handle, plan_.get(), pack.get()));
}

}  // namespace dualpath
