#include "parallel/pipeline_plan.h"

#include <algorithm>
#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <utility>

#include "tests/expect_error.h"
#include "tests/pipeline_checker.h"

namespace dualpath {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr Schedule all_schedules[] = {Schedule::gpipe, Schedule::one_f_one_b, Schedule::interleaved,
                                      Schedule::zero_bubble};

// Calls action with some 1,700 schedules and shapes; 1f1b of several chunks as interleaved.
template <class Action>
void for_each_shape(const Action& action) {
  std::vector<int> micro_batch_counts{23, 24, 31, 32, 33, 45, 48, 63, 64};
  for (int i = 1; i <= 20; ++i) micro_batch_counts.push_back(i);
  for (Schedule schedule : all_schedules) {
    for (int stages = 1; stages <= 16; ++stages) {
      for (int chunks = 1; chunks <= 4; ++chunks) {
        for (int micro_batches : micro_batch_counts) {
          const PipelineShape shape{stages, chunks, micro_batches};
          if (effective_schedule(schedule, shape) != schedule) continue;
          if (!schedule_problem(schedule, shape).empty()) continue;
          SCOPED_TRACE(
              fmt::format("{} p{} v{} m{}", enum_name(schedule), stages, chunks, micro_batches));
          action(schedule, shape);
        }
      }
    }
  }
}

TEST(PipelinePlan, EveryPlanIsSound) {
  const WorkDurations odd_durations[] = {{5, 5, 5, 0}, {3, 1, 7, 2}, {1, 2, 1, 5}, {7, 4, 1, 1}};
  std::size_t shapes = 0;
  for_each_shape([&](Schedule schedule, const PipelineShape& shape) {
    const WorkDurations& odd = odd_durations[shapes++ % std::size(odd_durations)];
    for (const WorkDurations& durations : {WorkDurations{}, odd}) {
      const auto plans = plan_pipeline(schedule, shape, durations);
      EXPECT_EQ(fault_of(schedule, shape, plans), "");
    }
  });
  EXPECT_GT(shapes, 1700u);
}

// How many micro-batches, over all chunks, are between the start of one kind of work and the end
// of another at most.
int max_between(const StagePlan& plan, Work begin, Work end) {
  int live = 0, most = 0;
  for (const PipelineOp& op : plan.ops) {
    const auto* compute = std::get_if<ComputeOp>(&op);
    if (compute == nullptr) continue;
    if (compute->work.work == begin) most = std::max(most, ++live);
    if (compute->work.work == end) --live;
  }
  return most;
}

TEST(PipelinePlan, HoldsNoMoreActivationsThanItsSchedule) {
  for_each_shape([](Schedule schedule, const PipelineShape& shape) {
    const auto [stages, chunks, micro_batches] = shape;
    const auto plans = plan_pipeline(schedule, shape);
    for (int stage = 0; stage < stages; ++stage) {
      const StagePlan& plan = plans[static_cast<std::size_t>(stage)];
      const int one_f_one_b = std::min(micro_batches, stages - stage);
      switch (schedule) {
        case Schedule::gpipe:
          EXPECT_THAT(plan.slots, ElementsAre(micro_batches));
          break;
        case Schedule::one_f_one_b:
          EXPECT_THAT(plan.slots, ElementsAre(one_f_one_b));
          break;
        case Schedule::interleaved: {
          const int ahead = 2 * (stages - 1 - stage) + (chunks - 1) * stages;
          EXPECT_EQ(max_between(plan, Work::forward, Work::backward),
                    std::min(micro_batches * chunks, ahead + 1));
          // A chunk is at two groups of micro-batches at most.
          for (int slots : plan.slots) EXPECT_LE(slots, std::min(micro_batches, 2 * stages));
          break;
        }
        case Schedule::zero_bubble:
          EXPECT_THAT(plan.slots, ElementsAre(one_f_one_b));
          EXPECT_THAT(plan.deferred_slots, ElementsAre(std::min(micro_batches, stage + 1)));
          // On every stage as much as on the first stage of 1f1b.
          EXPECT_EQ(max_between(plan, Work::forward, Work::backward_weight),
                    std::min(micro_batches, stages));
      }
    }
  });
}

std::string order_text(Schedule schedule, const PipelineShape& shape, int stage) {
  std::string text;
  for (const auto& [work, chunk, micro_batch] : compute_order(schedule, shape, stage)) {
    if (!text.empty()) text += " ";
    text += "FBBW"[static_cast<int>(work)];
    if (shape.chunks > 1) text += std::to_string(chunk) + ".";
    text += std::to_string(micro_batch);
  }
  return text;
}

// As drawn in the papers.
TEST(PipelineOrder, SmallSchedules) {
  EXPECT_EQ(order_text(Schedule::gpipe, {2, 1, 3}, 0), "F0 F1 F2 B0 B1 B2");
  const PipelineShape shape{3, 1, 4};
  EXPECT_EQ(order_text(Schedule::one_f_one_b, shape, 0), "F0 F1 F2 B0 F3 B1 B2 B3");
  EXPECT_EQ(order_text(Schedule::one_f_one_b, shape, 1), "F0 F1 B0 F2 B1 F3 B2 B3");
  EXPECT_EQ(order_text(Schedule::one_f_one_b, shape, 2), "F0 B0 F1 B1 F2 B2 F3 B3");
  EXPECT_EQ(order_text(Schedule::zero_bubble, shape, 0), "F0 F1 F2 B0 W0 F3 B1 W1 B2 W2 B3 W3");
  EXPECT_EQ(order_text(Schedule::zero_bubble, shape, 2), "F0 B0 F1 B1 F2 B2 W0 F3 B3 W1 W2 W3");
  EXPECT_EQ(order_text(Schedule::interleaved, {2, 2, 2}, 0),
            "F0.0 F0.1 F1.0 F1.1 B1.0 B1.1 B0.0 B0.1");
  EXPECT_EQ(order_text(Schedule::interleaved, {2, 2, 4}, 1),
            "F0.0 F0.1 F1.0 B1.0 F1.1 B1.1 F0.2 B0.0 F0.3 B0.1 F1.2 B1.2 F1.3 B1.3 B0.2 B0.3");
}

TEST(PipelineOrder, OneFOneBOfSeveralChunksIsInterleaved) {
  EXPECT_EQ(compute_order(Schedule::one_f_one_b, {2, 3, 4}, 1),
            compute_order(Schedule::interleaved, {2, 3, 4}, 1));
}

TEST(PipelineOrder, RefusesWhatThereIsNot) {
  EXPECT_EQ(schedule_problem(Schedule::interleaved, {4, 2, 10}),
            "the interleaved schedule takes micro-batches in groups of 4, one a stage: 10 is no "
            "multiple of that, the nearest is 8 or 12");
  EXPECT_THAT(schedule_problem(Schedule::one_f_one_b, {4, 2, 3}), HasSubstr("the nearest is 4"));
  EXPECT_EQ(schedule_problem(Schedule::one_f_one_b, {4, 1, 3}), "");
  EXPECT_EQ(schedule_problem(Schedule::zero_bubble, {4, 2, 4}),
            "the schedule zero_bubble has 1 chunk a stage, not 2; interleaved has several");
  EXPECT_EQ(schedule_problem(Schedule::interleaved, {1, 2, 4}),
            "2 chunks a stage need at least 2 stages");
  EXPECT_EQ(schedule_problem(Schedule::gpipe, {2, 1, 0}),
            "2 stages of 1 chunks, 0 micro-batches: each must be at least 1");
  EXPECT_EQ(error_of(ExitCode::configuration,
                     [] {
                       plan_pipeline(Schedule::gpipe, {2, 2, 4});
                     }),
            schedule_problem(Schedule::gpipe, {2, 2, 4}));
}

// The checker's own test: nothing can be left out, repeated or altered unnoticed.
TEST(PipelinePlan, EveryPartIsNeeded) {
  using Ops = std::vector<PipelineOp>;
  for (const auto& pair :
       std::vector<std::pair<Schedule, PipelineShape>>{{Schedule::gpipe, {3, 1, 2}},
                                                       {Schedule::one_f_one_b, {3, 1, 4}},
                                                       {Schedule::interleaved, {2, 2, 4}},
                                                       {Schedule::zero_bubble, {3, 1, 4}}}) {
    const Schedule schedule = pair.first;
    const PipelineShape shape = pair.second;
    const auto plans = plan_pipeline(schedule, shape);
    for (std::size_t stage = 0; stage < plans.size(); ++stage) {
      const Ops& ops = plans[stage].ops;
      for (std::size_t i = 0; i < ops.size(); ++i) {
        SCOPED_TRACE(fmt::format("{} stage {} op {}", enum_name(schedule), stage, i));
        const auto expect_caught = [&](const std::function<void(Ops&)>& change) {
          auto altered = plans;
          change(altered[stage].ops);
          EXPECT_NE(fault_of(schedule, shape, altered), "");
        };
        const auto place = static_cast<std::ptrdiff_t>(i);
        expect_caught([&](Ops& ops) { ops.erase(ops.begin() + place); });
        expect_caught([&](Ops& ops) { ops.insert(ops.begin() + place, plans[stage].ops[i]); });
        if (const auto* compute = std::get_if<ComputeOp>(&ops[i])) {
          for (int ComputeOp::*field : {&ComputeOp::slot, &ComputeOp::deferred_slot,
                                        &ComputeOp::input, &ComputeOp::output}) {
            if (compute->*field == -1) continue;
            expect_caught([&](Ops& ops) { ++(std::get<ComputeOp>(ops[i]).*field); });
          }
          expect_caught([&](Ops& ops) { ++std::get<ComputeOp>(ops[i]).work.micro_batch; });
        }
        const auto* exchange = std::get_if<ExchangeOp>(&ops[i]);
        for (std::size_t m = 0; exchange != nullptr && m < exchange->messages.size(); ++m) {
          const auto message = [&](Ops& ops) -> Message& {
            return std::get<ExchangeOp>(ops[i]).messages[m];
          };
          for (int Message::*field : {&Message::peer, &Message::micro_batch, &Message::buffer}) {
            expect_caught([&](Ops& ops) { ++(message(ops).*field); });
          }
          for (bool Message::*field : {&Message::send, &Message::gradient}) {
            expect_caught([&](Ops& ops) { message(ops).*field ^= true; });
          }
        }
      }
    }
  }
}

// A gradient that the first stage would receive before it computes anything: nothing wrong within
// the stage, but the last stage waits for the first.
TEST(PipelinePlan, AReceiveThatComesTooEarlyIsCaught) {
  const PipelineShape shape{2, 1, 1};
  auto plans = plan_pipeline(Schedule::one_f_one_b, shape);
  StagePlan& plan = plans[0];
  ASSERT_EQ(plan.ops.size(), 4u);  // forward, an exchange of both messages, its await, backward
  const std::vector<Message> messages = std::get<ExchangeOp>(plan.ops[1]).messages;
  ASSERT_EQ(messages.size(), 2u);
  const auto& [send, receive] = std::tie(messages[0], messages[1]);
  plan.ops = {ExchangeOp{0, {receive}},
              plan.ops[0],
              ExchangeOp{1, {send}},
              AwaitOp{0},
              AwaitOp{1},
              plan.ops[3]};
  plan.exchanges = 2;
  EXPECT_EQ(fault_of(Schedule::one_f_one_b, shape, plans), "stage 0 waits for ever in exchange 0");
}

}  // namespace
}  // namespace dualpath
