// Memory and copies of the CUDA runtime.
#include <cstring>

#include "tests/fake_cuda/calls.h"

using namespace dualpath::fake_cuda;

namespace {

// What a copy takes one side for.
void require_side(int owner, bool device, const char* side) {
  require((owner >= 0) == device, cudaErrorInvalidValue,
          fmt::format("a copy whose {} is {} memory", side, device ? "the host's" : "device"));
}

}  // namespace

cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
  return answer_runtime(__func__, [&](Machine& machine) {
    machine.captures().refuse_beside(__func__);
    *memory = machine.memory().allocate(current_device(), bytes);
    require(*memory != nullptr, cudaErrorMemoryAllocation, fmt::format("no {} bytes", bytes));
  });
}

// After all work of the device.
cudaError_t cudaFree(void* memory) {
  return answer_runtime(__func__, [&](Machine& machine) {
    if (memory == nullptr) return;
    machine.captures().refuse_beside(__func__);
    const int owner = machine.memory().owner_of(memory, 0);
    require(owner >= 0, cudaErrorInvalidValue, "this is not device memory");
    machine.scheduler().wait_for_all(owner);
    require(machine.memory().free(memory), cudaErrorInvalidValue, "no allocation begins here");
  });
}

cudaError_t cudaHostAlloc(void** memory, std::size_t bytes, unsigned flags) {
  return answer_runtime(__func__, [&](Machine& machine) {
    machine.captures().refuse_beside(__func__);
    require(flags == cudaHostAllocDefault, cudaErrorInvalidValue, "flags of pinned memory");
    *memory = machine.memory().allocate_pinned(bytes);
  });
}

// At once: work that still needs it fails.
cudaError_t cudaFreeHost(void* memory) {
  return answer_runtime(__func__, [&](Machine& machine) {
    if (memory == nullptr) return;
    machine.captures().refuse_beside(__func__);
    require(machine.memory().free_pinned(memory), cudaErrorInvalidValue,
            "no pinned memory begins here");
  });
}

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  return answer_runtime(__func__, [&](Machine& machine) {
    *free = machine.memory().free_bytes(current_device());
    *total = machine.memory().total_bytes();
  });
}

// On the default stream, and so not done when it returns.
cudaError_t cudaMemset(void* memory, int value, std::size_t bytes) {
  return answer_runtime(__func__, [&](Machine& machine) {
    require_side(machine.memory().owner_of(memory, bytes), true, "destination");
    machine.enqueue(nullptr,
                    [=, to = machine.memory().near(memory)] { std::memset(to, value, bytes); });
  });
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  return answer_runtime(__func__, [&](Machine& machine) {
    Memory& memory = machine.memory();
    const int owner_of_to = memory.owner_of(to, bytes),
              owner_of_from = memory.owner_of(from, bytes);
    require(kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToHost ||
                kind == cudaMemcpyDeviceToDevice,
            cudaErrorInvalidMemcpyDirection, "a copy of another kind");
    require_side(owner_of_to, kind != cudaMemcpyDeviceToHost, "destination");
    require_side(owner_of_from, kind != cudaMemcpyHostToDevice, "source");
    if (owner_of_from == Memory::pageable || owner_of_to == Memory::pageable)
      machine.captures().refuse_in(machine.stream(stream), cudaErrorStreamCaptureUnsupported,
                                   "a copy of memory that is not pinned, in a capture");
    if (owner_of_from == Memory::pageable) {
      // Its bytes of now.
      const auto* begin = static_cast<const std::byte*>(from);
      machine.enqueue(stream, [to = memory.near(to), staged = std::vector(begin, begin + bytes)] {
        std::memcpy(to, staged.data(), staged.size());
      });
      return;
    }
    machine.enqueue(stream, [&memory, to, from, bytes] {
      memory.owner_of(to, bytes);  // neither was freed
      memory.owner_of(from, bytes);
      std::memcpy(memory.near(to), memory.near(from), bytes);
    });
    if (owner_of_to == Memory::pageable)
      machine.scheduler().wait(machine.scheduler().now(machine.stream(stream)));
  });
}
