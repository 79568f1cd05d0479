// Entry points of cuDNN, for the graphs of core/cuda/cudnn_attention: the first engine that its
// heuristics name has no fixed order, the second has.
#include "tests/fake_cuda/cudnn.h"

#include <cstring>
#include <cudnn.h>

#include "core/base/error.h"
#include "tests/fake_cuda/calls.h"
#include "tests/fake_cuda/cudnn_graph_run.h"

using namespace dualpath::fake_cuda;

namespace {

thread_local std::string last_error;

cudnnStatus_t answer_cudnn(const char* name, const std::function<void(Machine&)>& body) {
  last_error.clear();
  const auto told = [&](Machine& machine) {
    try {
      body(machine);
    } catch (const Refusal& refusal) {
      last_error = refusal.what();
      throw;
    }
  };
  switch (answer(name, told)) {
    case cudaSuccess:
      return CUDNN_STATUS_SUCCESS;
    case cudaErrorNotSupported:
      return CUDNN_STATUS_NOT_SUPPORTED;
    case cudaErrorMemoryAllocation:
      return CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED;
    case cudaErrorLaunchFailure:
      return CUDNN_STATUS_EXECUTION_FAILED;
    case cudaErrorNoDevice:
      return CUDNN_STATUS_NOT_INITIALIZED;
    default:
      return CUDNN_STATUS_BAD_PARAM;
  }
}

std::size_t bytes_of(cudnnBackendAttributeType_t type) {
  switch (type) {
    case CUDNN_TYPE_HANDLE:
    case CUDNN_TYPE_INT64:
    case CUDNN_TYPE_VOID_PTR:
      return 8;
    case CUDNN_TYPE_BOOLEAN:
      return 1;
    default:
      return sizeof(int);  // enumerations
  }
}

std::shared_ptr<const CudnnNode> node_of(const CudnnNode& node, int name) {
  return node.attributes.at(name).nodes.at(0);
}

const void* address_of(const CudnnNode& node, int name) {
  const void* address = nullptr;
  std::memcpy(&address, node.attributes.at(name).bytes.data(), sizeof address);
  return address;
}

// The last dimension's heads are of multiples of eight elements.
bool is_supported(const CudnnNode& graph) {
  for (const CudnnTensorView& t : tensors_of(graph)) {
    if (t.is_virtual || t.is_number || t.type != CUDNN_DATA_BFLOAT16) continue;
    if (t.dims[t.strides[3] == 1 ? 3 : 2] % 8 != 0) return false;
  }
  return true;
}

// An engine's configuration, with its graph beside it; `varies`: its sums have no fixed order.
CudnnNode engine_config(const std::shared_ptr<const CudnnNode>& graph, bool varies) {
  CudnnNode engine{.type = CUDNN_BACKEND_ENGINE_DESCRIPTOR, .finalized = true, .attributes = {}};
  auto& notes = engine.attributes[CUDNN_ATTR_ENGINE_NUMERICAL_NOTE].bytes;
  if (varies) {
    const cudnnBackendNumericalNote_t note = CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC;
    notes.resize(sizeof note);
    std::memcpy(notes.data(), &note, sizeof note);
  }
  engine.attributes[CUDNN_ATTR_ENGINE_OPERATION_GRAPH].nodes = {graph};
  CudnnNode config{.type = CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, .finalized = true, .attributes = {}};
  config.attributes[CUDNN_ATTR_ENGINECFG_ENGINE].nodes = {
      std::make_shared<const CudnnNode>(std::move(engine))};
  return config;
}

void find_engines(CudnnNode& heuristics) {
  const auto graph = node_of(heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH);
  auto& results = heuristics.attributes[CUDNN_ATTR_ENGINEHEUR_RESULTS].nodes;
  if (!is_supported(*graph)) return;
  for (const bool varies : {true, false})
    results.push_back(std::make_shared<const CudnnNode>(engine_config(graph, varies)));
}

const CudnnNode& graph_of(const CudnnNode& plan) {
  const auto config = node_of(plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
  const auto engine = node_of(*config, CUDNN_ATTR_ENGINECFG_ENGINE);
  return *node_of(*engine, CUDNN_ATTR_ENGINE_OPERATION_GRAPH);
}

// The largest tensor between operations, in bf16.
std::int64_t workspace_bytes(const CudnnNode& plan) {
  std::int64_t bytes = 0;
  for (const CudnnTensorView& t : tensors_of(graph_of(plan)))
    if (t.is_virtual) bytes = std::max(bytes, 2 * t.numel());
  return bytes;
}

void finish_plan(Machine& machine, CudnnNode& plan) {
  require(machine.options().cudnn != MachineOptions::Cudnn::without_memory,
          cudaErrorMemoryAllocation, "no memory for a plan");
  auto& bytes = plan.attributes[CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE].bytes;
  const std::int64_t count = workspace_bytes(plan);
  bytes.resize(sizeof count);
  std::memcpy(bytes.data(), &count, sizeof count);
}

struct Operands {
  std::map<std::int64_t, void*> memory;
  std::map<std::int64_t, float> numbers;
  void* workspace = nullptr;
};

// Every tensor's, in memory of the device.
Operands operands_of(Machine& machine, int device, const CudnnNode& plan, const CudnnNode& pack) {
  const auto& ids = pack.attributes.at(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS).bytes;
  const auto& pointers = pack.attributes.at(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS).bytes;
  require(ids.size() == pointers.size(), cudaErrorInvalidValue, "operands without a tensor");
  std::map<std::int64_t, void*> given;
  for (std::size_t at = 0; at < ids.size(); at += 8) {
    std::int64_t id = 0;
    void* pointer = nullptr;
    std::memcpy(&id, &ids[at], 8);
    std::memcpy(&pointer, &pointers[at], 8);
    given[id] = pointer;
  }
  Operands operands;
  for (const CudnnTensorView& t : tensors_of(graph_of(plan))) {
    if (t.is_virtual) continue;
    require(given.contains(t.id), cudaErrorInvalidValue, "a tensor without an operand");
    void* const data = given.at(t.id);
    if (t.is_number) {
      std::memcpy(&operands.numbers[t.id], data, sizeof(float));
      continue;
    }
    require(reinterpret_cast<std::uintptr_t>(data) % 16 == 0, cudaErrorInvalidValue,
            "an operand at no multiple of 16 bytes");
    require(machine.memory().owner_of(data, t.bytes()) == device, cudaErrorInvalidValue,
            "an operand in another memory");
    operands.memory[t.id] = data;
  }
  operands.workspace = const_cast<void*>(address_of(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE));
  return operands;
}

void execute(Machine& machine, cudnnHandle_t handle, const std::shared_ptr<CudnnNode>& plan,
             const CudnnNode& pack) {
  const Cudnn::Library library = machine.cudnn().libraries.at(handle);
  require(current_device() == library.device, cudaErrorInvalidValue,
          "the calling thread uses another GPU than the handle");
  Operands operands = operands_of(machine, library.device, *plan, pack);
  const auto scratch = static_cast<std::size_t>(workspace_bytes(*plan));
  require(machine.memory().owner_of(operands.workspace, scratch) == library.device,
          cudaErrorInvalidValue, "a workspace in another memory");
  machine.enqueue(library.stream, [&machine, plan, operands, scratch]() mutable {
    for (auto& [id, data] : operands.memory) data = machine.memory().near(data);
    std::memset(machine.memory().near(operands.workspace), 0x7b, scratch);
    run_graph(graph_of(*plan), operands.memory, operands.numbers);
  });
}

std::shared_ptr<CudnnNode> node(Machine& machine, cudnnBackendDescriptor_t descriptor) {
  return machine.cudnn().descriptors.at(descriptor);
}

}  // namespace

std::size_t cudnnGetVersion() {
  CHECK_AS(
      dualpath::ExitCode::configuration,
      Machine::is_there() && Machine::current().options().cudnn != MachineOptions::Cudnn::none,
      "libcudnn_graph.so.9 is needed for cuDNN's attention and cannot be loaded: no such file");
  return CUDNN_VERSION;
}

const char* cudnnGetErrorString(cudnnStatus_t status) {
  switch (status) {
    case CUDNN_STATUS_NOT_SUPPORTED:
      return "CUDNN_STATUS_NOT_SUPPORTED";
    case CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED:
      return "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED";
    case CUDNN_STATUS_BAD_PARAM:
      return "CUDNN_STATUS_BAD_PARAM";
    default:
      return "another status of cuDNN";
  }
}

void cudnnGetLastErrorString(char* text, std::size_t size) {
  *fmt::format_to_n(text, size - 1, "{}", last_error).out = '\0';
}

cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) {
  return answer_cudnn(__func__, [&](Machine& machine) {
    *handle = machine.cudnn().libraries.add<cudnnHandle_t>({current_device(), nullptr});
  });
}

cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) {
  return answer_cudnn(__func__,
                      [&](Machine& machine) { machine.cudnn().libraries.remove(handle); });
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
  return answer_cudnn(__func__, [&](Machine& machine) {
    Cudnn::Library library = machine.cudnn().libraries.at(handle);
    require(machine.stream(stream).device() == library.device, cudaErrorInvalidValue,
            "a stream of another GPU than the handle's");
    library.stream = stream;
    machine.cudnn().libraries.set(handle, library);
  });
}

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type,
                                           cudnnBackendDescriptor_t* descriptor) {
  return answer_cudnn(__func__, [&](Machine& machine) {
    *descriptor = machine.cudnn().descriptors.add<cudnnBackendDescriptor_t>(
        std::make_shared<CudnnNode>(CudnnNode{.type = type, .finalized = false, .attributes = {}}));
  });
}

cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor) {
  return answer_cudnn(__func__,
                      [&](Machine& machine) { machine.cudnn().descriptors.remove(descriptor); });
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor,
                                       cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, std::int64_t count,
                                       const void* values) {
  return answer_cudnn(__func__, [&](Machine& machine) {
    const auto target = node(machine, descriptor);
    require(!target->finalized, cudaErrorInvalidValue, "a descriptor that is finalized");
    CudnnNode::Attribute attribute;
    if (type == CUDNN_TYPE_BACKEND_DESCRIPTOR) {
      const auto* descriptors = static_cast<const cudnnBackendDescriptor_t*>(values);
      for (std::int64_t i = 0; i < count; ++i) {
        attribute.nodes.push_back(node(machine, descriptors[i]));
        require(attribute.nodes.back()->finalized, cudaErrorInvalidValue,
                "a descriptor that is not finalized");
      }
    } else {
      const auto* bytes = static_cast<const std::byte*>(values);
      attribute.bytes.assign(bytes, bytes + static_cast<std::size_t>(count) * bytes_of(type));
    }
    target->attributes[name] = std::move(attribute);
  });
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor) {
  return answer_cudnn(__func__, [&](Machine& machine) {
    const auto target = node(machine, descriptor);
    if (target->type == CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR) find_engines(*target);
    if (target->type == CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR) finish_plan(machine, *target);
    target->finalized = true;
  });
}

// Descriptors are filled in into those of the caller.
cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t descriptor,
                                       cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, std::int64_t most,
                                       std::int64_t* count, void* values) {
  return answer_cudnn(__func__, [&](Machine& machine) {
    const auto target = node(machine, descriptor);
    require(target->finalized, cudaErrorInvalidValue, "a descriptor that is not finalized");
    const CudnnNode::Attribute& attribute = target->attributes[name];
    if (type != CUDNN_TYPE_BACKEND_DESCRIPTOR) {
      *count = std::ssize(attribute.bytes) / static_cast<std::int64_t>(bytes_of(type));
      require(*count <= most, cudaErrorInvalidValue, "no room for an attribute");
      if (*count > 0) std::memcpy(values, attribute.bytes.data(), attribute.bytes.size());
      return;
    }
    *count = std::ssize(attribute.nodes);
    const auto* places = static_cast<const cudnnBackendDescriptor_t*>(values);
    for (std::int64_t i = 0; i < std::min(*count, most); ++i)
      *node(machine, places[i]) = *attribute.nodes[static_cast<std::size_t>(i)];
  });
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan,
                                  cudnnBackendDescriptor_t operands) {
  return answer_cudnn(__func__, [&](Machine& machine) {
    execute(machine, handle, node(machine, plan), *node(machine, operands));
  });
}
