#include "launcher/sampling.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace dualpath {

Sampler::Sampler(const SamplingConfig& config, std::size_t vocab_size)
    : config_(config),
      rng_(static_cast<std::uint64_t>(config.seed), "sampling"),
      order_(vocab_size),
      probability_(vocab_size) {}

std::int32_t Sampler::pick(std::span<const float> logits) {
  std::iota(order_.begin(), order_.end(), 0);
  const auto logit = [&](std::int32_t token) { return logits[static_cast<std::size_t>(token)]; };
  const auto likelier = [&](std::int32_t a, std::int32_t b) {
    return logit(a) != logit(b) ? logit(a) > logit(b) : a < b;
  };
  if (config_.temperature == 0) return *std::min_element(order_.begin(), order_.end(), likelier);
  std::sort(order_.begin(), order_.end(), likelier);

  std::size_t count = order_.size();
  if (config_.top_k > 0) count = std::min(count, static_cast<std::size_t>(config_.top_k));
  double total = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const double difference = static_cast<double>(logit(order_[i])) - logit(order_[0]);
    probability_[i] = std::exp(difference / config_.temperature);
    total += probability_[i];
  }
  // The smallest head of the list that holds top_p of the mass.
  double mass = 0;
  for (std::size_t i = 0; i < count; ++i) {
    mass += probability_[i];
    if (mass >= config_.top_p * total) count = i + 1;
  }
  double left = rng_.uniform(drawn_++) * mass;
  for (std::size_t i = 0; i < count; ++i) {
    left -= probability_[i];
    if (left < 0) return order_[i];
  }
  return order_[count - 1];
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
