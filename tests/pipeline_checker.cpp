#include "tests/pipeline_checker.h"

#include <fmt/format.h>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "core/base/error.h"
#include "parallel/pipeline_simulation.h"

namespace dualpath {

namespace {

struct Fault {
  std::string text;
};

void require(bool condition, const char* text) {
  if (!condition) throw Fault{text};
}

// Places 0 to count - 1, some of which hold something.
template <class Content>
class Holder {
 public:
  explicit Holder(int count) : count_(count) {}
  bool empty() const { return contents_.empty(); }
  void put(int place, const Content& content) {
    require(0 <= place && place < count_, "there is no such place");
    require(contents_.emplace(place, content).second, "a place is taken twice");
  }
  void expect(int place, const Content& content) const {
    const auto found = contents_.find(place);
    require(found != contents_.end() && found->second == content, "a place holds something else");
  }
  void remove(int place) { contents_.erase(place); }

 private:
  int count_;
  std::map<int, Content> contents_;
};

class StageChecker {
 public:
  StageChecker(Schedule schedule, const PipelineShape& shape, int stage, const StagePlan& plan)
      : schedule_(schedule), shape_(shape), stage_(stage), plan_(plan), buffers_(plan.buffers) {
    for (int slots : plan.slots) slots_.emplace_back(slots);
    for (int slots : plan.deferred_slots) deferred_.emplace_back(slots);
  }

  void check() {
    for (const PipelineOp& op : plan_.ops) {
      std::visit([&](const auto& each) { follow(each); }, op);
    }
    const std::size_t kinds = schedule_ == Schedule::zero_bubble ? 3 : 2;
    require(done_.size() == kinds * slots_.size(), "a kind of work is missing");
    for (const auto& [work_and_chunk, micro_batches] : done_) {
      require(micro_batches == shape_.micro_batches, "a micro-batch is missing");
    }
    require(begun_ == plan_.exchanges && pending_.empty(), "an exchange is never awaited");
    require(buffers_.empty(), "a message is never taken");
  }

 private:
  // A message, by send, gradient, chunk and micro-batch.
  using Content = std::tuple<bool, bool, int, int>;

  void follow(const ComputeOp& op) {
    const auto [work, chunk, micro_batch] = op.work;
    require(done_[{work, chunk}]++ == micro_batch, "micro-batches out of order");
    const bool split = schedule_ == Schedule::zero_bubble;
    require(work == Work::forward || split == (work != Work::backward), "a wrong kind of work");
    if (work != Work::forward) {
      const Work before = work == Work::backward_weight ? Work::backward_input : Work::forward;
      require(done_[{before, chunk}] > micro_batch, "work before what it needs");
    }
    follow_slots(op);
    if (work == Work::backward_weight) {
      require(op.input == -1 && op.output == -1, "weight gradients in a message");
    } else {
      follow_buffers(op);
    }
  }

  void follow_slots(const ComputeOp& op) {
    const auto [work, chunk, micro_batch] = op.work;
    Holder<int>& slots = slots_.at(static_cast<std::size_t>(chunk));
    Holder<int>& deferred = deferred_.at(static_cast<std::size_t>(chunk));
    if (work == Work::forward) slots.put(op.slot, micro_batch);
    if (work == Work::backward || work == Work::backward_input) {
      slots.expect(op.slot, micro_batch);
      slots.remove(op.slot);
    }
    if (work == Work::backward_input) deferred.put(op.deferred_slot, micro_batch);
    if (work == Work::backward_weight) {
      deferred.expect(op.deferred_slot, micro_batch);
      deferred.remove(op.deferred_slot);
    }
  }

  void follow_buffers(const ComputeOp& op) {
    const auto [work, chunk, micro_batch] = op.work;
    const bool gradient = work != Work::forward;
    const int piece = shape_.piece(stage_, chunk);
    const bool is_first = piece == 0, is_last = piece == shape_.pieces() - 1;
    require((op.input == -1) == (gradient ? is_last : is_first), "an input too many or missing");
    require((op.output == -1) == (gradient ? is_first : is_last), "an output too many or missing");
    if (op.output != -1) buffers_.put(op.output, {true, gradient, chunk, micro_batch});
    if (op.input != -1) {
      buffers_.expect(op.input, {false, gradient, chunk, micro_batch});
      require(!under_way_.contains(op.input), "work on a message that is under way");
      buffers_.remove(op.input);
    }
  }

  void follow(const ExchangeOp& op) {
    require(op.id == begun_++, "exchanges out of order");
    require(!op.messages.empty(), "an empty exchange");
    for (const Message& each : op.messages) {
      const Content content{each.send, each.gradient, each.chunk, each.micro_batch};
      if (each.send) {
        buffers_.expect(each.buffer, content);
      } else {
        buffers_.put(each.buffer, content);
      }
      require(under_way_.insert(each.buffer).second, "a buffer is in two messages");
      const bool from_or_to_before = each.send == each.gradient;
      const int other = shape_.piece(stage_, each.chunk) + (from_or_to_before ? -1 : 1);
      require(each.peer == other % shape_.stages, "a message to the wrong stage");
    }
    pending_[op.id] = op.messages;
  }

  void follow(const AwaitOp& op) {
    const auto found = pending_.find(op.exchange);
    require(found != pending_.end(), "awaits what is not under way");
    for (const Message& each : found->second) {
      under_way_.erase(each.buffer);
      if (each.send) buffers_.remove(each.buffer);
    }
    pending_.erase(found);
  }

  Schedule schedule_;
  PipelineShape shape_;
  int stage_;
  const StagePlan& plan_;
  std::vector<Holder<int>> slots_, deferred_;  // micro-batches, by chunk
  Holder<Content> buffers_;
  std::map<std::pair<Work, int>, int> done_;  // micro-batches, by work and chunk
  std::map<int, std::vector<Message>> pending_;
  std::set<int> under_way_;  // buffers of pending_
  int begun_ = 0;
};

}  // namespace

std::string fault_of(Schedule schedule, const PipelineShape& shape,
                     std::span<const StagePlan> plans) {
  try {
    require(plans.size() == static_cast<std::size_t>(shape.stages), "a stage is missing");
    for (int stage = 0; stage < shape.stages; ++stage) {
      StageChecker(schedule, shape, stage, plans[static_cast<std::size_t>(stage)]).check();
    }
    // Whether stages wait for ever depends on the order of things alone, not on costs.
    const PipelineCosts costs{std::vector<PieceCosts>(static_cast<std::size_t>(shape.pieces()))};
    for (Exchanges exchanges : {Exchanges::blocking, Exchanges::overlapped}) {
      simulate(plans, costs, exchanges);
    }
  } catch (const Fault& fault) {
    return fault.text;
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace dualpath
