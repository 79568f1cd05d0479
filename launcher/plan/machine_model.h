// How long kernels and messages take on a machine.
#pragma once

#include <map>
#include <span>

#include "core/device/dry_device.h"
#include "core/device/observed_device.h"
#include "launcher/plan/machine.h"
#include "parallel/communicator.h"

namespace dualpath {

// The rate with the longest name that the kernel's begins with. REQUIRES: the machine validates.
const KernelRate& rate_of(const Machine& machine, std::string_view kernel, Precision precision);

// A device that computes nothing and adds up how long its calls would take.
class TimedDryRun final : public KernelObserver {
 public:
  // The machine outlives this.
  explicit TimedDryRun(const Machine& machine) : machine_(machine) { observed_.observe(this); }

  Device& device() { return observed_; }
  Stream& stream() { return stream_; }
  double seconds() const { return seconds_; }  // of all calls so far

  void on_call(const KernelCall& call, Stream& stream) override;

 private:
  const Machine& machine_;
  DryDevice dry_;
  ObservedDevice observed_{dry_};
  InlineStream stream_;
  std::map<std::pair<const char*, Precision>, const KernelRate*> rates_;  // by KernelCall::name
  double seconds_ = 0;
};

// The time of all calls that one rank has issued, one after the other. members: the group's ranks.
// Throws Error(configuration) where the machine's description has no such link.
double seconds_of(const Traffic& traffic, std::span<const int> members, const Machine& machine);

}  // namespace dualpath
