#include "tests/kernel_suite/operands.h"

#include <cmath>
#include <cstring>
#include <deque>
#include <limits>
#include <numbers>

#include "core/random.h"
#include "tests/reference_ops/reference_ops.h"
#include "tests/reference_ops/rounded.h"

namespace dualpath {
namespace {

constexpr std::uint64_t kSeed = 20260530;

// Runs on the reference with Rounded elements.
class ReferenceOperands final : public Operands {
 public:
  struct Placed {
    Operand operand;
    std::vector<Rounded> values;
    std::vector<std::int32_t> ids;
  };
  ReferenceOperands() : Operands(kSeed) {}
  const std::deque<Placed>& placed() const { return placed_; }

 private:
  Tensor place(Operand operand) override {
    Placed& placed = placed_.emplace_back();
    placed.operand = std::move(operand);
    const Operand& o = placed.operand;
    if (o.kind == Kind::i32) {
      placed.ids.assign(o.start.begin(), o.start.end());
      return {placed.ids.data(), DType::i32, o.shape};
    }
    placed.values.assign(o.start.begin(), o.start.end());
    for (Rounded& x : placed.values) x.error += o.start_error * std::abs(x.value);
    return {placed.values.data(), DType::f64, o.shape};
  }

  std::deque<Placed> placed_;  // its elements stay where they are
};

class DeviceOperands final : public Operands {
 public:
  DeviceOperands(Device& device, Stream& stream, DType arithmetic)
      : Operands(kSeed), device_(device), stream_(stream), arithmetic_(arithmetic) {}

  // The raw memory of every output, once the stream is done.
  std::vector<std::vector<std::byte>> fetch_outputs() {
    std::vector<std::vector<std::byte>> outputs;
    for (const Placed& placed : placed_) {
      if (placed.role != Role::output) continue;
      outputs.emplace_back(placed.tensor.bytes());
      device_.copy_to_host(outputs.back().data(), placed.tensor, stream_);
      stream_.synchronize();
    }
    return outputs;
  }

 private:
  struct Placed {
    Buffer buffer;
    Tensor tensor;
    Role role;
  };

  Tensor place(Operand operand) override {
    switch (operand.kind) {
      case Kind::i32:
        return upload<std::int32_t>(operand);
      case Kind::f64:
        return upload<double>(operand);
      case Kind::arithmetic:
        break;
    }
    return arithmetic_ == DType::f64 ? upload<double>(operand) : upload<float>(operand);
  }

  template <class T>
  Tensor upload(const Operand& operand) {
    const std::vector<T> host(operand.start.begin(), operand.start.end());
    Buffer buffer = device_.allocate(host.size() * sizeof(T));
    const Tensor tensor{buffer.data(), dtype_of<T>, operand.shape};
    device_.copy_to_device(tensor, host.data(), stream_);
    stream_.synchronize();
    placed_.push_back({std::move(buffer), tensor, operand.role});
    return tensor;
  }

  Device& device_;
  Stream& stream_;
  DType arithmetic_;
  std::vector<Placed> placed_;
};

std::vector<std::vector<std::byte>> run(Device& device, DType arithmetic, const KernelCall& call) {
  const auto stream = device.make_stream();
  const auto ops = device.make_ops(*stream);
  DeviceOperands operands(device, *stream, arithmetic);
  call(*ops, operands);
  return operands.fetch_outputs();
}

double element(const std::vector<std::byte>& bytes, DType type, std::size_t i) {
  if (type == DType::f64) {
    double value;
    std::memcpy(&value, bytes.data() + i * sizeof value, sizeof value);
    return value;
  }
  float value;
  std::memcpy(&value, bytes.data() + i * sizeof value, sizeof value);
  return value;
}

// The element that is furthest out, in units of its bound; "" when none is out.
std::string compare(const ReferenceOperands::Placed& expected, const std::vector<std::byte>& bytes,
                    DType type, Demand demand) {
  double worst = 1;
  std::string message;
  for (std::size_t i = 0; i < expected.values.size(); ++i) {
    const Rounded& wanted = expected.values[i];
    const double got = element(bytes, type, i);
    const double bound = demand == Demand::exact ? 0 : wanted.error;
    const double distance = std::abs(got - wanted.value);
    if (!std::isfinite(wanted.value) || !std::isfinite(bound)) {
      return fmt::format("{}[{}]: the reference is {} ± {}", expected.operand.name, i, wanted.value,
                         bound);
    }
    if (distance <= bound) continue;
    const double ratio = std::isnan(got) ? std::numeric_limits<double>::infinity()
                                         : distance / bound;  // infinite for a bound of 0
    if (ratio <= worst) continue;
    worst = ratio;
    message = fmt::format("{}{}[{}]: {} is {} from {}, the bound is {}", expected.operand.name,
                          expected.operand.shape.str(), i, got, distance, wanted.value, bound);
  }
  return message;
}

}  // namespace

Tensor Operands::place_uniform(const std::string& name, Kind kind, Role role, Shape shape,
                               double low, double high) {
  std::vector<float> values(static_cast<std::size_t>(shape.numel()));
  CounterRng(seed_, name).uniform(std::span<float>(values), 0, low, high);
  return place({name, kind, role, shape, {values.begin(), values.end()}, 0});
}

Tensor Operands::place_turns(const std::string& angles, Shape shape, double (*function)(double)) {
  std::vector<double> values(static_cast<std::size_t>(shape.numel()));
  CounterRng(seed_, angles).uniform(std::span<double>(values), 0, 0, 2 * std::numbers::pi);
  for (double& x : values) x = static_cast<float>(function(x));
  return place({angles, Kind::arithmetic, Role::input, shape, values, 2 * Rounded::unit});
}

Tensor Operands::cosines(const std::string& angles, Shape shape) {
  return place_turns(angles, shape, std::cos);
}

Tensor Operands::sines(const std::string& angles, Shape shape) {
  return place_turns(angles, shape, std::sin);
}

std::vector<double> Operands::draw_whole(const std::string& name, Shape shape, std::int64_t begin,
                                         std::int64_t end) const {
  const CounterRng rng(seed_, name);
  std::vector<double> values(static_cast<std::size_t>(shape.numel()));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto offset = rng.below(i, static_cast<std::uint64_t>(end - begin));
    values[i] = static_cast<double>(begin + static_cast<std::int64_t>(offset));
  }
  return values;
}

Tensor Operands::input(const std::string& name, Shape shape, double low, double high) {
  return place_uniform(name, Kind::arithmetic, Role::input, shape, low, high);
}

Tensor Operands::output(const std::string& name, Shape shape) {
  const std::vector<double> poison(static_cast<std::size_t>(shape.numel()),
                                   std::numeric_limits<double>::quiet_NaN());
  return place({name, Kind::arithmetic, Role::output, shape, poison, 0});
}

Tensor Operands::inout(const std::string& name, Shape shape, double low, double high) {
  return place_uniform(name, Kind::arithmetic, Role::output, shape, low, high);
}

Tensor Operands::sums(const std::string& name, Shape shape, double low, double high) {
  return place_uniform(name, Kind::f64, Role::output, shape, low, high);
}

Tensor Operands::whole_numbers(const std::string& name, Shape shape, std::int64_t begin,
                               std::int64_t end) {
  return place(
      {name, Kind::arithmetic, Role::input, shape, draw_whole(name, shape, begin, end), 0});
}

Tensor Operands::ids(const std::string& name, Shape shape, std::int64_t begin, std::int64_t end) {
  return place({name, Kind::i32, Role::input, shape, draw_whole(name, shape, begin, end), 0});
}

testing::AssertionResult agrees(Device& device, DType arithmetic, const KernelCall& call,
                                Demand demand) {
  ReferenceOperands expected;
  ReferenceOpsOf<Rounded> reference;
  call(reference, expected);

  const auto outputs = run(device, arithmetic, call);
  std::size_t output = 0;
  for (const ReferenceOperands::Placed& placed : expected.placed()) {
    if (placed.operand.role != Operands::Role::output) continue;
    const DType type = placed.operand.kind == Operands::Kind::f64 ? DType::f64 : arithmetic;
    const std::string problem = compare(placed, outputs.at(output++), type, demand);
    if (!problem.empty()) return testing::AssertionFailure() << problem;
  }
  if (run(device, arithmetic, call) != outputs) {
    return testing::AssertionFailure() << "two runs give different bits";
  }
  return testing::AssertionSuccess();
}

}  // namespace dualpath
