// BatchLoader: the micro-batches of one data rank, read ahead by a thread of its own.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <span>
#include <stop_token>
#include <thread>
#include <vector>

#include "data/tokens/sample_source.h"

namespace dualpath {

// How a global batch is dealt out. Whatever the layout, the step after `consumed` samples trains
// on the samples [consumed, consumed + global_batch_size()), each once.
struct BatchLayout {
  std::int64_t data_rank = 0;  // which of data_size ranks that read different samples
  std::int64_t data_size = 1;
  std::int64_t micro_batch_size = 1;  // samples a rank and micro-batch
  std::int64_t accumulation = 1;      // micro-batches a step

  std::int64_t global_batch_size() const { return micro_batch_size * data_size * accumulation; }
  // Row `row` of this rank's micro-batch `micro_batch`, counted from the step's first sample.
  std::int64_t sample(std::int64_t micro_batch, std::int64_t row) const {
    return (micro_batch * data_size + data_rank) * micro_batch_size + row;
  }
};

// What one rank trains on in one step. Rows are samples: each span is
// [micro_batch_size, sequence_length], row-major.
class Batch {
 public:
  Batch(const BatchLayout& layout, std::int64_t sequence_length);
  std::span<const std::int32_t> inputs(std::int64_t micro_batch) const;
  std::span<const std::int32_t> targets(std::int64_t micro_batch) const;
  std::int64_t num_targets() const { return num_targets_; }     // that are not -1
  std::uint64_t first_sample() const { return first_sample_; }  // of the global batch

  void fill(const SampleSource& source, const BatchLayout& layout, std::uint64_t first_sample);

 private:
  std::size_t micro_batch_tokens_;
  std::vector<std::int32_t> inputs_, targets_;  // all micro-batches
  std::int64_t num_targets_ = 0;
  std::uint64_t first_sample_ = 0;
};

class BatchLoader {
 public:
  // The source outlives the loader. prefetch: steps read ahead of the one in use.
  BatchLoader(const SampleSource& source, const BatchLayout& layout, std::uint64_t first_sample,
              std::int64_t prefetch = 2);
  BatchLoader(const BatchLoader&) = delete;
  BatchLoader& operator=(const BatchLoader&) = delete;

  // The next step's batch, valid until the next call. Waits for it if it is not read yet; throws
  // what reading it threw. Allocates nothing.
  const Batch& next();
  // How long calls of next() have waited so far.
  double wait_ms() const { return wait_ms_; }

 private:
  void read_ahead(const std::stop_token& stop);

  const SampleSource& source_;
  BatchLayout layout_;
  std::uint64_t first_sample_;
  double wait_ms_ = 0;

  // Step s lies in batches_[s % batches_.size()]. Step taken_ - 1 is in use, steps
  // [taken_, filled_) are ready. Step s may be filled once step s - batches_.size() is not in use.
  std::vector<Batch> batches_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::uint64_t taken_ = 0;
  std::uint64_t filled_ = 0;
  std::exception_ptr error_;  // of reading step filled_
  std::jthread thread_;       // last: it ends before what it uses
};

}  // namespace dualpath
