#include "model/parameter_store.h"

#include <algorithm>

#include "core/random.h"

namespace dualpath {

namespace {

// Parameters start at multiples of 64 elements, so that kernels may use aligned vectors.
constexpr std::int64_t aligned(std::int64_t offset) {
  constexpr std::int64_t alignment = 64;
  return (offset + alignment - 1) / alignment * alignment;
}

template <class T>
void draw(const ParameterSpec& spec, std::uint64_t seed, std::uint64_t begin, std::span<T> out) {
  const CounterRng rng(seed, spec.name);
  switch (spec.init.law) {
    case ParameterInit::Law::constant:
      std::fill(out.begin(), out.end(), static_cast<T>(spec.init.value));
      break;
    case ParameterInit::Law::normal:
      rng.normal(out, begin, 0, spec.init.value);
      break;
    case ParameterInit::Law::uniform:
      rng.uniform(out, begin, -spec.init.value, spec.init.value);
      break;
  }
}

template <class T>
void draw_parameter(const ParameterSpec& spec, std::uint64_t seed, Tensor value, Device& device,
                    Stream& stream) {
  constexpr std::int64_t piece = 1 << 20;
  std::vector<T> host(static_cast<std::size_t>(std::min(piece, value.numel())));
  const Tensor flat = value.reshape({value.numel()});
  for (std::int64_t begin = 0; begin < value.numel(); begin += piece) {
    const std::int64_t end = std::min(begin + piece, value.numel());
    const auto part = std::span<T>(host).first(static_cast<std::size_t>(end - begin));
    draw<T>(spec, seed, static_cast<std::uint64_t>(begin), part);
    device.copy_to_device(flat.slice(begin, end), part.data(), stream);
    stream.synchronize();
  }
}

}  // namespace

Parameter ParameterStore::declare(ParameterSpec spec) {
  CHECK(values_.data() == nullptr, "{} is declared after the parameters were allocated", spec.name);
  CHECK(std::none_of(specs_.begin(), specs_.end(),
                     [&](const ParameterSpec& other) { return other.name == spec.name; }),
        "parameter {} is declared twice", spec.name);
  const auto place = [&](std::int64_t& size) {
    if (!spec.joins_previous) size = aligned(size);
    const std::int64_t offset = size;
    size += spec.shape.numel();
    return offset;
  };
  offsets_.push_back(place(flat_size_));
  operand_offsets_.push_back(spec.product ? place(operand_size_) : 0);
  specs_.push_back(std::move(spec));
  return {static_cast<int>(specs_.size()) - 1};
}

void ParameterStore::allocate(Device& device, const NumericTypes& types, bool with_gradients) {
  types_ = types;
  const auto bytes = static_cast<std::size_t>(flat_size_) * size_of(types.master);
  values_ = device.allocate(bytes);
  if (with_gradients) gradients_ = device.allocate(bytes);
  if (has_operands()) {
    operands_ =
        device.allocate(static_cast<std::size_t>(aligned(operand_size_)) * size_of(types.operand));
  }
}

void ParameterStore::initialize(std::uint64_t seed, Device& device, Stream& stream) {
  for (int i = 0; i < static_cast<int>(specs_.size()); ++i) {
    const ParameterSpec& spec = specs_[static_cast<std::size_t>(i)];
    if (types_.master == DType::f64) {
      draw_parameter<double>(spec, seed, value({i}), device, stream);
    } else {
      draw_parameter<float>(spec, seed, value({i}), device, stream);
    }
  }
  const auto ops = device.make_ops(stream);
  refresh_operands(*ops);
  stream.synchronize();
}

void ParameterStore::refresh_operands(Ops& ops) const {
  for (const ParameterRange& range : ranges()) {
    if (!range.operand.empty())
      ops.copy(range.operand, flat_values().slice(range.begin, range.end));
  }
}

Tensor ParameterStore::operands_at(std::int64_t offset, Shape shape) const {
  const auto bytes = static_cast<std::size_t>(offset) * size_of(types_.operand);
  return {operands_.data() == nullptr ? nullptr : operands_.data() + bytes, types_.operand, shape};
}

Tensor ParameterStore::fused_operand(Parameter first, int count) const {
  const Tensor value = fused_value(first, count);
  CHECK(specs_[index(first)].product, "{} enters no products", specs_[index(first)].name);
  return has_operands() ? operands_at(operand_offsets_[index(first)], value.shape) : value;
}

Tensor ParameterStore::view(std::byte* base, Parameter first, int count) const {
  CHECK(first.index >= 0 && index(first) + static_cast<std::size_t>(count) <= specs_.size(),
        "parameter {} (+{}) of {}", first.index, count, specs_.size());
  const ParameterSpec& spec = specs_[index(first)];
  const auto byte_offset =
      static_cast<std::size_t>(offsets_[index(first)]) * size_of(types_.master);
  Tensor tensor{base == nullptr ? nullptr : base + byte_offset, types_.master, spec.shape};
  if (count == 1) return tensor;
  std::int64_t rows = spec.shape[0];
  for (int i = 1; i < count; ++i) {
    const ParameterSpec& next = specs_[index(first) + static_cast<std::size_t>(i)];
    CHECK(next.joins_previous && next.shape[1] == spec.shape[1], "{} does not join {}", next.name,
          spec.name);
    rows += next.shape[0];
  }
  tensor.shape = {rows, spec.shape[1]};
  return tensor;
}

std::int64_t ParameterStore::num_parameters() const {
  std::int64_t count = 0;
  for (const ParameterSpec& spec : specs_) count += spec.shape.numel();
  return count;
}

std::vector<ParameterRange> ParameterStore::ranges() const {
  std::vector<ParameterRange> ranges;
  bool product = false;
  for (std::size_t i = 0; i < specs_.size(); ++i) {
    const std::int64_t end = i + 1 < specs_.size() ? offsets_[i + 1] : flat_size_;
    if (!ranges.empty() && ranges.back().decay == specs_[i].decay && product == specs_[i].product) {
      ranges.back().end = end;
    } else {
      ranges.push_back({offsets_[i], end, specs_[i].decay, {}});
      product = specs_[i].product;
    }
    // Both buffers leave the same gaps, so that a run of values has one run of copies.
    if (product && has_operands()) {
      ParameterRange& range = ranges.back();
      const std::int64_t before = offsets_[i] - range.begin;
      range.operand = operands_at(operand_offsets_[i] - before, {range.end - range.begin});
    }
  }
  return ranges;
}

}  // namespace dualpath
