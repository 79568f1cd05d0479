// NVIDIA's profilers, where one is attached to this process. A program built without CUDA knows
// none.
#pragma once

#include <memory>

#include "core/base/tracer.h"

namespace dualpath {

// Phases as NVTX ranges; null where no profiler listens.
std::unique_ptr<Tracer> make_nvtx_tracer();

// What `nsys profile --capture-range=cudaProfilerApi` records, of the GPU that is in use.
void start_cuda_profiler();
void stop_cuda_profiler();

}  // namespace dualpath
