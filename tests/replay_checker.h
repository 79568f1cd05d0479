// A CPU whose recorder holds every replay against what was recorded: it issues the work, and the
// kernels and their operands must be the recorded ones.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/cpu/cpu_device.h"
#include "core/device/observed_device.h"
#include "tests/forwarding_device.h"

namespace dualpath {

using KernelCalls = std::vector<std::string>;

class ReplayChecker final : public KernelObserver {
 public:
  // Names of what is recorded are given up for what this returns: for keys that are too coarse.
  std::function<std::size_t(std::size_t number, const KernelCalls& kernels)> rename;
  int records = 0, replays = 0;
  int wrong = 0;           // replays that were not what was recorded
  int calls_recorded = 0;  // of kernels
  int refused_call = -1;   // the one to record that is refused, counted from 0; -1: none

  void on_call(const KernelCall& call, Stream&) override {
    if (recording_) {
      CHECK(calls_recorded++ != refused_call, "a test refuses {}", call.name);
    } else {
      call.issue();
    }
    std::string text = call.name;
    kernels_.push_back(text);
    for (const Operand& operand : call.operands)
      text += fmt::format(" {} {} {} {}", static_cast<char>(operand.access), operand.tensor.data,
                          name_of(operand.tensor.dtype), operand.tensor.shape.str());
    calls_.push_back(text);
  }

  void record(std::size_t number, const WorkRecorder::Issue& issue) {
    ++records;
    recording_ = true;
    try {
      observe(issue);
    } catch (...) {
      recording_ = false;
      throw;
    }
    recording_ = false;
    if (rename) number = names_[number] = rename(number, kernels_);
    recorded_[number] = calls_;
  }
  void replay(std::size_t number, const WorkRecorder::Issue& issue) {
    ++replays;
    observe(issue);
    if (rename) number = names_.at(number);
    wrong += calls_ != recorded_.at(number);
  }

 private:
  void observe(const WorkRecorder::Issue& issue) {
    kernels_.clear();
    calls_.clear();
    issue();
  }

  bool recording_ = false;
  KernelCalls kernels_, calls_;  // since the last recording or replay began; with operands
  std::map<std::size_t, KernelCalls> recorded_;
  std::map<std::size_t, std::size_t> names_;
};

class ReplayCheckingDevice final : public ForwardingDevice {
 public:
  // The checker outlives it.
  explicit ReplayCheckingDevice(ReplayChecker& checker)
      : ForwardingDevice(make_cpu_device(1)), checker_(checker), observed_(device()) {
    observed_.observe(&checker_);
  }

  std::string name() const override { return "checking " + ForwardingDevice::name(); }
  std::unique_ptr<Ops> make_ops(Stream& stream) override { return observed_.make_ops(stream); }
  std::unique_ptr<WorkRecorder> make_recorder(Stream&) override {
    return std::make_unique<Recorder>(checker_);
  }

 private:
  class Recorder final : public WorkRecorder {
   public:
    explicit Recorder(ReplayChecker& checker) : checker_(checker) {}
    bool record(std::size_t number, const Issue& issue) override {
      checker_.record(number, issue);
      return true;
    }
    void replay(std::size_t number, const Issue& issue) override { checker_.replay(number, issue); }

   private:
    ReplayChecker& checker_;
  };

  ReplayChecker& checker_;
  ObservedDevice observed_;
};

}  // namespace dualpath
