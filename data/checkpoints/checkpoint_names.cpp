#include "data/checkpoints/checkpoint_names.h"

#include <charconv>
#include <fmt/format.h>

namespace dualpath {

namespace {
constexpr std::string_view step_prefix = "step-";
}

std::string checkpoint_name(std::int64_t step) {
  return fmt::format("{}{:08}", step_prefix, step);
}

std::optional<std::int64_t> step_of_name(const std::string& name) {
  if (!name.starts_with(step_prefix)) return std::nullopt;
  std::int64_t step = 0;
  std::from_chars(name.data() + step_prefix.size(), name.data() + name.size(), step);
  return name == checkpoint_name(step) ? std::optional(step) : std::nullopt;
}

std::string shard_name(int rank, int num_ranks) {
  return fmt::format("shard-{:05}-of-{:05}.h5", rank, num_ranks);
}

std::string dataset_name(const std::string& tensor, std::int64_t begin, std::int64_t end) {
  return fmt::format("{}/{}-{}", tensor, begin, end);
}

}  // namespace dualpath
