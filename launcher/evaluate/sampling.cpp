#include "launcher/evaluate/sampling.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <numeric>

#include "core/base/error.h"

namespace dualpath {

Sampler::Sampler(const SamplingConfig& config, std::size_t vocab_size, std::size_t text_number)
    : config_(config),
      rng_(static_cast<std::uint64_t>(config.seed), fmt::format("text {}", text_number)),
      weights_(vocab_size),
      order_(vocab_size) {}

std::int32_t Sampler::pick(std::span<const float> logits) {
  CHECK_AS(ExitCode::numerics,
           std::all_of(logits.begin(), logits.end(), [](float x) { return std::isfinite(x); }),
           "the model's logits are not finite");
  const auto likeliest = std::max_element(logits.begin(), logits.end());
  if (config_.temperature == 0) return static_cast<std::int32_t>(likeliest - logits.begin());
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const double difference = static_cast<double>(logits[i]) - *likeliest;
    weights_[i] = std::exp(difference / config_.temperature);
  }
  const std::span<const std::int32_t> tokens = candidates(logits);
  double left = 0;
  for (const std::int32_t token : tokens) left += weight(token);
  left *= rng_.uniform(drawn_++);
  std::int32_t drawn = 0;
  for (const std::int32_t token : tokens) {
    if (weight(token) == 0) continue;
    drawn = token;
    left -= weight(token);
    if (left < 0) break;
  }
  return drawn;
}

// The tokens that top_k and then top_p leave.
std::span<const std::int32_t> Sampler::candidates(std::span<const float> logits) {
  const auto logit = [&](std::int32_t token) { return logits[static_cast<std::size_t>(token)]; };
  const auto likelier = [&](std::int32_t a, std::int32_t b) {
    return logit(a) != logit(b) ? logit(a) > logit(b) : a < b;
  };
  std::iota(order_.begin(), order_.end(), 0);
  const auto begin = order_.begin();
  auto end = order_.end();
  if (config_.top_k > 0 && config_.top_k < std::ssize(order_)) {
    end = begin + config_.top_k;
    std::partial_sort(begin, end, order_.end(), likelier);
  }
  if (config_.top_p == 1) return {begin, end};

  // The smallest set of the likeliest that holds top_p of the mass, taken off a heap one by one.
  double wanted = 0;
  for (auto token = begin; token != end; ++token) wanted += config_.top_p * weight(*token);
  const auto less_likely = [&](std::int32_t a, std::int32_t b) { return likelier(b, a); };
  std::make_heap(begin, end, less_likely);
  auto heap_end = end;
  double mass = 0;
  do {
    std::pop_heap(begin, heap_end--, less_likely);
    mass += weight(*heap_end);
  } while (mass < wanted && heap_end != begin);
  return {heap_end, end};
}

std::size_t whole_characters(std::string_view bytes) {
  for (std::size_t back = 1; back <= std::min<std::size_t>(3, bytes.size()); ++back) {
    const auto byte = static_cast<unsigned char>(bytes[bytes.size() - back]);
    if ((byte & 0xC0) == 0x80) continue;  // inside a character: look at its first byte
    const std::size_t length = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC0 ? 2 : 1;
    return length > back ? bytes.size() - back : bytes.size();
  }
  return bytes.size();
}

}  // namespace dualpath
