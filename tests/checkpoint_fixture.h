// A small set of tensors whose every element depends on (step, tensor, index), cut in any way.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/base/tensor_slice.h"
#include "data/checkpoints/checkpoint_store.h"

namespace dualpath {

// An empty folder, removed with all in it at the end.
class TemporaryFolder {
 public:
  TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder();
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// Owns the memory of one rank's slices.
class TestSlices {
 public:
  // The part that rank `part` of `num_parts` owns of tensors of all dtypes and ranks, under cuts
  // that depend on the seed: two slices of each tensor, empty ones among them.
  static TestSlices cut(unsigned seed, int part, int num_parts);
  static TestSlices whole() { return cut(0, 0, 1); }

  void add(std::string name, DType dtype, Shape global_shape, std::int64_t begin, std::int64_t end);
  // Random bits, NaNs included, that any rank computes alike.
  void fill(std::int64_t step);
  void clear();
  bool holds(std::int64_t step) const;
  std::span<const TensorSlice> slices() const { return slices_; }

 private:
  std::vector<std::byte> content(const TensorSlice& slice, std::int64_t step) const;
  std::vector<TensorSlice> slices_;
  std::vector<std::vector<std::byte>> memory_;
};

// Saves TestSlices::whole() of that step from one rank.
void save_step(const std::filesystem::path& folder, std::int64_t step);

// The message of the Error(checkpoint) that `action` throws; empty when it throws none.
template <class Action>
std::string checkpoint_error(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return error.code() == ExitCode::checkpoint ? error.what()
                                                : std::string("wrong exit code: ") + error.what();
  }
  return "";
}

}  // namespace dualpath
