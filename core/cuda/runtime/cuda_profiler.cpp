#include "core/cuda/runtime/cuda_profiler.h"

#include <cuda_profiler_api.h>
#include <nvtx3/nvToolsExt.h>

#include "core/cuda/runtime/cuda_check.h"

namespace dualpath {
namespace {

class NvtxTracer final : public Tracer {
 public:
  void begin(const char* name, std::string_view detail) override {
    char text[64];
    const auto end = detail.empty()
                         ? fmt::format_to_n(text, sizeof text - 1, "{}", name).out
                         : fmt::format_to_n(text, sizeof text - 1, "{} {}", name, detail).out;
    *end = '\0';
    nvtxRangePushA(text);
  }
  void end() override { nvtxRangePop(); }
};

}  // namespace

std::unique_ptr<Tracer> make_nvtx_tracer() {
  if (nvtxRangePushA("dualpath") == NVTX_NO_PUSH_POP_TRACKING) return nullptr;
  nvtxRangePop();
  return std::make_unique<NvtxTracer>();
}

void start_cuda_profiler() {
  CUDA_CHECK(cudaProfilerStart());
}

void stop_cuda_profiler() {
  CUDA_CHECK(cudaProfilerStop());
}

}  // namespace dualpath
