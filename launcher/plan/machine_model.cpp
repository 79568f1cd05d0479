#include "launcher/plan/machine_model.h"

#include <algorithm>

#include "core/base/error.h"

namespace dualpath {

namespace {

Precision precision_of(const KernelCall& call) {
  const bool bf16 = std::ranges::any_of(
      call.operands, [](const Operand& o) { return o.tensor.dtype == DType::bf16; });
  return bf16 ? Precision::bf16 : Precision::fp32;
}

LinkScope scope_of(std::span<const int> members, const Machine& machine) {
  const auto node = [&](int rank) { return rank / machine.ranks_per_node; };
  return node(members.front()) == node(members.back()) ? LinkScope::node : LinkScope::network;
}

const LinkRate& link_of(const Machine& machine, LinkScope scope, Collective kind) {
  const LinkRate* found = nullptr;
  for (const LinkRate& link : machine.links) {
    const bool named = link.collective == name_of(kind);
    if (link.scope == scope && (named || (link.collective.empty() && found == nullptr)))
      found = &link;
  }
  CHECK_AS(ExitCode::configuration, found != nullptr,
           "the description of {} has no rate of {} in the {}: links. `mpirun -n N dualpath bench "
           "machine` measures those among its ranks",
           machine.name, name_of(kind), enum_name(scope));
  return *found;
}

}  // namespace

const KernelRate& rate_of(const Machine& machine, std::string_view kernel, Precision precision) {
  const KernelRate* best = nullptr;
  for (const KernelRate& rate : machine.kernels) {
    if (rate.precision != precision || !kernel.starts_with(rate.kernel)) continue;
    if (best == nullptr || rate.kernel.size() > best->kernel.size()) best = &rate;
  }
  CHECK_AS(ExitCode::configuration, best != nullptr, "the description of {} has no {} rate for {}",
           machine.name, enum_name(precision), kernel);
  return *best;
}

void TimedDryRun::on_call(const KernelCall& call, Stream&) {
  const Precision precision = precision_of(call);
  const KernelRate*& rate = rates_[{call.name, precision}];
  if (rate == nullptr) rate = &rate_of(machine_, call.name, precision);
  seconds_ += seconds_of(*rate, call.flops, call.bytes);
}

double seconds_of(const Traffic& traffic, std::span<const int> members, const Machine& machine) {
  if (members.size() == 1) return 0;
  double seconds = 0;
  for (int i = 0; i < num_collectives; ++i) {
    const auto kind = static_cast<Collective>(i);
    const Traffic::Count& count = traffic[kind];
    if (count.calls == 0) continue;
    const LinkRate& link = link_of(machine, scope_of(members, machine), kind);
    seconds += seconds_of(link, std::ssize(members), static_cast<double>(count.calls),
                          static_cast<double>(count.bytes));
  }
  return seconds;
}

}  // namespace dualpath
