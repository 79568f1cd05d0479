#include "data/checkpoints/checkpoint_index.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <fmt/format.h>
#include <iterator>
#include <map>

#include "data/files/file_io.h"
#include "data/files/yaml_text.h"

namespace dualpath {

namespace {

constexpr std::string_view hash_key = "xxh3 ";

std::string hash_line(std::string_view before) {
  return fmt::format("{}{:016x}\n", hash_key, checksum_of(std::as_bytes(std::span(before))));
}

// "2x3"; "-" for a shape of no dimensions.
std::string print_shape(const Shape& shape) {
  if (shape.rank() == 0) return "-";
  std::string text = std::to_string(shape[0]);
  for (int dim = 1; dim < shape.rank(); ++dim) text += fmt::format("x{}", shape[dim]);
  return text;
}

// The words and numbers of one line.
class Line {
 public:
  Line(std::string_view text, const std::string& source) : text_(text), source_(source) {}

  // Words behind those that are asked for were added by a later version.
  std::string_view word() {
    const std::string_view found = text_.substr(0, text_.find(' '));
    check(!found.empty());
    text_.remove_prefix(std::min(found.size() + 1, text_.size()));
    return found;
  }
  std::int64_t number() { return number(word()); }
  std::uint64_t hash() { return hash(word()); }
  Shape shape() {
    std::array<std::int64_t, Shape::max_rank> dims{};
    std::size_t rank = 0;
    std::string_view text = word();
    if (text == "-") return {};
    while (rank < dims.size()) {
      const std::size_t end = std::min(text.find('x'), text.size());
      dims[rank++] = number(text.substr(0, end));
      if (end == text.size()) return Shape(std::span(dims).first(rank));
      text.remove_prefix(end + 1);
    }
    check(false);
    return {};
  }
  DType dtype() {
    const std::string_view name = word();
    for (const DType dtype : {DType::f32, DType::f64, DType::i32}) {
      if (name == name_of(dtype)) return dtype;
    }
    check(false);
    return {};
  }

 private:
  void check(bool condition) const {
    CHECK_AS(ExitCode::checkpoint, condition, "{}: '{}' cannot be understood", source_, text_);
  }
  std::int64_t number(std::string_view text) const {
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.begin(), text.end(), value);
    check(error == std::errc{} && end == text.end() && value >= 0);
    return value;
  }
  std::uint64_t hash(std::string_view text) const {
    const auto value = parse_hex(text);
    check(value.has_value());
    return *value;
  }

  std::string_view text_;
  const std::string& source_;
};

template <class Use>
void for_each_line(std::string_view text, const std::string& source, Use use) {
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    CHECK_AS(ExitCode::checkpoint, end != text.npos, "{}: is cut off", source);
    use(Line(text.substr(0, end), source));
    text.remove_prefix(end + 1);
  }
}

// The tensor's slices, ascending, must touch each other and fill the tensor.
void check_coverage(const CheckpointTensor& tensor) {
  const auto what = [&] {
    return fmt::format("tensor '{}' {}", tensor.name, tensor.global_shape.str());
  };
  const std::int64_t numel = tensor.global_shape.numel();
  std::int64_t covered = 0;
  for (std::size_t i = 0; i < tensor.slices.size(); ++i) {
    const StoredSlice& slice = tensor.slices[i];
    CHECK_AS(ExitCode::checkpoint,
             0 <= slice.begin && slice.begin < slice.end && slice.end <= numel,
             "{}: shard {} holds an impossible slice [{}, {})", what(), slice.shard, slice.begin,
             slice.end);
    CHECK_AS(ExitCode::checkpoint, slice.begin <= covered, "{}: no shard holds [{}, {})", what(),
             covered, slice.begin);
    CHECK_AS(ExitCode::checkpoint, slice.begin == covered,
             "{}: shards {} and {} both hold [{}, {})", what(), tensor.slices[i - 1].shard,
             slice.shard, slice.begin, std::min(covered, slice.end));
    covered = slice.end;
  }
  CHECK_AS(ExitCode::checkpoint, covered == numel, "{}: no shard holds [{}, {})", what(), covered,
           numel);
}

}  // namespace

std::string print_shards(std::span<const CheckpointShard> shards) {
  std::string text;
  for (const CheckpointShard& shard : shards) {
    fmt::format_to(std::back_inserter(text), "{} {} {:016x} {} {} {:016x}\n", shard.file,
                   shard.bytes, shard.xxh3, shard.index_offset, shard.index_bytes,
                   shard.index_xxh3);
  }
  return text;
}

std::vector<CheckpointShard> parse_shards(const std::string& text, const std::string& source) {
  std::vector<CheckpointShard> shards;
  for_each_line(text, source, [&](Line line) {
    CheckpointShard& shard = shards.emplace_back();
    shard.file = line.word();
    shard.bytes = line.number();
    shard.xxh3 = line.hash();
    shard.index_offset = line.number();
    shard.index_bytes = line.number();
    shard.index_xxh3 = line.hash();
  });
  return shards;
}

std::string print_index(std::span<const IndexedSlice> slices) {
  std::string text;
  for (const IndexedSlice& slice : slices) {
    CHECK(slice.tensor.find_first_of(" \n") == slice.tensor.npos,
          "the tensor's name '{}' is more than one word", slice.tensor);
    fmt::format_to(std::back_inserter(text), "{} {} {} {} {} {:016x} {}\n", name_of(slice.dtype),
                   print_shape(slice.global_shape), slice.begin, slice.end, slice.offset,
                   slice.xxh3, slice.tensor);
  }
  return text + hash_line(text);
}

std::vector<IndexedSlice> parse_index(std::string_view text, const std::string& source) {
  const std::size_t size = text.size() - std::min(text.size(), hash_line("").size());
  CHECK_AS(ExitCode::checkpoint, text.substr(size) == hash_line(text.substr(0, size)),
           "{}: its index is damaged", source);
  std::vector<IndexedSlice> slices;
  for_each_line(text.substr(0, size), source, [&](Line line) {
    IndexedSlice& slice = slices.emplace_back();
    slice.dtype = line.dtype();
    slice.global_shape = line.shape();
    slice.begin = line.number();
    slice.end = line.number();
    slice.offset = line.number();
    slice.xxh3 = line.hash();
    slice.tensor = line.word();
  });
  return slices;
}

std::vector<CheckpointTensor> assemble_tensors(
    std::span<const std::vector<IndexedSlice>> slices_of_shard) {
  std::map<std::string, CheckpointTensor, std::less<>> by_name;
  for (std::size_t shard = 0; shard < slices_of_shard.size(); ++shard) {
    for (const IndexedSlice& slice : slices_of_shard[shard]) {
      auto found = by_name.find(slice.tensor);
      if (found == by_name.end()) {
        const std::string name(slice.tensor);
        found = by_name.emplace(name, CheckpointTensor{name, slice.dtype, slice.global_shape, {}})
                    .first;
      }
      CheckpointTensor& tensor = found->second;
      CHECK_AS(ExitCode::checkpoint,
               tensor.dtype == slice.dtype && tensor.global_shape == slice.global_shape,
               "tensor '{}' is {} {} on rank {}, but {} {} before", slice.tensor,
               name_of(slice.dtype), slice.global_shape.str(), shard, name_of(tensor.dtype),
               tensor.global_shape.str());
      if (slice.begin != slice.end) {
        tensor.slices.push_back({static_cast<int>(shard), slice.begin, slice.end});
      }
    }
  }
  std::vector<CheckpointTensor> tensors;
  for (auto& [name, tensor] : by_name) {
    std::ranges::sort(tensor.slices, {}, &StoredSlice::begin);
    check_coverage(tensor);
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

}  // namespace dualpath
