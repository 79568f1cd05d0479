// A pool of worker threads that keeps the order of its items: one thread reads and writes.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace dualpath {

// Threads that run jobs, given as void(worker) with worker < num_workers, in the order of add().
class WorkerPool {
 public:
  using Job = std::packaged_task<void(std::size_t)>;

  explicit WorkerPool(std::size_t num_workers) {
    for (std::size_t worker = 0; worker < num_workers; ++worker) {
      threads_.emplace_back([this, worker](std::stop_token stop) { work(stop, worker); });
    }
  }
  // Waits for the jobs under way; those that have not begun are dropped.
  ~WorkerPool() {
    for (std::jthread& thread : threads_) thread.request_stop();
  }
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  void add(Job job) {
    {
      const std::lock_guard lock(mutex_);
      jobs_.push_back(std::move(job));
    }
    ready_.notify_one();
  }

 private:
  void work(std::stop_token stop, std::size_t worker) {
    while (true) {
      Job job;
      {
        std::unique_lock lock(mutex_);
        ready_.wait(lock, stop, [this] { return !jobs_.empty(); });
        if (stop.stop_requested()) return;
        job = std::move(jobs_.front());
        jobs_.pop_front();
      }
      job(worker);
    }
  }

  std::mutex mutex_;
  std::condition_variable_any ready_;
  std::deque<Job> jobs_;
  std::vector<std::jthread> threads_;  // last: they end before what they use
};

// Calls produce() -> std::optional<Item> until it gives none, transform(worker, Item) -> Result on
// num_workers threads, and consume(Result) in the order of the items. produce and consume run on
// the calling thread; at most 2 num_workers + 1 items are alive. The first exception of any of
// them, in that order, ends it all and is thrown here.
template <class Produce, class Transform, class Consume>
void ordered_map(std::size_t num_workers, Produce produce, Transform transform, Consume consume) {
  using Item = typename std::invoke_result_t<Produce&>::value_type;
  using Result = std::invoke_result_t<Transform&, std::size_t, Item>;
  std::deque<std::future<Result>> results;
  WorkerPool pool(num_workers);
  bool ended = false;
  while (true) {
    while (!ended && results.size() < 2 * num_workers) {
      std::optional<Item> item = produce();
      if (!item) {
        ended = true;
        break;
      }
      std::packaged_task<Result(std::size_t)> task(
          [&transform, item = std::move(*item)](std::size_t worker) mutable {
            return transform(worker, std::move(item));
          });
      results.push_back(task.get_future());
      pool.add(WorkerPool::Job(std::move(task)));
    }
    if (results.empty()) return;
    consume(results.front().get());
    results.pop_front();
  }
}

}  // namespace dualpath
