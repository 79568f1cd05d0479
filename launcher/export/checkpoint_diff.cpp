#include "launcher/export/checkpoint_diff.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "launcher/config/run_config.h"
#include "launcher/export/checkpoint_reader.h"

namespace dualpath {

namespace {

// Sums over the elements of two pieces.
class DiffSums {
 public:
  template <class T>
  void add(const void* a, const void* b, std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) {
      T x, y;
      std::memcpy(&x, static_cast<const std::byte*>(a) + i * std::int64_t{sizeof(T)}, sizeof x);
      std::memcpy(&y, static_cast<const std::byte*>(b) + i * std::int64_t{sizeof(T)}, sizeof y);
      add_element(static_cast<double>(x), static_cast<double>(y),
                  std::memcmp(&x, &y, sizeof x) != 0);
    }
  }
  TensorDiff result(const CheckpointTensor& tensor) const {
    return {tensor.name,
            tensor.global_shape.numel(),
            differing_,
            is_finite_ ? largest_ : std::numeric_limits<double>::quiet_NaN(),
            std::sqrt(difference_squares_),
            std::sqrt(a_squares_),
            std::sqrt(b_squares_)};
  }

 private:
  void add_element(double a, double b, bool differs) {
    a_squares_ += a * a;
    b_squares_ += b * b;
    if (!differs) return;
    ++differing_;
    const double difference = a - b;
    is_finite_ &= std::isfinite(difference);
    largest_ = std::max(largest_, std::abs(difference));
    difference_squares_ += difference * difference;
  }

  std::int64_t differing_ = 0;
  bool is_finite_ = true;
  double largest_ = 0, difference_squares_ = 0, a_squares_ = 0, b_squares_ = 0;
};

TensorDiff compare_tensors(const Checkpoint& a, const CheckpointTensor& tensor_a,
                           const Checkpoint& b, const CheckpointTensor& tensor_b) {
  DiffSums sums;
  const auto compare = [&](std::int64_t first, std::int64_t count, const void* elements_a) {
    const auto add = [&](std::int64_t, std::int64_t, const void* elements_b) {
      switch (tensor_a.dtype) {
        case DType::f64:
          return sums.add<double>(elements_a, elements_b, count);
        case DType::i32:
          return sums.add<std::int32_t>(elements_a, elements_b, count);
        default:
          return sums.add<float>(elements_a, elements_b, count);
      }
    };
    // One piece of a is one piece of b.
    read_elements(b, tensor_b, first, first + count, add);
  };
  read_elements(a, tensor_a, 0, tensor_a.global_shape.numel(), compare);
  return sums.result(tensor_a);
}

std::string form_of(const CheckpointTensor& tensor) {
  return fmt::format("{} {}", name_of(tensor.dtype), tensor.global_shape.str());
}

void compare_manifests(const CheckpointManifest& a, const CheckpointManifest& b,
                       CheckpointDiff& diff) {
  diff.model = compare_configs(parse_model(a.model), parse_model(b.model));
  const auto compare = [&](const char* key, const std::string& before, const std::string& after) {
    if (before != after) diff.state.push_back({key, before, after});
  };
  compare("step", std::to_string(a.step), std::to_string(b.step));
  compare("samples", std::to_string(a.consumed_samples), std::to_string(b.consumed_samples));
  compare("tokens", std::to_string(a.consumed_tokens), std::to_string(b.consumed_tokens));
  compare("tokenizer", a.tokenizer_hash, b.tokenizer_hash);
}

std::string print_changes(const char* title, const std::vector<ConfigChange>& changes) {
  std::string text;
  for (const ConfigChange& change : changes)
    text += fmt::format("{}{}: {} | {}\n", title, change.key, change.before, change.after);
  return text;
}

}  // namespace

bool CheckpointDiff::is_equal() const {
  return tensors.empty() && only_a.empty() && only_b.empty() && other_form.empty() &&
         model.empty() && state.empty();
}

CheckpointDiff compare_checkpoints(const Checkpoint& a, const Checkpoint& b) {
  CheckpointDiff diff;
  compare_manifests(a.manifest, b.manifest, diff);
  for (const CheckpointTensor& tensor : a.tensors) {
    const CheckpointTensor* other = b.find(tensor.name);
    if (other == nullptr) {
      diff.only_a.push_back(tensor.name);
    } else if (form_of(tensor) != form_of(*other)) {
      diff.other_form.push_back(
          fmt::format("{}: {} | {}", tensor.name, form_of(tensor), form_of(*other)));
    } else if (TensorDiff found = compare_tensors(a, tensor, b, *other); found.differing > 0) {
      diff.tensors.push_back(std::move(found));
    } else {
      ++diff.num_equal;
    }
  }
  for (const CheckpointTensor& tensor : b.tensors) {
    if (a.find(tensor.name) == nullptr) diff.only_b.push_back(tensor.name);
  }
  return diff;
}

std::string print_diff(const CheckpointDiff& diff) {
  if (diff.is_equal()) return fmt::format("equal: {} tensors, bit by bit\n", diff.num_equal);
  std::string text = print_changes("", diff.state) + print_changes("model.", diff.model);
  for (const std::string& name : diff.only_a) text += fmt::format("only in the first: {}\n", name);
  for (const std::string& name : diff.only_b) text += fmt::format("only in the second: {}\n", name);
  for (const std::string& line : diff.other_form)
    text += fmt::format("another shape or type: {}\n", line);
  if (!diff.tensors.empty()) {
    text += fmt::format("{:<48}{:>12}{:>12}{:>12}{:>12}{:>12}{:>12}\n", "tensor", "elements",
                        "differing", "largest", "|a-b|", "|a|", "|b|");
  }
  for (const TensorDiff& t : diff.tensors) {
    text += fmt::format("{:<48}{:>12}{:>12}{:>12.4g}{:>12.4g}{:>12.4g}{:>12.4g}\n", t.name,
                        t.elements, t.differing, t.largest, t.difference_norm, t.norm_a, t.norm_b);
  }
  return text +
         fmt::format(
             "tensors: {} equal, {} with other bits, {} only in one, {} of another shape or type\n",
             diff.num_equal, diff.tensors.size(), diff.only_a.size() + diff.only_b.size(),
             diff.other_form.size());
}

}  // namespace dualpath
