#include "parallel/pipeline_simulation.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <optional>

#include "core/base/error.h"
#include "parallel/index.h"

namespace dualpath {

namespace {

double cost_of(Work work, const PieceCosts& costs) {
  switch (work) {
    case Work::forward:
      return costs.forward;
    case Work::backward:
      return costs.backward_input + costs.backward_weight;
    case Work::backward_input:
      return costs.backward_input;
    case Work::backward_weight:
      return costs.backward_weight;
  }
  CHECK(false, "work {}", static_cast<int>(work));
}

struct ExchangeState {
  std::vector<ExchangeState*> peers;  // of its messages
  std::optional<double> issued, begun, done;
};

struct StageState {
  std::vector<ExchangeState> exchanges;
  std::size_t next_exchange = 0;  // first that is not done
  std::size_t next_op = 0;
  double time = 0;
  double busy = 0;
  bool moved = false;  // since this was last reset
};

// Joins the exchanges that hold the two ends of a message.
void match_messages(std::span<const StagePlan> plans, std::vector<StageState>& stages) {
  struct End {
    Message message;
    int piece;  // the one that sends an activation, or whose gradient this is
    ExchangeState* exchange;
  };
  const int num_stages = static_cast<int>(plans.size());
  std::map<std::pair<int, int>, std::vector<End>> sends, receives;  // by sender, receiver
  for (int stage = 0; stage < num_stages; ++stage) {
    for (const PipelineOp& op : plans[at(stage)].ops) {
      const auto* exchange = std::get_if<ExchangeOp>(&op);
      if (exchange == nullptr) continue;
      for (const Message& message : exchange->messages) {
        const int own_piece = message.chunk * num_stages + stage;
        const bool upper = message.send == message.gradient;  // the later of the two pieces
        const End end{message, upper ? own_piece - 1 : own_piece,
                      &stages[at(stage)].exchanges.at(at(exchange->id))};
        if (message.send) {
          sends[{stage, message.peer}].push_back(end);
        } else {
          receives[{message.peer, stage}].push_back(end);
        }
      }
    }
  }
  const auto describe = [](const End& end) {
    return fmt::format("the {} between pieces {} and {} of micro-batch {}",
                       end.message.gradient ? "gradient" : "activation", end.piece, end.piece + 1,
                       end.message.micro_batch);
  };
  for (int sender = 0; sender < num_stages; ++sender) {
    for (int receiver = 0; receiver < num_stages; ++receiver) {
      const auto& sent = sends[{sender, receiver}];
      const auto& received = receives[{sender, receiver}];
      CHECK(sent.size() == received.size(),
            "stage {} sends {} messages to stage {}, which takes {}", sender, sent.size(), receiver,
            received.size());
      for (std::size_t i = 0; i < sent.size(); ++i) {
        CHECK(describe(sent[i]) == describe(received[i]),
              "message {} from stage {} to {} is sent as {} and received as {}", i, sender,
              receiver, describe(sent[i]), describe(received[i]));
        sent[i].exchange->peers.push_back(received[i].exchange);
        received[i].exchange->peers.push_back(sent[i].exchange);
      }
    }
  }
}

// The exchanges of a stage run one after the other.
void advance_exchanges(StageState& stage, double link) {
  double before = stage.next_exchange == 0 ? 0 : *stage.exchanges[stage.next_exchange - 1].done;
  while (stage.next_exchange < stage.exchanges.size()) {
    ExchangeState& exchange = stage.exchanges[stage.next_exchange];
    if (!exchange.issued) return;
    if (!exchange.begun) {
      exchange.begun = std::max(*exchange.issued, before);
      stage.moved = true;
    }
    double all_begun = *exchange.begun;
    for (const ExchangeState* peer : exchange.peers) {
      if (!peer->begun) return;
      all_begun = std::max(all_begun, *peer->begun);
    }
    exchange.done = before = all_begun + link;
    ++stage.next_exchange;
    stage.moved = true;
  }
}

class Interpreter {
 public:
  Interpreter(int stage, int num_stages, const PipelineCosts& costs, Exchanges exchanges,
              StageState& state)
      : stage_(stage),
        num_stages_(num_stages),
        costs_(costs),
        exchanges_(exchanges),
        state_(state) {}

  // Each: whether the op is behind us.
  bool operator()(const ComputeOp& op) {
    const double cost =
        cost_of(op.work.work, costs_.pieces.at(at(op.work.chunk * num_stages_ + stage_)));
    state_.time += cost;
    state_.busy += cost;
    return true;
  }
  bool operator()(const ExchangeOp& op) {
    ExchangeState& exchange = state_.exchanges.at(at(op.id));
    if (!exchange.issued) {
      exchange.issued = state_.time;
      state_.moved = true;
    }
    return exchanges_ == Exchanges::overlapped || wait(exchange);
  }
  bool operator()(const AwaitOp& op) { return wait(state_.exchanges.at(at(op.exchange))); }

 private:
  bool wait(const ExchangeState& exchange) {
    if (exchange.done) state_.time = std::max(state_.time, *exchange.done);
    return exchange.done.has_value();
  }

  int stage_, num_stages_;
  const PipelineCosts& costs_;
  Exchanges exchanges_;
  StageState& state_;
};

}  // namespace

double Simulation::bubble_fraction() const {
  const double all = makespan * static_cast<double>(busy.size());
  return (all - std::accumulate(busy.begin(), busy.end(), 0.0)) / all;
}

Simulation simulate(std::span<const StagePlan> plans, const PipelineCosts& costs,
                    Exchanges exchanges) {
  std::vector<StageState> stages(plans.size());
  for (std::size_t i = 0; i < plans.size(); ++i) {
    stages[i].exchanges.resize(at(plans[i].exchanges));
  }
  match_messages(plans, stages);
  for (bool moved = true; moved;) {
    moved = false;
    for (std::size_t i = 0; i < plans.size(); ++i) {
      StageState& stage = stages[i];
      Interpreter interpreter(static_cast<int>(i), static_cast<int>(plans.size()), costs, exchanges,
                              stage);
      stage.moved = false;
      advance_exchanges(stage, costs.link);
      while (stage.next_op < plans[i].ops.size() &&
             std::visit(interpreter, plans[i].ops[stage.next_op])) {
        ++stage.next_op;
        stage.moved = true;
      }
      moved |= stage.moved;
    }
  }
  Simulation simulation;
  for (std::size_t i = 0; i < plans.size(); ++i) {
    CHECK(stages[i].next_op == plans[i].ops.size() &&
              stages[i].next_exchange == stages[i].exchanges.size(),
          "stage {} waits for ever in exchange {}", i, stages[i].next_exchange);
    simulation.makespan = std::max(simulation.makespan, stages[i].time);
    simulation.busy.push_back(stages[i].busy);
  }
  return simulation;
}

double bubble_fraction(Schedule schedule, const PipelineShape& shape, const PieceCosts& costs) {
  const double p = shape.stages, m = shape.micro_batches;
  if (schedule == Schedule::zero_bubble) {
    const double overlap = std::min({costs.forward, costs.backward_input, costs.backward_weight});
    const double idle =
        (p - 1) * (costs.forward + costs.backward_input) - (std::min(m, p) - 1) * overlap;
    return idle / (m * costs.total() + idle);
  }
  return (p - 1) / (shape.chunks * m + p - 1);
}

}  // namespace dualpath
