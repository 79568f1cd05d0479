#include "model/parameter_store.h"

#include <algorithm>

#include "core/random.h"

namespace dualpath {

namespace {

// Parameters and shards start at multiples of 64 elements, so that kernels may use aligned vectors.
constexpr std::int64_t alignment = 64;
constexpr std::int64_t round_up(std::int64_t offset, std::int64_t multiple) {
  return (offset + multiple - 1) / multiple * multiple;
}

GridGroup group_of(const ParameterSpec& spec) {
  if (spec.cut == Cut::whole) return spec.on_both_ends ? GridGroup::tied : GridGroup::replicated;
  return spec.on_both_ends ? GridGroup::tied_shard : GridGroup::data;
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

// value = elements of the whole parameter from `first` on.
template <class T>
void draw_parameter(const ParameterSpec& spec, std::uint64_t seed, std::int64_t first, Tensor value,
                    Device& device, Stream& stream) {
  constexpr std::int64_t piece = 1 << 20;
  std::vector<T> host(static_cast<std::size_t>(std::min(piece, value.numel())));
  const Tensor flat = value.reshape({value.numel()});
  for (std::int64_t begin = 0; begin < value.numel(); begin += piece) {
    const std::int64_t end = std::min(begin + piece, value.numel());
    const auto part = std::span<T>(host).first(static_cast<std::size_t>(end - begin));
    draw<T>(spec, seed, static_cast<std::uint64_t>(first + begin), part);
    device.copy_to_device(flat.slice(begin, end), part.data(), stream);
    stream.synchronize();
  }
}

}  // namespace

Parameter ParameterStore::declare(ParameterSpec spec) {
  CHECK(!sealed_, "{} is declared after the store was sealed", spec.name);
  CHECK(std::none_of(specs_.begin(), specs_.end(),
                     [&](const ParameterSpec& other) { return other.name == spec.name; }),
        "parameter {} is declared twice", spec.name);
  buckets_.push_back(spec.product || spec.looked_up ? bucket_ : 0);
  specs_.push_back(std::move(spec));
  return {static_cast<int>(specs_.size()) - 1};
}

void ParameterStore::seal() {
  CHECK(!sealed_, "the store is sealed twice");
  sealed_ = true;
  offsets_.resize(specs_.size());
  region_of_parameter_.resize(specs_.size());
  for (int bucket = 0; bucket <= bucket_; ++bucket) {
    for (const GridGroup group :
         {GridGroup::replicated, GridGroup::data, GridGroup::tied, GridGroup::tied_shard}) {
      for (const bool product : {false, true}) append_region(bucket, group, product);
    }
  }
}

// Appends the region of these parameters, if there are any.
void ParameterStore::append_region(int bucket, GridGroup group, bool product) {
  const int index = static_cast<int>(regions_.size());
  std::int64_t end = flat_size_;
  bool looked_up = false;
  for (int i = 0; i < static_cast<int>(specs_.size()); ++i) {
    const auto s = static_cast<std::size_t>(i);
    const ParameterSpec& spec = specs_[s];
    if (buckets_[s] != bucket || group_of(spec) != group || spec.product != product) continue;
    offsets_[s] = spec.joins_previous ? end : flat_size_ + round_up(end - flat_size_, alignment);
    end = offsets_[s] + local_shape({i}).numel();
    region_of_parameter_[s] = index;
    looked_up |= spec.looked_up;
  }
  if (end == flat_size_) return;
  const std::vector<int> members = group_members(group, place_.rank, place_.shape);
  const std::int64_t shards = std::ssize(members);
  const std::int64_t own = std::ranges::find(members, place_.rank) - members.begin();
  const std::int64_t shard = round_up(end - flat_size_, alignment * shards) / shards;
  const std::int64_t size = shard * shards;
  const std::int64_t shard_begin = flat_size_ + shard * own;
  regions_.push_back({bucket,
                      group,
                      product,
                      looked_up,
                      {flat_size_, flat_size_ + size},
                      {shard_begin, shard_begin + shard},
                      operand_size_});
  flat_size_ += size;
  if (product) operand_size_ += size;
}

Interval ParameterStore::local_rows(Parameter parameter) const {
  const ParameterSpec& spec = specs_[index(parameter)];
  const std::int64_t rows = spec.shape[0];
  if (spec.cut == Cut::whole) return {0, rows};
  const std::int64_t part = coord_of(place_.rank, place_.shape).tensor;
  const std::int64_t parts = place_.shape.tensor;
  return {rows * part / parts, rows * (part + 1) / parts};
}

Shape ParameterStore::local_shape(Parameter parameter) const {
  const ParameterSpec& spec = specs_[index(parameter)];
  if (spec.cut == Cut::whole) return spec.shape;
  return {local_rows(parameter).size(), spec.shape[1]};
}

void ParameterStore::allocate(Device& device, const NumericTypes& types, bool with_gradients) {
  CHECK(sealed_, "parameters are allocated before the store was sealed");
  types_ = types;
  const auto bytes = static_cast<std::size_t>(flat_size_) * size_of(types.master);
  values_ = device.allocate(bytes);
  if (with_gradients) gradients_ = device.allocate(bytes);
  if (has_operands()) {
    operands_ = device.allocate(static_cast<std::size_t>(operand_size_) * size_of(types.operand));
  }
}

void ParameterStore::initialize(std::uint64_t seed, Device& device, Stream& stream) {
  for (int i = 0; i < static_cast<int>(specs_.size()); ++i) {
    const ParameterSpec& spec = specs_[static_cast<std::size_t>(i)];
    const Tensor local = value({i});
    const std::int64_t first = local_rows({i}).begin * local.cols();
    if (types_.master == DType::f64) {
      draw_parameter<double>(spec, seed, first, local, device, stream);
    } else {
      draw_parameter<float>(spec, seed, first, local, device, stream);
    }
  }
  const auto ops = device.make_ops(stream);
  refresh_operands(*ops);
  stream.synchronize();
}

void ParameterStore::refresh_operands(Ops& ops) const {
  if (!has_operands()) return;
  for (const ParameterRegion& region : regions_) {
    if (!region.product) continue;
    ops.copy(operands_of(region, region.all),
             flat_values().slice(region.all.begin, region.all.end));
  }
}

Tensor ParameterStore::operands_of(const ParameterRegion& region, Interval interval) const {
  if (!has_operands() || !region.product) return {};
  const Tensor all{operands_.data(), types_.operand, {operand_size_}};
  const std::int64_t begin = region.operand_offset + interval.begin - region.all.begin;
  return all.slice(begin, begin + interval.size());
}

Tensor ParameterStore::fused_operand(Parameter first, int count) const {
  const Tensor value = fused_value(first, count);
  CHECK(specs_[index(first)].product, "{} enters no products", specs_[index(first)].name);
  if (!has_operands()) return value;
  if (operands_.data() == nullptr) return {nullptr, types_.operand, value.shape};
  const ParameterRegion& region =
      regions_[static_cast<std::size_t>(region_of_parameter_[index(first)])];
  const std::int64_t begin = offset(first);
  return operands_of(region, {begin, begin + value.numel()}).reshape(value.shape);
}

Tensor ParameterStore::view(std::byte* base, Parameter first, int count) const {
  CHECK(first.index >= 0 && index(first) + static_cast<std::size_t>(count) <= specs_.size(),
        "parameter {} (+{}) of {}", first.index, count, specs_.size());
  Tensor tensor{nullptr, types_.master, local_shape(first)};
  if (base != nullptr) {
    tensor.data = base + static_cast<std::size_t>(offset(first)) * size_of(types_.master);
  }
  if (count == 1) return tensor;
  std::int64_t rows = tensor.shape[0];
  for (int i = 1; i < count; ++i) {
    const ParameterSpec& next = specs_[index(first) + static_cast<std::size_t>(i)];
    const Shape shape = local_shape({first.index + i});
    CHECK(next.joins_previous && shape[1] == tensor.shape[1], "{} does not join {}", next.name,
          specs_[index(first)].name);
    rows += shape[0];
  }
  tensor.shape = {rows, tensor.shape[1]};
  return tensor;
}

std::int64_t ParameterStore::num_parameters() const {
  std::int64_t count = 0;
  for (int i = 0; i < static_cast<int>(specs_.size()); ++i) count += local_shape({i}).numel();
  return count;
}

std::vector<ParameterRange> ParameterStore::ranges(Interval interval) const {
  std::vector<int> order;  // of the parameters that begin before the interval's end, by place
  for (int i = 0; i < static_cast<int>(specs_.size()); ++i) {
    if (offset({i}) < interval.end) order.push_back(i);
  }
  std::ranges::sort(order, {}, [&](int i) { return offset({i}); });
  std::vector<ParameterRange> ranges;
  for (const int i : order) {
    const bool decay = specs_[static_cast<std::size_t>(i)].decay;
    const std::int64_t begin = std::max(offset({i}), interval.begin);
    if (begin <= interval.begin) ranges.clear();
    if (!ranges.empty() && ranges.back().decay == decay) continue;
    if (!ranges.empty()) ranges.back().interval.end = begin;
    ranges.push_back({{begin, interval.end}, decay});
  }
  return ranges;
}

}  // namespace dualpath
