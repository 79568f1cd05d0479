#include "tests/fake_cuda/scheduler.h"

#include <exception>

namespace dualpath::fake_cuda {

namespace {
constexpr std::chrono::microseconds between_polls(100);
}

Scheduler::Scheduler(std::uint64_t seed, std::chrono::milliseconds patience)
    : patience_(patience), random_(seed), thread_([this] { run(); }) {}

Scheduler::~Scheduler() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

Scheduler::Stream& Scheduler::make_stream(int device) {
  const std::lock_guard lock(mutex_);
  return streams_.emplace_back(device);
}

void Scheduler::issue(Stream& stream, Work work, double milliseconds) {
  issue(stream, {std::move(work), milliseconds, {}});
}

void Scheduler::issue_wait(Stream& stream, Ticket ticket) {
  issue(stream, {[] { return true; }, 0, ticket});
}

void Scheduler::issue(Stream& stream, Piece piece) {
  {
    const std::lock_guard lock(mutex_);
    stream.queue_.push_back(std::move(piece));
    goes_on_ = false;
  }
  changed_.notify_all();
}

Scheduler::Ticket Scheduler::now(Stream& stream) const {
  const std::lock_guard lock(mutex_);
  return {&stream, stream.ended_.size() + stream.queue_.size()};
}

bool Scheduler::has_passed(Ticket ticket) const {
  return ticket.stream == nullptr || ticket.stream->ended_.size() >= ticket.count;
}

bool Scheduler::passed(Ticket ticket) const {
  const std::lock_guard lock(mutex_);
  return has_passed(ticket);
}

double Scheduler::time_of(Ticket ticket) const {
  const std::lock_guard lock(mutex_);
  return ticket.count == 0 ? 0 : ticket.stream->ended_[ticket.count - 1];
}

void Scheduler::wait(Ticket ticket) {
  std::unique_lock lock(mutex_);
  if (has_passed(ticket)) return;
  const auto own = waits_.insert(waits_.end(), ticket);
  runs_ahead_ = random_() % 2 == 0;
  changed_.notify_all();
  progress_.wait(lock, [&] { return has_passed(ticket) || !failure_.empty(); });
  waits_.erase(own);
}

void Scheduler::wait_for_all(int device) {
  std::vector<Stream*> own;
  {
    const std::lock_guard lock(mutex_);
    for (Stream& stream : streams_)
      if (stream.device_ == device) own.push_back(&stream);
  }
  for (Stream* stream : own) wait(now(*stream));
}

std::string Scheduler::failure() const {
  const std::lock_guard lock(mutex_);
  return failure_;
}

Scheduler::Stream* Scheduler::awaited() const {
  for (const Ticket& ticket : waits_)
    if (!has_passed(ticket)) return ticket.stream;
  return nullptr;
}

Scheduler::Stream* Scheduler::any_busy() {
  std::vector<Stream*> busy;
  for (Stream& stream : streams_)
    if (!stream.queue_.empty()) busy.push_back(&stream);
  return busy.empty() ? nullptr : busy[random_() % busy.size()];
}

Scheduler::Stream& Scheduler::first_in_line(Stream& stream) {
  Stream* first = &stream;
  for (;;) {
    const Ticket after = first->queue_.front().after;
    if (after.stream == nullptr || after.stream->ended_.size() >= after.count) return *first;
    first = after.stream;
  }
}

void Scheduler::run() {
  std::unique_lock lock(mutex_);
  bool stalled = false;  // the last piece was not done
  while (!closing_) {
    Stream* wanted = awaited();
    if (wanted == nullptr && goes_on_) wanted = any_busy();
    if (wanted == nullptr || !failure_.empty()) {
      goes_on_ = changed_.wait_for(lock, patience_) == std::cv_status::timeout;
      continue;
    }
    if (stalled) changed_.wait_for(lock, between_polls);
    if (stalled || (runs_ahead_ && random_() % 2 == 0)) wanted = any_busy();
    Stream& stream = first_in_line(*wanted);
    Piece& piece = stream.queue_.front();
    lock.unlock();
    std::string failure;
    try {
      stalled = !piece.work();
    } catch (const std::exception& error) {
      failure = error.what();
    }
    lock.lock();
    failure_ = failure;
    if (!stalled) {
      stream.ended_.push_back((stream.ended_.empty() ? 0 : stream.ended_.back()) +
                              piece.milliseconds);
      stream.queue_.pop_front();
    }
    progress_.notify_all();
  }
}

}  // namespace dualpath::fake_cuda
