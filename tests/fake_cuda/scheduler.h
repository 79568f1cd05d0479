// Streams as queues of work, and the one thread that does it, in place of GPUs. Work is done when
// somebody waits for it, no earlier; what nobody waits for may be done before it or not at all, in
// an order that a seed shuffles. So a wait that the program forgot shows, for some seed, as a wrong
// result.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace dualpath::fake_cuda {

class Scheduler {
 public:
  class Stream;
  // A point in a stream's order of work; a default one has always passed.
  struct Ticket {
    Stream* stream = nullptr;
    std::uint64_t count = 0;  // pieces of work before it
  };
  // Returns whether it is done; if not, it is called again while other streams go on. What it
  // throws fails the whole machine.
  using Work = std::function<bool()>;

  // After `patience` without a call, work goes on by itself.
  Scheduler(std::uint64_t seed, std::chrono::milliseconds patience);
  // Drops what is not done.
  ~Scheduler();

  Stream& make_stream(int device);  // lives as long as the scheduler

  // `milliseconds`: what it costs of the time that events measure.
  void issue(Stream& stream, Work work, double milliseconds);
  // Work issued on the stream afterwards starts when the ticket has passed.
  void issue_wait(Stream& stream, Ticket ticket);

  Ticket now(Stream& stream) const;  // behind all work issued so far
  bool passed(Ticket ticket) const;
  double time_of(Ticket ticket) const;  // of the stream's own work. REQUIRES: it has passed
  // These return at once where work has failed.
  void wait(Ticket ticket);
  void wait_for_all(int device);

  std::string failure() const;  // of the first work that failed; empty if none has

 private:
  struct Piece {
    Work work;
    double milliseconds;
    Ticket after;
  };

  bool has_passed(Ticket ticket) const;
  void issue(Stream& stream, Piece piece);
  void run();
  Stream* awaited() const;
  Stream* any_busy();
  // The one that a stream with work waits for, or itself.
  static Stream& first_in_line(Stream& stream);

  const std::chrono::milliseconds patience_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;   // for the thread that does the work
  std::condition_variable progress_;  // for those that wait
  std::mt19937_64 random_;
  std::deque<Stream> streams_;
  std::list<Ticket> waits_;
  bool runs_ahead_ = false;  // with streams that nobody waits for
  bool goes_on_ = false;     // nobody waits, but patience is over
  bool closing_ = false;
  std::string failure_;
  std::thread thread_;
};

class Scheduler::Stream {
 public:
  explicit Stream(int device) : device_(device) {}
  int device() const { return device_; }

 private:
  friend class Scheduler;
  const int device_;
  std::deque<Piece> queue_;    // its first piece may be under way
  std::vector<double> ended_;  // when each piece that is done ended
};

}  // namespace dualpath::fake_cuda
