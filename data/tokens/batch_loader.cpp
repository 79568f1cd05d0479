#include "data/tokens/batch_loader.h"

#include <algorithm>
#include <chrono>

#include "core/base/error.h"

namespace dualpath {

Batch::Batch(const BatchLayout& layout, std::int64_t sequence_length)
    : micro_batch_tokens_(static_cast<std::size_t>(layout.micro_batch_size * sequence_length)),
      inputs_(micro_batch_tokens_ * static_cast<std::size_t>(layout.accumulation)),
      targets_(inputs_.size()) {}

std::span<const std::int32_t> Batch::inputs(std::int64_t micro_batch) const {
  return std::span(inputs_).subspan(static_cast<std::size_t>(micro_batch) * micro_batch_tokens_,
                                    micro_batch_tokens_);
}

std::span<const std::int32_t> Batch::targets(std::int64_t micro_batch) const {
  return std::span(targets_).subspan(static_cast<std::size_t>(micro_batch) * micro_batch_tokens_,
                                     micro_batch_tokens_);
}

void Batch::fill(const SampleSource& source, const BatchLayout& layout,
                 std::uint64_t first_sample) {
  first_sample_ = first_sample;
  const auto length = static_cast<std::size_t>(source.sequence_length());
  std::size_t begin = 0;
  for (std::int64_t micro_batch = 0; micro_batch < layout.accumulation; ++micro_batch) {
    for (std::int64_t row = 0; row < layout.micro_batch_size; ++row, begin += length) {
      source.read(first_sample + static_cast<std::uint64_t>(layout.sample(micro_batch, row)),
                  std::span(inputs_).subspan(begin, length),
                  std::span(targets_).subspan(begin, length));
    }
  }
  num_targets_ = std::ranges::count_if(targets_, [](std::int32_t target) { return target >= 0; });
}

BatchLoader::BatchLoader(const SampleSource& source, const BatchLayout& layout,
                         std::uint64_t first_sample, std::int64_t prefetch)
    : source_(source), layout_(layout), first_sample_(first_sample) {
  CHECK(prefetch >= 1, "prefetch of {} steps", prefetch);
  CHECK(layout.data_rank >= 0 && layout.data_rank < layout.data_size &&
            layout.micro_batch_size >= 1 && layout.accumulation >= 1,
        "data rank {} of {}, micro-batches of {}, {} a step", layout.data_rank, layout.data_size,
        layout.micro_batch_size, layout.accumulation);
  batches_.assign(static_cast<std::size_t>(prefetch) + 1, Batch(layout, source.sequence_length()));
  thread_ = std::jthread([this](const std::stop_token& stop) { read_ahead(stop); });
}

void BatchLoader::read_ahead(const std::stop_token& stop) {
  const auto step_samples = static_cast<std::uint64_t>(layout_.global_batch_size());
  for (std::uint64_t step = 0;; ++step) {
    std::unique_lock lock(mutex_);
    const bool is_free =
        changed_.wait(lock, stop, [&] { return step + 1 < taken_ + batches_.size(); });
    if (!is_free) return;
    lock.unlock();
    std::exception_ptr error;
    try {
      batches_[step % batches_.size()].fill(source_, layout_, first_sample_ + step * step_samples);
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    if (error) {
      error_ = error;
    } else {
      filled_ = step + 1;
    }
    changed_.notify_all();
    if (error) return;
  }
}

const Batch& BatchLoader::next() {
  const auto begin = std::chrono::steady_clock::now();
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return filled_ > taken_ || error_; });
  wait_ms_ +=
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
  if (filled_ == taken_) std::rethrow_exception(error_);
  const Batch& batch = batches_[taken_ % batches_.size()];
  ++taken_;
  changed_.notify_all();
  return batch;
}

}  // namespace dualpath
