// Stream capture and graphs of the CUDA runtime.
#include "tests/fake_cuda/calls.h"

using namespace dualpath::fake_cuda;

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  return answer_runtime(__func__, [&](Machine& machine) {
    require(stream != nullptr, cudaErrorStreamCaptureUnsupported,
            "the default stream cannot be captured");
    machine.captures().meet(CaptureCall::begin);
    machine.captures().begin(machine.stream(stream), mode);
  });
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = nullptr;
  return answer_runtime(__func__, [&](Machine& machine) {
    *graph = machine.graphs().add<cudaGraph_t>(machine.captures().end(machine.stream(stream)));
  });
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph,
                                 unsigned long long flags) {
  return answer_runtime(__func__, [&](Machine& machine) {
    require(flags == 0, cudaErrorInvalidValue, "flags of an executable graph");
    machine.captures().refuse_beside(__func__);
    machine.captures().meet(CaptureCall::instantiate);
    *executable = machine.executables().add<cudaGraphExec_t>(machine.graphs().at(graph));
  });
}

// A launch would do it, too.
cudaError_t cudaGraphUpload(cudaGraphExec_t executable, cudaStream_t handle) {
  return answer_runtime(__func__, [&](Machine& machine) {
    const std::shared_ptr<const Graph> graph = machine.executables().at(executable);
    const Scheduler::Stream& stream = machine.stream(handle);
    machine.captures().refuse_in(stream, cudaErrorStreamCaptureUnsupported,
                                 "an upload of a graph is none of its work");
    require(graph->device == stream.device(), cudaErrorInvalidValue,
            "a graph of another device than the stream's");
    machine.captures().meet(CaptureCall::upload);
  });
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t handle) {
  return answer_runtime(__func__, [&](Machine& machine) {
    const std::shared_ptr<const Graph> graph = machine.executables().at(executable);
    const Scheduler::Stream& stream = machine.stream(handle);
    machine.captures().refuse_in(stream, cudaErrorNotSupported,
                                 "graphs within graphs are not imitated");
    require(graph->device == stream.device(), cudaErrorInvalidValue,
            "a graph of another device than the stream's");
    for (const Graph::Piece& piece : graph->pieces)
      machine.enqueue(handle, piece.work, piece.milliseconds);
    machine.count_graph_launch();
  });
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  return answer_runtime(__func__, [&](Machine& machine) { machine.graphs().remove(graph); });
}

// What is under way is done all the same.
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  return answer_runtime(__func__,
                        [&](Machine& machine) { machine.executables().remove(executable); });
}
