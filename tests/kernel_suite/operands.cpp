#include "tests/kernel_suite/operands.h"

#include <cmath>
#include <cstring>
#include <deque>
#include <limits>
#include <numbers>

#include "core/base/random.h"
#include "tests/reference_ops/reference_ops.h"
#include "tests/reference_ops/rounded.h"

namespace dualpath {
namespace {

constexpr std::uint64_t kSeed = 20260530;

// Runs on the reference with Rounded elements.
void round_as(DType type, Rounded& x) {
  x = stored(x, type);
}

class ReferenceOperands final : public Operands {
 public:
  struct Placed {
    Operand operand;
    std::vector<Rounded> values;
    std::vector<std::int32_t> ids;
    bool was_stored = false;

    void store(DType type) {
      was_stored = true;
      for (Rounded& x : values) round_as(type, x);
    }
  };
  explicit ReferenceOperands(const NumericTypes& types) : Operands(kSeed, types) {}
  void stored(Tensor tensor) override {
    for (Placed& placed : placed_)
      if (placed.values.data() == tensor.data) placed.store(type_of(placed.operand.type_class));
  }
  // All outputs as they are stored in the end.
  const std::deque<Placed>& results() {
    for (Placed& placed : placed_)
      if (placed.operand.role == Role::output && !placed.was_stored)
        placed.store(type_of(placed.operand.type_class));
    return placed_;
  }

 private:
  Tensor place(Operand operand) override {
    Placed& placed = placed_.emplace_back();
    placed.operand = std::move(operand);
    const Operand& o = placed.operand;
    if (o.type_class == TypeClass::i32) {
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
  DeviceOperands(Device& device, Stream& stream, const NumericTypes& types)
      : Operands(kSeed, types), device_(device), stream_(stream) {}

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
    switch (type_of(operand.type_class)) {
      case DType::i32:
        return upload<std::int32_t>(operand);
      case DType::f64:
        return upload<double>(operand);
      case DType::f32:
        return upload<float>(operand);
      case DType::bf16:
        break;
    }
    return upload<bfloat16>(operand);
  }

  template <class T>
  Tensor upload(const Operand& operand) {
    std::vector<T> host;
    for (const double x : operand.start) host.push_back(static_cast<T>(x));
    Buffer buffer = device_.allocate(host.size() * sizeof(T));
    const Tensor tensor{buffer.data(), dtype_of<T>, operand.shape};
    device_.copy_to_device(tensor, host.data(), stream_);
    stream_.synchronize();
    placed_.push_back({std::move(buffer), tensor, operand.role});
    return tensor;
  }

  Device& device_;
  Stream& stream_;
  std::vector<Placed> placed_;
};

std::vector<std::vector<std::byte>> run(Device& device, const NumericTypes& types,
                                        const KernelCall& call) {
  const auto stream = device.make_stream();
  const auto ops = device.make_ops(*stream);
  DeviceOperands operands(device, *stream, types);
  call(*ops, operands);
  return operands.fetch_outputs();
}

template <class T>
double read(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return static_cast<double>(value);
}

double element(const std::vector<std::byte>& bytes, DType type, std::size_t i) {
  const std::byte* from = bytes.data() + i * size_of(type);
  if (type == DType::f64) return read<double>(from);
  return type == DType::f32 ? read<float>(from) : read<bfloat16>(from);
}

// The element that is furthest out, in units of its bound; "" when none is out.
std::string compare(const ReferenceOperands::Placed& expected, const std::vector<std::byte>& bytes,
                    DType type, Demand demand) {
  double worst = 1;
  std::string message;
  for (std::size_t i = 0; i < expected.values.size(); ++i) {
    const Rounded& wanted = expected.values[i];
    const double got = element(bytes, type, i);
    const bool exact = demand == Demand::exact;
    const double bound = exact ? 0 : wanted.error;
    const double value = exact && type == DType::bf16
                             ? static_cast<double>(bfloat16(static_cast<float>(wanted.value)))
                             : wanted.value;
    const double distance = std::abs(got - value);
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
                          expected.operand.shape.str(), i, got, distance, value, bound);
  }
  return message;
}

}  // namespace

DType Operands::type_of(TypeClass type_class) const {
  switch (type_class) {
    case TypeClass::master:
      return types_.master;
    case TypeClass::stream:
      return types_.stream;
    case TypeClass::operand:
      return types_.operand;
    case TypeClass::i32:
      return DType::i32;
    case TypeClass::f64:
    case TypeClass::any:
      break;
  }
  return DType::f64;
}

Tensor Operands::place_uniform(const Name& name, Role role, Shape shape, double low, double high) {
  std::vector<float> values(static_cast<std::size_t>(shape.numel()));
  CounterRng(seed_, name.text).uniform(std::span<float>(values), 0, low, high);
  if (type_of(name.type_class) == DType::bf16) {
    for (float& x : values) x = bfloat16(x);
  }
  return place({name.text, name.type_class, role, shape, {values.begin(), values.end()}, 0});
}

Tensor Operands::place_turns(const std::string& angles, Shape shape, double (*function)(double)) {
  std::vector<double> values(static_cast<std::size_t>(shape.numel()));
  CounterRng(seed_, angles).uniform(std::span<double>(values), 0, 0, 2 * std::numbers::pi);
  for (double& x : values) x = static_cast<float>(function(x));
  return place({angles, TypeClass::master, Role::input, shape, values, 2 * Rounded::unit});
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

Tensor Operands::input(const Name& name, Shape shape, double low, double high) {
  return place_uniform(name, Role::input, shape, low, high);
}

Tensor Operands::output(const Name& name, Shape shape) {
  const std::vector<double> poison(static_cast<std::size_t>(shape.numel()),
                                   std::numeric_limits<double>::quiet_NaN());
  return place({name.text, name.type_class, Role::output, shape, poison, 0});
}

Tensor Operands::inout(const Name& name, Shape shape, double low, double high) {
  return place_uniform(name, Role::output, shape, low, high);
}

Tensor Operands::sums(const std::string& name, Shape shape, double low, double high) {
  return place_uniform({name.c_str(), TypeClass::f64}, Role::output, shape, low, high);
}

Tensor Operands::whole_numbers(const Name& name, Shape shape, std::int64_t begin,
                               std::int64_t end) {
  return place({name.text, name.type_class, Role::input, shape,
                draw_whole(name.text, shape, begin, end), 0});
}

Tensor Operands::ids(const std::string& name, Shape shape, std::int64_t begin, std::int64_t end) {
  return place({name, TypeClass::i32, Role::input, shape, draw_whole(name, shape, begin, end), 0});
}

Tensor Operands::table(const std::string& name, Shape shape, std::vector<double> values) {
  return place({name, TypeClass::i32, Role::input, shape, std::move(values), 0});
}

testing::AssertionResult agrees(Device& device, const NumericTypes& types, const KernelCall& call,
                                Demand demand) {
  ReferenceOperands expected(types);
  ReferenceOpsOf<Rounded> reference(types);
  call(reference, expected);

  const auto outputs = run(device, types, call);
  std::size_t output = 0;
  for (const ReferenceOperands::Placed& placed : expected.results()) {
    if (placed.operand.role != Operands::Role::output) continue;
    const std::string problem =
        compare(placed, outputs.at(output++), expected.type_of(placed.operand.type_class), demand);
    if (!problem.empty()) return testing::AssertionFailure() << problem;
  }
  if (run(device, types, call) != outputs) {
    return testing::AssertionFailure() << "two runs give different bits";
  }
  return testing::AssertionSuccess();
}

}  // namespace dualpath
