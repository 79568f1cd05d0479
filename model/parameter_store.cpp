#include "model/parameter_store.h"

#include <algorithm>

#include "core/base/random.h"

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
  constexpr std::int64_t piece = 1 << 22;
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
  CHECK_AS(ExitCode::configuration, spec.cut == Cut::whole || spec.shape[0] >= place_.shape.tensor,
           "{} has {} rows, which the {} ranks of the tensor axis cannot share", spec.name,
           spec.shape[0], place_.shape.tensor);
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
                      operand_size_,
                      {},
                      0});
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

void ParameterStore::set_options(const StoreOptions& options) {
  CHECK(sealed_, "options of parameters before the store was sealed");
  types_ = options.types;
  value_size_ = 0;
  for (ParameterRegion& region : regions_) {
    const bool only_copies =
        options.sharded_masters && has_operands() && region.product && !region.looked_up;
    region.resident = only_copies ? region.shard : region.all;
    region.resident_offset = value_size_;
    value_size_ += region.resident.size();
  }
}

void ParameterStore::allocate(Device& device, const StoreOptions& options) {
  set_options(options);
  values_ = device.allocate(value_bytes());
  if (options.gradients) gradients_ = device.allocate(flat_gradients().bytes());
  if (has_operands()) operands_ = device.allocate(operand_bytes());
}

void ParameterStore::initialize(std::uint64_t seed, Device& device, Stream& stream) {
  for (int i = 0; i < static_cast<int>(specs_.size()); ++i) {
    const ParameterRegion& region = region_of({i});
    const Shape shape = local_shape({i});
    const std::int64_t begin = std::max(offset({i}), region.resident.begin);
    const std::int64_t end = std::min(offset({i}) + shape.numel(), region.resident.end);
    if (begin >= end) continue;
    const std::int64_t row = shape.numel() / shape[0];
    const std::int64_t first = local_rows({i}).begin * row + begin - offset({i});
    const Tensor values = values_of(region, {begin, end});
    const ParameterSpec& spec = specs_[static_cast<std::size_t>(i)];
    if (types_.master == DType::f64) {
      draw_parameter<double>(spec, seed, first, values, device, stream);
    } else {
      draw_parameter<float>(spec, seed, first, values, device, stream);
    }
  }
  const auto ops = device.make_ops(stream);
  refresh_operands(*ops);
  stream.synchronize();
}

void ParameterStore::refresh_operands(Ops& ops) const {
  if (!has_operands()) return;
  for (const ParameterRegion& region : regions_) {
    if (region.product)
      ops.run(op::Copy{.out = operands_of(region, region.resident),
                       .in = values_of(region, region.resident)});
  }
}

Tensor ParameterStore::values_of(const ParameterRegion& region, Interval interval) const {
  CHECK(region.resident.begin <= interval.begin && interval.end <= region.resident.end,
        "values [{}, {}) are not all in [{}, {})", interval.begin, interval.end,
        region.resident.begin, region.resident.end);
  const Tensor all{values_.data(), types_.master, {value_size_}};
  const std::int64_t begin = region.resident_offset + interval.begin - region.resident.begin;
  return all.slice(begin, begin + interval.size());
}

Tensor ParameterStore::flat_values() const {
  CHECK(value_size_ == flat_size_, "{} of {} values are here", value_size_, flat_size_);
  return {values_.data(), types_.master, {flat_size_}};
}

Tensor ParameterStore::operands_of(const ParameterRegion& region, Interval interval) const {
  if (!has_operands() || !region.product) return {};
  const Tensor all{operands_.data(), types_.operand, {operand_size_}};
  const std::int64_t begin = region.operand_offset + interval.begin - region.all.begin;
  return all.slice(begin, begin + interval.size());
}

Tensor ParameterStore::fused_value(Parameter first, int count) const {
  const Shape shape = fused_shape(first, count);
  const Tensor absent{nullptr, types_.master, shape};
  if (values_.data() == nullptr) return absent;
  const ParameterRegion& region = region_of(first);
  if (region.resident.size() < region.all.size()) return absent;
  return values_of(region, {offset(first), offset(first) + shape.numel()}).reshape(shape);
}

Tensor ParameterStore::fused_operand(Parameter first, int count) const {
  CHECK(specs_[index(first)].product, "{} enters no products", specs_[index(first)].name);
  if (!has_operands()) return fused_value(first, count);
  const Shape shape = fused_shape(first, count);
  if (operands_.data() == nullptr) return {nullptr, types_.operand, shape};
  return operands_of(region_of(first), {offset(first), offset(first) + shape.numel()})
      .reshape(shape);
}

Tensor ParameterStore::fused_gradient(Parameter first, int count) const {
  const Shape shape = fused_shape(first, count);
  if (gradients_.data() == nullptr) return {nullptr, types_.master, shape};
  return flat_gradients().slice(offset(first), offset(first) + shape.numel()).reshape(shape);
}

Shape ParameterStore::fused_shape(Parameter first, int count) const {
  CHECK(first.index >= 0 && index(first) + static_cast<std::size_t>(count) <= specs_.size(),
        "parameter {} (+{}) of {}", first.index, count, specs_.size());
  const Shape shape = local_shape(first);
  if (count == 1) return shape;
  std::int64_t rows = shape[0];
  for (int i = 1; i < count; ++i) {
    const ParameterSpec& next = specs_[index(first) + static_cast<std::size_t>(i)];
    const Shape joined = local_shape({first.index + i});
    CHECK(next.joins_previous && joined[1] == shape[1], "{} does not join {}", next.name,
          specs_[index(first)].name);
    rows += joined[0];
  }
  return {rows, shape[1]};
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
