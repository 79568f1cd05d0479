#include "parallel/pipeline_plan.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <tuple>

#include "core/base/error.h"
#include "parallel/index.h"

namespace dualpath {

namespace {

int duration_of(Work work, const WorkDurations& durations) {
  switch (work) {
    case Work::forward:
      return durations.forward;
    case Work::backward:
      return durations.backward_input + durations.backward_weight;
    case Work::backward_input:
      return durations.backward_input;
    case Work::backward_weight:
      return durations.backward_weight;
  }
  CHECK(false, "work {}", static_cast<int>(work));
}

// When a stage would do its work, were all durations as assumed.
struct Timeline {
  std::vector<ChunkWork> order;
  std::vector<std::int64_t> start, end;  // of order's elements, as far as known
  std::vector<int> places;               // in order, by key

  Timeline(Schedule schedule, const PipelineShape& shape, int stage)
      : order(compute_order(schedule, shape, stage)), shape_(shape) {
    places.resize(at(4 * shape.chunks * shape.micro_batches));
    for (int place = 0; place < size(); ++place) places[key(order[at(place)])] = place;
  }
  int size() const { return static_cast<int>(order.size()); }
  int place_of(const ChunkWork& work) const { return places[key(work)]; }

 private:
  std::size_t key(const ChunkWork& work) const {
    return at((static_cast<int>(work.work) * shape_.chunks + work.chunk) * shape_.micro_batches +
              work.micro_batch);
  }
  PipelineShape shape_;
};

// When the input of work is there: 0 where it needs none, nothing while unknown.
std::optional<std::int64_t> arrival(const std::vector<Timeline>& timelines,
                                    const std::optional<WorkSource>& source,
                                    const WorkDurations& durations) {
  if (!source) return 0;
  const Timeline& sender = timelines[at(source->stage)];
  const std::size_t place = at(sender.place_of(source->work));
  if (place >= sender.end.size()) return std::nullopt;
  return sender.end[place] + durations.message;
}

std::vector<Timeline> make_timelines(Schedule schedule, const PipelineShape& shape,
                                     const WorkDurations& durations) {
  std::vector<Timeline> timelines;
  for (int stage = 0; stage < shape.stages; ++stage) timelines.emplace_back(schedule, shape, stage);
  for (bool progress = true; progress;) {
    progress = false;
    for (int stage = 0; stage < shape.stages; ++stage) {
      Timeline& own = timelines[at(stage)];
      while (own.end.size() < own.order.size()) {
        const ChunkWork& work = own.order[own.end.size()];
        const auto input = arrival(timelines, source_of(work, stage, shape), durations);
        if (!input) break;
        own.start.push_back(own.end.empty() ? *input : std::max(*input, own.end.back()));
        own.end.push_back(own.start.back() + duration_of(work.work, durations));
        progress = true;
      }
    }
  }
  for (const Timeline& own : timelines) {
    CHECK(own.end.size() == own.order.size(), "the schedule {} waits for itself",
          enum_name(schedule));
  }
  return timelines;
}

struct TimedMessage {
  Message message;
  std::int64_t time;  // when it is computed
  int needed_before;  // the receiver's place that takes it; for a send, the place after the next
};

// The messages that a stage exchanges before each place of its order, and after the last, by time.
using Boundaries = std::vector<std::vector<TimedMessage>>;

// A send stands right after the work that computes the message; its receive at the last boundary
// that the receiver has passed at that time, so before the work that goes on meanwhile.
//
// Then no stage waits for ever, whatever the true durations. Suppose some do, each stuck in one
// exchange, and of all messages they wait for take the one with the earliest time. The stage that
// has not come to the exchange with this message is stuck in an earlier one, but there all messages
// have earlier times:
//   where that stage sends the message, earlier exchanges hold what it sent after earlier work, and
//     receives of what is computed before the work that computes the message ends;
//   where it receives the message, what it sent after earlier work, and receives of what is
//     computed before a work ends that ends before the message's time. Of two exchanges at one
//     boundary (see Assembly), the first has the earlier times.
std::vector<Boundaries> place_messages(const std::vector<Timeline>& timelines,
                                       const PipelineShape& shape) {
  std::vector<Boundaries> boundaries;
  for (const Timeline& own : timelines) boundaries.emplace_back(own.order.size() + 1);
  for (int stage = 0; stage < shape.stages; ++stage) {
    const Timeline& own = timelines[at(stage)];
    for (int place = 0; place < own.size(); ++place) {
      const ChunkWork& work = own.order[at(place)];
      const auto source = source_of(work, stage, shape);
      if (!source) continue;
      const Timeline& sender = timelines[at(source->stage)];
      const int sent = sender.place_of(source->work) + 1;
      const std::int64_t time = sender.end[at(sent - 1)];
      const auto passed = std::upper_bound(own.end.begin(), own.end.end(), time) - own.end.begin();
      Message message{.send = false,
                      .gradient = work.work != Work::forward,
                      .peer = source->stage,
                      .chunk = work.chunk,
                      .micro_batch = work.micro_batch};
      boundaries[at(stage)][static_cast<std::size_t>(passed)].push_back({message, time, place});
      message.send = true;
      message.peer = stage;
      message.chunk = source->work.chunk;
      boundaries[at(source->stage)][at(sent)].push_back(
          {message, time, std::min(sent + 1, sender.size())});
    }
  }
  for (Boundaries& own : boundaries) {
    for (std::vector<TimedMessage>& timed : own) {
      std::sort(timed.begin(), timed.end(), [](const TimedMessage& a, const TimedMessage& b) {
        return std::tie(a.time, a.message.peer) < std::tie(b.time, b.message.peer);
      });
    }
  }
  return boundaries;
}

// Puts work and exchanges in order.
class Assembly {
 public:
  explicit Assembly(const Timeline& timeline)
      : timeline_(timeline), awaited_(timeline.order.size() + 1) {}

  StagePlan operator()(const Boundaries& boundaries) {
    for (int place = 0; place <= timeline_.size(); ++place) {
      for (int exchange : awaited_[at(place)]) plan_.ops.push_back(AwaitOp{exchange});
      const std::span<const TimedMessage> messages = boundaries[at(place)];
      const std::size_t first = messages.size() - late(messages, place);
      add_exchange(messages.first(first), place);
      add_exchange(messages.subspan(first), place);
      if (place < timeline_.size()) {
        plan_.ops.push_back(ComputeOp{.work = timeline_.order[at(place)]});
      }
    }
    return std::move(plan_);
  }

 private:
  // How many of the messages, the last ones, the work at this place must not wait for, although it
  // waits for others: they come while it goes on, and have an exchange of their own.
  std::size_t late(std::span<const TimedMessage> messages, int place) const {
    const auto needed_now = [&](const TimedMessage& each) { return each.needed_before == place; };
    if (place == timeline_.size() || std::none_of(messages.begin(), messages.end(), needed_now)) {
      return 0;
    }
    const auto comes_later = [&](const TimedMessage& each) {
      return each.time > timeline_.start[at(place)];
    };
    return static_cast<std::size_t>(std::count_if(messages.begin(), messages.end(), comes_later));
  }

  // Awaited before the first work that needs one of its receives or, where there is none, after
  // one more work.
  void add_exchange(std::span<const TimedMessage> messages, int place) {
    if (messages.empty()) return;
    ExchangeOp exchange{.id = plan_.exchanges++, .messages = {}};
    int receive_needed = timeline_.size(), sends_done = timeline_.size();
    bool receives = false;
    for (const auto& [message, time, needed_before] : messages) {
      exchange.messages.push_back(message);
      receives |= !message.send;
      int& awaited_before = message.send ? sends_done : receive_needed;
      awaited_before = std::min(awaited_before, needed_before);
    }
    const int awaited_before = receives ? receive_needed : sends_done;
    plan_.ops.push_back(exchange);
    if (awaited_before == place) {
      plan_.ops.push_back(AwaitOp{exchange.id});
    } else {
      awaited_[at(awaited_before)].push_back(exchange.id);
    }
  }

  const Timeline& timeline_;
  StagePlan plan_;
  std::vector<std::vector<int>> awaited_;  // exchanges, by the place before which they are awaited
};

// Places 0, 1, ...: the lowest that is free.
class Places {
 public:
  int take() {
    if (free_.empty()) return size_++;
    return free_.extract(free_.begin()).value();
  }
  void give(int place) { free_.insert(place); }
  int size() const { return size_; }

 private:
  std::set<int> free_;
  int size_ = 0;
};

// Gives every micro-batch its slots and every message its buffer, for as long as StagePlan says.
class Assignment {
 public:
  Assignment(const PipelineShape& shape, int stage)
      : shape_(shape), stage_(stage), slots_(at(shape.chunks)), deferred_(at(shape.chunks)) {}

  void operator()(ComputeOp& op) {
    const auto [work, chunk, micro_batch] = op.work;
    take_slots(op);
    const bool gradient = work != Work::forward;
    const int piece = shape_.piece(stage_, chunk);
    const bool has_output =
        work != Work::backward_weight && (gradient ? piece > 0 : piece < shape_.pieces() - 1);
    if (has_output) op.output = buffer_[{true, gradient, chunk, micro_batch}] = buffers_.take();
    if (work == Work::backward_weight) return;
    const auto input = buffer_.find({false, gradient, chunk, micro_batch});
    if (input != buffer_.end()) buffers_.give(op.input = input->second);
  }
  void operator()(ExchangeOp& op) {
    for (Message& message : op.messages) {
      int& buffer = buffer_[{message.send, message.gradient, message.chunk, message.micro_batch}];
      if (message.send) {
        sent_[op.id].push_back(buffer);
      } else {
        buffer = buffers_.take();
      }
      message.buffer = buffer;
    }
  }
  void operator()(AwaitOp& op) {
    for (int buffer : sent_[op.exchange]) buffers_.give(buffer);
  }

  void count(StagePlan& plan) const {
    for (const Places& places : slots_) plan.slots.push_back(places.size());
    for (const Places& places : deferred_) plan.deferred_slots.push_back(places.size());
    plan.buffers = buffers_.size();
  }

 private:
  void take_slots(ComputeOp& op) {
    const auto [work, chunk, micro_batch] = op.work;
    const std::pair key{chunk, micro_batch};
    Places& slots = slots_[at(chunk)];
    Places& deferred = deferred_[at(chunk)];
    switch (work) {
      case Work::forward:
        op.slot = slot_[key] = slots.take();
        break;
      case Work::backward:
        slots.give(op.slot = slot_[key]);
        break;
      case Work::backward_input:
        slots.give(op.slot = slot_[key]);
        op.deferred_slot = deferred_slot_[key] = deferred.take();
        break;
      case Work::backward_weight:
        deferred.give(op.deferred_slot = deferred_slot_[key]);
        break;
    }
  }

  PipelineShape shape_;
  int stage_;
  std::vector<Places> slots_, deferred_;  // by chunk
  Places buffers_;
  std::map<std::pair<int, int>, int> slot_, deferred_slot_;  // by chunk, micro-batch
  std::map<std::tuple<bool, bool, int, int>, int> buffer_;  // by send, gradient, chunk, micro-batch
  std::map<int, std::vector<int>> sent_;                    // by exchange
};

}  // namespace

std::vector<StagePlan> plan_pipeline(Schedule schedule, const PipelineShape& shape,
                                     const WorkDurations& durations) {
  const std::string problem = schedule_problem(schedule, shape);
  CHECK_AS(ExitCode::configuration, problem.empty(), "{}", problem);
  CHECK(std::min({durations.forward, durations.backward_input, durations.backward_weight}) > 0 &&
            durations.message >= 0,
        "durations of work {}, {}, {} must be positive, that of a message, {}, not negative",
        durations.forward, durations.backward_input, durations.backward_weight, durations.message);
  const std::vector<Timeline> timelines = make_timelines(schedule, shape, durations);
  const std::vector<Boundaries> boundaries = place_messages(timelines, shape);
  std::vector<StagePlan> plans;
  for (int stage = 0; stage < shape.stages; ++stage) {
    StagePlan plan = Assembly(timelines[at(stage)])(boundaries[at(stage)]);
    Assignment assignment(shape, stage);
    for (PipelineOp& op : plan.ops) std::visit(assignment, op);
    assignment.count(plan);
    plans.push_back(std::move(plan));
  }
  return plans;
}

}  // namespace dualpath
