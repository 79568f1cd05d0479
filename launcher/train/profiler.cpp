#include "launcher/train/profiler.h"

#include <algorithm>

#include "core/cuda/runtime/cuda_profiler.h"
#include "data/files/file_io.h"

namespace dualpath {
namespace {

std::int64_t last_step(const ProfileConfig& config) {
  return std::max(config.start_step, config.end_step);
}

}  // namespace

Profiler::Profiler(const ProfileConfig& config, int rank, Device& device,
                   OperationsUnderWay& operations)
    : config_(config),
      rank_(rank),
      records_(config.start_step > 0 &&
               std::ranges::find(config.ranks, rank) != config.ranks.end()),
      device_(device),
      operations_(operations),
      nvtx_(make_nvtx_tracer()) {
  if (records_) observed_.emplace(device);
  operations_.trace(tracer());
}

Profiler::~Profiler() {
  operations_.trace(nullptr);
}

void Profiler::before_step(std::int64_t step, Stream& stream) {
  if (!records_ || is_recording_ || step < config_.start_step || step > last_step(config_)) return;
  stream.synchronize();
  if (!device_.is_host_memory()) start_cuda_profiler();
  observed_->observe(this);
  recorder_.start();
  is_recording_ = true;
}

void Profiler::after_step(std::int64_t step, bool last, Stream& stream,
                          const std::filesystem::path& file) {
  if (!is_recording_ || (step < last_step(config_) && !last)) return;
  stream.synchronize();
  is_recording_ = false;
  recorder_.stop();
  observed_->observe(nullptr);
  if (!device_.is_host_memory()) stop_cuda_profiler();
  make_folder(file.parent_path(), ExitCode::checkpoint);
  write_file(file, recorder_.json(rank_, fmt::format("rank {}, {}", rank_, device_.name())),
             ExitCode::checkpoint);
}

void Profiler::begin(const char* name, std::string_view detail) {
  if (nvtx_) nvtx_->begin(name, detail);
  recorder_.begin(name, detail);
}

void Profiler::end() {
  recorder_.end();
  if (nvtx_) nvtx_->end();
}

void Profiler::on_call(const KernelCall& call, Stream&) {
  const Phase phase(this, call.name);
  call.issue();
}

}  // namespace dualpath
