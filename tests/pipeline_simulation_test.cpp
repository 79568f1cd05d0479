#include "parallel/pipeline_simulation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <utility>

#include "tests/expect_error.h"

namespace dualpath {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

PipelineCosts equal_costs(const PipelineShape& shape, const PieceCosts& costs, double link = 0) {
  return {.pieces = std::vector(static_cast<std::size_t>(shape.pieces()), costs), .link = link};
}

// Durations are whole numbers, so that both sides are one rounding of the same quotient.
TEST(PipelineSimulation, BubbleIsTheFormula) {
  for (Schedule schedule :
       {Schedule::gpipe, Schedule::one_f_one_b, Schedule::interleaved, Schedule::zero_bubble}) {
    for (int stages : {1, 2, 3, 4, 5, 8, 16}) {
      for (int chunks : {1, 2, 3, 4}) {
        for (int micro_batches : {1, 2, 3, 4, 7, 8, 15, 16, 40}) {
          const PipelineShape shape{stages, chunks, micro_batches};
          if (!schedule_problem(schedule, shape).empty()) continue;
          SCOPED_TRACE(
              fmt::format("{} p{} v{} m{}", enum_name(schedule), stages, chunks, micro_batches));
          for (const WorkDurations& durations : std::vector<WorkDurations>{
                   {5, 5, 5, 1}, {4, 6, 2, 1}, {6, 4, 4, 1}, {2, 6, 4, 1}, {2, 3, 2, 0}}) {
            const PieceCosts costs{1.0 * durations.forward, 1.0 * durations.backward_input,
                                   1.0 * durations.backward_weight};
            const Simulation run =
                simulate(plan_pipeline(schedule, shape, durations), equal_costs(shape, costs));
            EXPECT_EQ(run.bubble_fraction(), bubble_fraction(schedule, shape, costs));
            EXPECT_THAT(run.busy, Each(micro_batches * chunks * costs.total()));
          }
        }
      }
    }
  }
}

// By hand: F0 F1 B0 B1 on the first stage, two units later on the second F0 B0 F1 B1; B is 2.
TEST(PipelineSimulation, OneFOneBOfTwoStages) {
  const PipelineShape shape{2, 1, 2};
  const auto plans = plan_pipeline(Schedule::one_f_one_b, shape);
  const Simulation run = simulate(plans, equal_costs(shape, {}));
  EXPECT_EQ(run.makespan, 9);
  EXPECT_THAT(run.busy, ElementsAre(6, 6));
  EXPECT_EQ(run.bubble_fraction(), 6.0 / 18);

  // A slow second piece: F0 at 1, B0, F1, B1 one after the other, then the first stage's last B.
  const Simulation slow = simulate(plans, {.pieces = {{1, 1, 1}, {2, 3, 1}}});
  EXPECT_EQ(slow.makespan, 1 + 2 * 6 + 2);
  EXPECT_THAT(slow.busy, ElementsAre(6, 12));
}

// Forward there, backward back: two messages on the way.
TEST(PipelineSimulation, MessagesTakeTime) {
  const PipelineShape shape{2, 1, 1};
  const auto plans = plan_pipeline(Schedule::one_f_one_b, shape);
  for (Exchanges exchanges : {Exchanges::blocking, Exchanges::overlapped}) {
    EXPECT_EQ(simulate(plans, equal_costs(shape, {}, 0.25), exchanges).makespan, 6.5);
  }
}

// Exchanges on a stream of their own: in the interleaved schedule's steady state messages cost
// nothing, they only lengthen the way into and out of the pipeline.
TEST(PipelineSimulation, InterleavedHidesMessages) {
  const double link = 0.5;
  const auto lost = [&](int micro_batches) {
    const PipelineShape shape{4, 2, micro_batches};
    const auto plans = plan_pipeline(Schedule::interleaved, shape);
    return simulate(plans, equal_costs(shape, {}, link)).makespan -
           simulate(plans, equal_costs(shape, {})).makespan;
  };
  EXPECT_EQ(lost(64), lost(16));
}

TEST(PipelineSimulation, ZeroBubbleFormulaIsThePapers) {
  // arXiv 2401.10241, §2.3: (p - 1)·(f + b - w) idle, per stage.
  const PieceCosts costs{4, 5, 3};
  EXPECT_DOUBLE_EQ(bubble_fraction(Schedule::zero_bubble, {4, 1, 8}, costs),
                   3 * (4 + 5 - 3) / (8 * 12.0 + 3 * (4 + 5 - 3)));
}

ExchangeOp& exchange_of(StagePlan& plan, int id) {
  for (PipelineOp& op : plan.ops) {
    if (auto* exchange = std::get_if<ExchangeOp>(&op); exchange && exchange->id == id) {
      return *exchange;
    }
  }
  throw std::out_of_range("exchange");
}

std::string simulation_error(const std::vector<StagePlan>& plans) {
  return error_of(ExitCode::internal, [&] { simulate(plans, equal_costs({2, 1, 4}, {})); });
}

// Both stages send first; grouped, the same messages pass.
TEST(PipelineSimulation, FindsDeadlock) {
  const Message activation{.send = true, .peer = 1}, gradient{.send = true, .gradient = true};
  Message activation_in = activation, gradient_in = gradient;
  activation_in.send = gradient_in.send = false;
  activation_in.peer = 0;
  gradient_in.peer = 1;
  const auto plan_of = [](std::vector<PipelineOp> ops, int exchanges) {
    StagePlan plan;
    plan.ops = std::move(ops);
    plan.exchanges = exchanges;
    return plan;
  };
  const auto apart = [&](const Message& first, const Message& second) {
    return plan_of({ExchangeOp{0, {first}}, ExchangeOp{1, {second}}, AwaitOp{1}}, 2);
  };
  EXPECT_EQ(simulation_error({apart(activation, gradient_in), apart(gradient, activation_in)}),
            "stage 0 waits for ever in exchange 0");
  const auto together = [&](const Message& first, const Message& second) {
    return plan_of({ExchangeOp{0, {first, second}}, AwaitOp{0}}, 1);
  };
  const std::vector grouped{together(activation, gradient_in), together(gradient, activation_in)};
  EXPECT_EQ(simulate(grouped, equal_costs({2, 1, 1}, {}, 0.5)).makespan, 0.5);
}

TEST(PipelineSimulation, FindsMessagesOutOfOrder) {
  auto plans = plan_pipeline(Schedule::one_f_one_b, {2, 1, 4});
  std::swap(exchange_of(plans[0], 0).messages, exchange_of(plans[0], 1).messages);
  EXPECT_EQ(simulation_error(plans),
            "message 0 from stage 0 to 1 is sent as the activation between pieces 0 and 1 of "
            "micro-batch 1 and received as the activation between pieces 0 and 1 of micro-batch 0");
}

TEST(PipelineSimulation, FindsAMissingMessage) {
  auto plans = plan_pipeline(Schedule::one_f_one_b, {2, 1, 4});
  exchange_of(plans[0], 0).messages.clear();
  EXPECT_EQ(simulation_error(plans), "stage 0 sends 3 messages to stage 1, which takes 4");
}

}  // namespace
}  // namespace dualpath
