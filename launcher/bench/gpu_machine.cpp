#include "launcher/bench/gpu_machine.h"

#include <algorithm>

#include "core/base/random.h"

namespace dualpath {
namespace {

// Operands double until one operation takes so long: then they are far larger than caches, and
// launches do not count.
constexpr double long_enough = 2e-3;
constexpr Effort at_a_glance = {.repeats = 2, .seconds = 0};

class GpuRig {
 public:
  explicit GpuRig(Device& device)
      : device_(device),
        stream_(device.make_stream()),
        ops_(device.make_ops(*stream_)),
        stopwatch_(device.make_stopwatch(*stream_)) {}

  Device& device() { return device_; }
  Stream& stream() { return *stream_; }
  Ops& ops() { return *ops_; }
  // That one tensor may have.
  std::size_t room() const { return device_.memory()->total / 16; }

  // Times what issue() puts on the stream: once unmeasured, then as often as the effort says.
  template <class Issue>
  Timing time(const Effort& effort, const Issue& issue) {
    issue();
    stream_->synchronize();
    std::vector<double> seconds;
    const double since = now_seconds();
    while (effort.wants_more(static_cast<std::int64_t>(seconds.size()), since)) {
      stopwatch_->mark();
      issue();
      stopwatch_->mark();
      seconds.push_back(stopwatch_->take().front());
    }
    return summarize(std::move(seconds));
  }

 private:
  Device& device_;
  std::unique_ptr<Stream> stream_;
  std::unique_ptr<Ops> ops_;
  std::unique_ptr<Stopwatch> stopwatch_;
};

struct OwnedTensor {
  Buffer buffer;
  Tensor tensor;
};

OwnedTensor make_tensor(Device& device, DType dtype, Shape shape) {
  OwnedTensor owned{{}, {nullptr, dtype, shape}};
  owned.buffer = device.allocate(owned.tensor.bytes());
  owned.tensor.data = owned.buffer.data();
  return owned;
}

// Numbers from a normal law, the same ones over and over: products of zeros would draw less power
// and be faster than those of a model.
template <class T>
void fill_with_random(GpuRig& rig, Tensor tensor) {
  constexpr std::int64_t period = 1'000'003;
  std::vector<float> drawn(static_cast<std::size_t>(std::min(period, tensor.numel())));
  CounterRng(1, "operands").normal(drawn, 0, 0, 1);
  std::vector<T> numbers;
  for (const float x : drawn) numbers.push_back(static_cast<T>(x));
  const Tensor flat = tensor.reshape({tensor.numel()});
  for (std::int64_t i = 0; i < flat.numel(); i += period)
    rig.device().copy_to_device(flat.slice(i, std::min(i + period, flat.numel())), numbers.data(),
                                rig.stream());
  rig.stream().synchronize();
}

double add_peak(MeasuredTable& table, const std::string& what, const char* unit, double amount,
                const Timing& time) {
  table.add(what, {.time = time,
                   .value = amount / time.best / 1e9,
                   .unit = unit,
                   .share = time.best / time.median});
  return amount / time.best;
}

// x·wᵀ of n × n matrices, sums in f32.
template <class T>
double add_products(MeasuredTable& table, GpuRig& rig, const Effort& effort) {
  for (std::int64_t n = 256;; n *= 2) {
    const OwnedTensor x = make_tensor(rig.device(), dtype_of<T>, {n, n});
    const OwnedTensor w = make_tensor(rig.device(), dtype_of<T>, {n, n});
    const OwnedTensor y = make_tensor(rig.device(), dtype_of<T>, {n, n});
    fill_with_random<T>(rig, x.tensor);
    fill_with_random<T>(rig, w.tensor);
    const auto multiply = [&] {
      rig.ops().run(
          op::Matmul{.c = y.tensor, .a = x.tensor, .b = w.tensor, .flags = {.transpose_b = true}});
    };
    const bool fits_twice = 4 * x.tensor.bytes() <= rig.room();
    if (rig.time(at_a_glance, multiply).best < long_enough && fits_twice) continue;
    const auto size = static_cast<double>(n);
    return add_peak(table, fmt::format("products of {}, {}³", name_of(dtype_of<T>), n), "GFLOP/s",
                    2 * size * size * size, rig.time(effort, multiply));
  }
}

// The best of passes over arrays.
double add_passes(MeasuredTable& table, GpuRig& rig, const Effort& effort) {
  for (std::int64_t numel = 1 << 18;; numel *= 2) {
    const OwnedTensor a = make_tensor(rig.device(), DType::f32, {numel});
    const OwnedTensor b = make_tensor(rig.device(), DType::f32, {numel});
    const OwnedTensor c = make_tensor(rig.device(), DType::f32, {numel});
    const auto copy = [&] { rig.ops().run(op::Copy{.out = a.tensor, .in = b.tensor}); };
    const bool fits_twice = 2 * a.tensor.bytes() <= rig.room();
    if (rig.time(at_a_glance, copy).best < long_enough && fits_twice) continue;
    const auto bytes = static_cast<double>(a.tensor.bytes());
    const auto add = [&](const char* what, double moved, const auto& issue) {
      return add_peak(table, fmt::format("memory, {}, {:.0f} MB each", what, bytes / 1e6), "GB/s",
                      moved, rig.time(effort, issue));
    };
    return std::max(
        {add("write", bytes, [&] { rig.ops().run(op::Fill{.out = a.tensor, .value = 1}); }),
         add("copy", 2 * bytes, copy), add("sum", 3 * bytes, [&] {
           rig.ops().run(op::Sum{.out = a.tensor, .a = b.tensor, .b = c.tensor});
         })});
  }
}

// Between the device and memory of the host that is meant for it.
void add_transfers(MeasuredTable& table, GpuRig& rig, const Effort& effort) {
  const std::size_t bytes = std::min<std::size_t>(256 << 20, rig.room());
  const OwnedTensor there =
      make_tensor(rig.device(), DType::i32, {static_cast<std::int64_t>(bytes / 4)});
  const Buffer here = rig.device().allocate_host(bytes);
  const auto beside = rig.device().make_threaded_stream();
  const auto add = [&](const char* what, const auto& issue) {
    const Timing time = measure(effort, [&] {
      issue();
      beside->synchronize();
    });
    add_peak(table, what, "GB/s", static_cast<double>(there.tensor.bytes()), time);
  };
  add("host to device", [&] { rig.device().copy_to_device(there.tensor, here.data(), *beside); });
  add("device to host", [&] { rig.device().copy_to_host(here.data(), there.tensor, *beside); });
}

// The time of launching a kernel that does next to nothing, after others.
void add_launch(MeasuredTable& table, GpuRig& rig, const Effort& effort) {
  constexpr int count = 1000;
  const OwnedTensor one = make_tensor(rig.device(), DType::f32, {1});
  const Timing of_all = rig.time(effort, [&] {
    for (int i = 0; i < count; ++i) rig.ops().run(op::Fill{.out = one.tensor, .value = 0});
  });
  const Timing time{of_all.median / count, of_all.best / count};
  table.add("a kernel behind another", {.time = time, .value = 1e6 * time.median, .unit = "us"});
}

}  // namespace

MachineBench measure_gpu(Device& device, const Effort& effort) {
  MachineBench bench{{}, MeasuredTable("GPU, best rate")};
  GpuRig rig(device);
  bench.peaks.fp32 = add_products<float>(bench.table, rig, effort);
  bench.peaks.bf16 = add_products<bfloat16>(bench.table, rig, effort);
  bench.peaks.memory = add_passes(bench.table, rig, effort);
  add_transfers(bench.table, rig, effort);
  add_launch(bench.table, rig, effort);
  return bench;
}

}  // namespace dualpath
