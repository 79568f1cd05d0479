#include "tests/fake_cuda/machine.h"

#include "core/base/error.h"
#include "tests/fake_cuda/blaslt.h"
#include "tests/fake_cuda/calls.h"
#include "tests/fake_cuda/cudnn.h"
#include "tests/gpu_emulator/emulated_block.h"

namespace dualpath::fake_cuda {
namespace {

Machine* the_machine = nullptr;
thread_local int own_device = 0;
thread_local cudaError_t last_error = cudaSuccess;

}  // namespace

Machine::Machine(const MachineOptions& options)
    : options_(options),
      memory_(options.memory_bytes),
      block_(std::make_unique<EmulatedBlock>(options.seed)),
      blaslt_(std::make_unique<Blaslt>()),
      cudnn_(std::make_unique<Cudnn>()),
      scheduler_(options.seed, options.patience) {
  for (int device = 0; device < options_.devices; ++device)
    default_streams_.push_back(&scheduler_.make_stream(device));
  the_machine = this;
}

Machine::~Machine() {
  the_machine = nullptr;
}

std::vector<std::string> Machine::leaks() const {
  std::vector<std::string> found = memory_.leaks();
  events_.append_leaks(found);
  streams_.append_leaks(found);
  graphs_.append_leaks(found);
  executables_.append_leaks(found);
  blaslt_->append_leaks(found);
  cudnn_->append_leaks(found);
  return found;
}

Scheduler::Stream& Machine::stream(cudaStream_t handle) {
  if (handle == nullptr) return *default_streams_[static_cast<std::size_t>(current_device())];
  return *streams_.at(handle);
}

bool Machine::is_there() {
  return the_machine != nullptr;
}

Machine& Machine::current() {
  require(the_machine != nullptr, cudaErrorNoDevice, "there is no machine with fake GPUs");
  return *the_machine;
}

void Machine::declare_shared_bytes(const void* function, std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  shared_bytes_[{current_device(), function}] = bytes;
}

std::size_t Machine::declared_shared_bytes(const void* function) const {
  const std::lock_guard lock(mutex_);
  const auto declared = shared_bytes_.find({current_device(), function});
  return declared == shared_bytes_.end() ? 0 : declared->second;
}

void Machine::enqueue(cudaStream_t handle, std::function<void()> work, double milliseconds) {
  Scheduler::Stream& on = stream(handle);
  if (captures_.is_capturing(on)) return captures_.add(on, {std::move(work), milliseconds});
  scheduler_.issue(
      on,
      [work = std::move(work)] {
        work();
        return true;
      },
      milliseconds);
}

void Machine::poll(cudaStream_t handle, std::function<bool()> is_done) {
  Scheduler::Stream& on = stream(handle);
  captures_.refuse_in(on, cudaErrorNotSupported, "polled work in a capture is not imitated");
  scheduler_.issue(on, std::move(is_done), 0.001);
}

int current_device() {
  return own_device;
}

cudaError_t answer(const char* name, const std::function<void(Machine&)>& body) {
  if (the_machine == nullptr) return cudaErrorNoDevice;
  std::string failure = the_machine->scheduler().failure();
  cudaError_t error = cudaErrorLaunchFailure;
  if (failure.empty()) {
    try {
      body(*the_machine);
      failure = the_machine->scheduler().failure();
      if (failure.empty()) return cudaSuccess;
    } catch (const Refusal& refusal) {
      failure = refusal.what();
      error = refusal.error;
    }
  }
  fmt::print(stderr, "{}: {}\n", name, failure);
  return error;
}

cudaError_t answer_runtime(const char* name, const std::function<void(Machine&)>& body) {
  const cudaError_t error = answer(name, body);
  if (error != cudaSuccess) last_error = error;
  return error;
}

}  // namespace dualpath::fake_cuda

using namespace dualpath::fake_cuda;

cudaError_t cudaSetDevice(int device) {
  return answer_runtime(__func__, [&](Machine& machine) {
    require(0 <= device && device < machine.options().devices, cudaErrorInvalidDevice,
            fmt::format("there is no device {}", device));
    own_device = device;
  });
}

cudaError_t cudaGetDevice(int* device) {
  return answer_runtime(__func__, [&](Machine&) { *device = own_device; });
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 0;
  return answer_runtime(__func__, [&](Machine& machine) { *count = machine.options().devices; });
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  return answer_runtime(__func__, [&](Machine& machine) {
    require(0 <= device && device < machine.options().devices, cudaErrorInvalidDevice,
            fmt::format("there is no device {}", device));
    *properties = {};
    fmt::format_to_n(properties->name, sizeof properties->name - 1, "fake GPU");
    properties->major = 9;
    properties->multiProcessorCount = machine.options().multiprocessors;
    properties->sharedMemPerBlockOptin = machine.options().shared_bytes;
    properties->l2CacheSize = 1 << 20;
    properties->totalGlobalMem = machine.options().memory_bytes;
  });
}

cudaError_t cudaDeviceGetPCIBusId(char* place, int length, int device) {
  return answer_runtime(__func__, [&](Machine& machine) {
    require(0 <= device && device < machine.options().devices, cudaErrorInvalidDevice,
            fmt::format("there is no device {}", device));
    require(length >= 13, cudaErrorInvalidValue, "no room for a place on the bus");
    *fmt::format_to(place, "0000:{:02x}:00.0", device) = '\0';
  });
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaGetLastError() {
  return std::exchange(last_error, cudaSuccess);
}

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    case cudaErrorNoDevice:
      return "no CUDA-capable device is detected";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    case cudaErrorInvalidResourceHandle:
      return "invalid resource handle";
    case cudaErrorNotReady:
      return "device not ready";
    case cudaErrorLaunchFailure:
      return "unspecified launch failure";
    case cudaErrorStreamCaptureUnsupported:
      return "operation not permitted when stream is capturing";
    case cudaErrorStreamCaptureInvalidated:
      return "operation failed due to a previous error during capture";
    default:
      return "an error";
  }
}
