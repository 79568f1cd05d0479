// Profiler: records the steps that the configuration names, on the ranks that it names, and hands
// phases on to NVIDIA's profiler where one listens.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include "core/device/observed_device.h"
#include "launcher/config/profile_config.h"
#include "launcher/train/trace_recorder.h"
#include "parallel/operations_under_way.h"

namespace dualpath {

class Profiler final : public Tracer, public KernelObserver {
 public:
  // Is told of the operations from here on, until it goes. Both outlive it.
  Profiler(const ProfileConfig& config, int rank, Device& device, OperationsUnderWay& operations);
  ~Profiler() override;
  Profiler(const Profiler&) = delete;
  Profiler& operator=(const Profiler&) = delete;

  // What the steps are to run on, and to tell their phases; the latter null where nobody listens.
  Device& device() { return observed_ ? *observed_ : device_; }
  Tracer* tracer() { return records_ || nvtx_ ? this : nullptr; }

  // Around each step; `last`: none follows. The trace of what was recorded goes to `file`.
  void before_step(std::int64_t step, Stream& stream);
  void after_step(std::int64_t step, bool last, Stream& stream, const std::filesystem::path& file);

  void begin(const char* name, std::string_view detail) override;
  void end() override;
  void on_call(const KernelCall& call, Stream& stream) override;

 private:
  ProfileConfig config_;
  int rank_;
  bool records_;  // this rank, in some steps
  Device& device_;
  OperationsUnderWay& operations_;
  std::optional<ObservedDevice> observed_;
  std::unique_ptr<Tracer> nvtx_;
  TraceRecorder recorder_;
  bool is_recording_ = false;
};

}  // namespace dualpath
