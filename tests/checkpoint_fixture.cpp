#include "tests/checkpoint_fixture.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <random>

namespace dualpath {

namespace fs = std::filesystem;

TemporaryFolder::TemporaryFolder() {
  std::string name = (fs::temp_directory_path() / "dualpath-test-XXXXXX").string();
  CHECK(::mkdtemp(name.data()) != nullptr, "cannot create {}", name);
  path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

TestSlices TestSlices::cut(unsigned seed, int part, int num_parts) {
  struct TestTensor {
    const char* name;
    DType dtype;
    Shape shape;
  };
  const TestTensor tensors[] = {
      {"parameters/embedding", DType::f32, {301, 64}},
      {"parameters/layers.0.norm", DType::f32, {7}},
      {"adam_m/embedding", DType::f64, {301, 64}},
      {"counts", DType::i32, {2, 3, 5, 7}},
      {"parameters/scalar", DType::f32, {1}},
      {"nothing", DType::f32, {0, 4}},
  };
  TestSlices result;
  for (const TestTensor& tensor : tensors) {
    std::mt19937 random(seed);
    std::uniform_int_distribution<std::int64_t> position(0, tensor.shape.numel());
    std::vector<std::int64_t> cuts = {0, tensor.shape.numel()};
    for (int i = 1; i < 2 * num_parts; ++i) cuts.push_back(position(random));
    std::ranges::sort(cuts);
    for (const int i : {part, part + num_parts}) {
      result.add(tensor.name, tensor.dtype, tensor.shape, cuts[static_cast<std::size_t>(i)],
                 cuts[static_cast<std::size_t>(i) + 1]);
    }
  }
  return result;
}

void TestSlices::add(std::string name, DType dtype, Shape global_shape, std::int64_t begin,
                     std::int64_t end) {
  memory_.emplace_back(static_cast<std::size_t>(end - begin) * size_of(dtype));
  slices_.push_back({std::move(name), dtype, global_shape, begin, end, memory_.back().data()});
}

std::vector<std::byte> TestSlices::content(const TensorSlice& slice, std::int64_t step) const {
  std::vector<std::byte> bytes;
  for (std::int64_t i = slice.begin; i < slice.end; ++i) {
    // A splitmix64 of what the element depends on.
    std::uint64_t x = std::hash<std::string>{}(slice.name) + static_cast<std::uint64_t>(step) +
                      0x9e3779b97f4a7c15u * static_cast<std::uint64_t>(i + 1);
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    x ^= x >> 31;
    const auto* begin = reinterpret_cast<const std::byte*>(&x);
    bytes.insert(bytes.end(), begin, begin + size_of(slice.dtype));
  }
  return bytes;
}

void TestSlices::fill(std::int64_t step) {
  for (const TensorSlice& slice : slices_) {
    const std::vector<std::byte> bytes = content(slice, step);
    std::ranges::copy(bytes, static_cast<std::byte*>(slice.data));
  }
}

void TestSlices::clear() {
  for (auto& memory : memory_) std::ranges::fill(memory, std::byte{0});
}

bool TestSlices::holds(std::int64_t step) const {
  for (std::size_t i = 0; i < slices_.size(); ++i) {
    if (memory_[i] != content(slices_[i], step)) return false;
  }
  return true;
}

void save_step(const fs::path& folder, std::int64_t step) {
  TestSlices slices = TestSlices::whole();
  slices.fill(step);
  CheckpointManifest manifest;
  manifest.step = step;
  save_checkpoint(folder, manifest, slices.slices(), *make_self_communicator());
}

}  // namespace dualpath
