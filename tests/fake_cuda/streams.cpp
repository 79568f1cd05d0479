// Streams, events and profiling of the CUDA runtime.
#include <cuda_profiler_api.h>

#include "tests/fake_cuda/calls.h"

using namespace dualpath::fake_cuda;

namespace {

// The event, for the host to look at.
Event uncaptured(Machine& machine, cudaEvent_t handle) {
  machine.captures().refuse_beside("a call that may wait");
  const Event event = machine.events().at(handle);
  require(event.captured_on == nullptr, cudaErrorCapturedEvent, "an event of a capture");
  return event;
}

}  // namespace

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  return answer_runtime(__func__, [&](Machine& machine) {
    require(flags == cudaStreamNonBlocking, cudaErrorNotSupported,
            "a stream that waits for the default stream is not to be had");
    *stream =
        machine.streams().add<cudaStream_t>(&machine.scheduler().make_stream(current_device()));
  });
}

// What is issued is done all the same.
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  return answer_runtime(__func__, [&](Machine& machine) {
    machine.captures().refuse_in(machine.stream(stream), cudaErrorStreamCaptureUnsupported,
                                 "the stream is being captured");
    machine.streams().remove(stream);
  });
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  return answer_runtime(__func__, [&](Machine& machine) {
    machine.captures().refuse_in(machine.stream(stream), cudaErrorStreamCaptureUnsupported,
                                 "a wait for work that is being captured");
    machine.captures().refuse_beside(__func__);
    machine.scheduler().wait(machine.scheduler().now(machine.stream(stream)));
  });
}

cudaError_t cudaDeviceSynchronize() {
  return answer_runtime(__func__, [&](Machine& machine) {
    machine.captures().refuse_beside("cudaDeviceSynchronize");
    machine.scheduler().wait_for_all(current_device());
  });
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags) {
  return answer_runtime(__func__, [&](Machine& machine) {
    require(flags == 0, cudaErrorInvalidValue, "flags of a wait");
    Scheduler::Stream& waiting = machine.stream(stream);
    const Event of = machine.events().at(event);
    const bool own = of.captured_on == &waiting && machine.captures().is_capturing(waiting);
    if (own || (of.captured_on == nullptr && !of.recorded)) return;
    // In a capture, a wait for what is not part of it.
    machine.captures().refuse_in(waiting, cudaErrorStreamCaptureIsolation,
                                 "a capture that waits for what it does not capture");
    if (of.captured_on != nullptr)
      machine.captures().refuse_in(*of.captured_on, cudaErrorNotSupported,
                                   "captures of several streams are not imitated");
    require(of.captured_on == nullptr, cudaErrorCapturedEvent, "an event of a capture");
    machine.scheduler().issue_wait(waiting, of.ticket);
  });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  return answer_runtime(__func__, [&](Machine& machine) {
    require((flags & ~(cudaEventBlockingSync | cudaEventDisableTiming)) == 0, cudaErrorInvalidValue,
            "flags of an event");
    *event = machine.events().add<cudaEvent_t>(
        {.device = current_device(), .timed = (flags & cudaEventDisableTiming) == 0});
  });
}

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  return cudaEventCreateWithFlags(event, cudaEventDefault);
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  return answer_runtime(__func__, [&](Machine& machine) { machine.events().remove(event); });
}

cudaError_t cudaEventRecord(cudaEvent_t handle, cudaStream_t stream) {
  return answer_runtime(__func__, [&](Machine& machine) {
    Event event = machine.events().at(handle);
    Scheduler::Stream& recorded = machine.stream(stream);
    require(event.device == recorded.device(), cudaErrorInvalidResourceHandle,
            "an event and a stream of different devices");
    const bool captured = machine.captures().is_capturing(recorded);
    event.captured_on = captured ? &recorded : nullptr;
    event.recorded = true;
    event.ticket = machine.scheduler().now(recorded);
    machine.events().set(handle, event);
  });
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  return answer_runtime(__func__, [&](Machine& machine) {
    machine.scheduler().wait(uncaptured(machine, event).ticket);
  });
}

// No profiler listens.
cudaError_t cudaProfilerStart() {
  return cudaSuccess;
}

cudaError_t cudaProfilerStop() {
  return cudaSuccess;
}

// "Not ready" is no misuse.
cudaError_t cudaEventQuery(cudaEvent_t event) {
  bool passed = true;
  const cudaError_t error = answer_runtime(__func__, [&](Machine& machine) {
    passed = machine.scheduler().passed(uncaptured(machine, event).ticket);
  });
  return error == cudaSuccess && !passed ? cudaErrorNotReady : error;
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  return answer_runtime(__func__, [&](Machine& machine) {
    const auto time_of = [&](cudaEvent_t handle) {
      const Event event = uncaptured(machine, handle);
      require(event.recorded && event.timed, cudaErrorInvalidResourceHandle,
              "an event that does not have a time");
      require(machine.scheduler().passed(event.ticket), cudaErrorNotReady,
              "an event that has not passed");
      return machine.scheduler().time_of(event.ticket);
    };
    const double from = time_of(start);
    *milliseconds = static_cast<float>(time_of(end) - from);
  });
}
