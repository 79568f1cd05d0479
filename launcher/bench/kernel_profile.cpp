#include "launcher/bench/kernel_profile.h"

#include <algorithm>

namespace dualpath {
namespace {

bool is_of(const KernelKind& kind, const KernelCall& call) {
  if (kind.flops != call.flops || kind.bytes != call.bytes || kind.name != call.name) return false;
  return std::ranges::equal(kind.shapes, call.operands, {}, {},
                            [](const Operand& o) { return o.tensor.shape; }) &&
         std::ranges::equal(kind.dtypes, call.operands, {}, {},
                            [](const Operand& o) { return o.tensor.dtype; });
}

bool overlap(const Tensor& a, const Tensor& b) {
  const auto begin = [](const Tensor& t) { return static_cast<const std::byte*>(t.data); };
  return begin(a) < begin(b) + b.bytes() && begin(b) < begin(a) + a.bytes();
}

// Whether the call writes what it, or a repetition, reads.
bool changes_input(const Operand& operand, std::span<const Operand> all) {
  if (operand.access == Access::read) return false;
  if (operand.access == Access::update) return true;
  return std::ranges::any_of(all, [&](const Operand& other) {
    return other.access != Access::write && overlap(operand.tensor, other.tensor);
  });
}

}  // namespace

double KernelKind::seconds_at_peak(const MachinePeaks& peaks) const {
  const auto n = static_cast<double>(calls);
  if (flops == 0) return n * bytes / peaks.memory;
  return n * flops / (is_bf16 ? peaks.of_bf16() : peaks.fp32);
}

// "2048x192 f32": the operands in order, f32 not named.
std::string KernelKind::shapes_text() const {
  std::string text;
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    if (i > 0) text += ' ';
    for (int dim = 0; dim < shapes[i].rank(); ++dim)
      text += fmt::format("{}{}", dim == 0 ? "" : "x", shapes[i][dim]);
    if (dtypes[i] != DType::f32) text += fmt::format(":{}", name_of(dtypes[i]));
  }
  return text;
}

std::size_t KernelKinds::of(const KernelCall& call) {
  const auto known =
      std::ranges::find_if(kinds_, [&](const KernelKind& kind) { return is_of(kind, call); });
  if (known != kinds_.end()) return static_cast<std::size_t>(known - kinds_.begin());
  KernelKind& kind = kinds_.emplace_back();
  kind.name = call.name;
  kind.flops = call.flops;
  kind.bytes = call.bytes;
  kind.is_bf16 = call.is_bf16;
  for (const Operand& operand : call.operands) {
    kind.shapes.push_back(operand.tensor.shape);
    kind.dtypes.push_back(operand.tensor.dtype);
  }
  return kinds_.size() - 1;
}

void KernelTimer::on_call(const KernelCall& call, Stream&) {
  calls_.push_back(kinds_.of(call));
  stopwatch_->mark();
  call.issue();
  stopwatch_->mark();
}

void KernelTimer::begin_step() {
  calls_.clear();
  for (KernelKind& kind : kinds_.all()) {
    kind.calls = 0;
    kind.seconds = 0;
  }
}

void KernelTimer::end_step() {
  const std::vector<double> laps = stopwatch_->take();  // each call, and what is between two
  for (std::size_t i = 0; i < calls_.size(); ++i) {
    KernelKind& kind = kinds_.all()[calls_[i]];
    ++kind.calls;
    kind.seconds += laps.at(2 * i);
  }
  for (KernelKind& kind : kinds_.all()) kind.in_step.push_back(kind.seconds);
}

KernelRepeater::KernelRepeater(KernelKinds& kinds, Device& device, Stream& stream,
                               const Effort& effort)
    : kinds_(kinds),
      device_(device),
      effort_(effort),
      stopwatch_(device.make_stopwatch(stream)),
      ops_(device.make_ops(stream)) {
  const std::optional<DeviceMemory> memory = device.memory();
  if (memory && memory->cache > 0) cache_filler_ = device.allocate(2 * memory->cache);
}

void KernelRepeater::on_call(const KernelCall& call, Stream& stream) {
  KernelKind& kind = kinds_.all()[kinds_.of(call)];
  if (kind.alone.median > 0) {
    call.issue();
    return;
  }
  save(call, stream);
  call.issue();
  stream.synchronize();
  std::vector<double> seconds;
  const double since = now_seconds();
  while (effort_.wants_more(static_cast<std::int64_t>(seconds.size()), since)) {
    restore(stream);
    fill_caches();
    stopwatch_->mark();
    call.issue();
    stopwatch_->mark();
    seconds.push_back(stopwatch_->take().front());
  }
  kind.alone = summarize(std::move(seconds));
}

void KernelRepeater::save(const KernelCall& call, Stream& stream) {
  saved_.clear();
  for (const Operand& operand : call.operands) {
    if (!changes_input(operand, call.operands)) continue;
    Saved& saved = saved_.emplace_back(Saved{operand.tensor, {}});
    saved.content.resize(operand.tensor.bytes());
    device_.copy_to_host(saved.content.data(), operand.tensor, stream);
  }
  stream.synchronize();
}

void KernelRepeater::restore(Stream& stream) {
  for (const Saved& saved : saved_)
    device_.copy_to_device(saved.tensor, saved.content.data(), stream);
  stream.synchronize();
}

void KernelRepeater::fill_caches() {
  const auto numel = static_cast<std::int64_t>(cache_filler_.bytes() / sizeof(float));
  if (numel > 0)
    ops_->run(op::Fill{.out = {cache_filler_.data(), DType::f32, {numel}}, .value = 1});
}

}  // namespace dualpath
