// dualpath plan: what a configuration takes, without running it.
#include <algorithm>
#include <filesystem>
#include <fmt/ranges.h>

#include "launcher/arguments.h"
#include "launcher/bench/report.h"
#include "launcher/commands.h"
#include "launcher/job_plan.h"
#include "launcher/layout_search.h"
#include "launcher/plan_config.h"
#include "launcher/text_format.h"
#include "launcher/training_run.h"
#include "model/counts.h"

namespace dualpath {

namespace {

constexpr const char* usage = "dualpath plan [CONFIG.yaml...] [key=value...] [plan.ranks=N]";

std::string help() {
  return fmt::format(
      "usage: {}\n\n"
      "Says what a configuration of `dualpath train` takes, without running it: parameters, FLOPs "
      "per\n"
      "token, memory of a rank to the byte, layers and idle time of each stage, what a rank sends "
      "in a\n"
      "step; with plan.gflops also the time. Refuses what cannot run, and names the nearest "
      "layouts that\n"
      "can. Without corpora, model.vocab_size must be given; parallel.overlap=auto counts as off.\n"
      "\n"
      "fields, their defaults and units:\n{}",
      usage, config_help<PlanConfig>());
}

double megabytes(std::size_t bytes) {
  return static_cast<double>(bytes) / 1e6;
}

std::vector<Column> stage_columns(const JobPlan& plan) {
  std::vector<Column> columns{{"what", ""}};
  for (std::size_t s = 0; s < plan.stages.size(); ++s)
    columns.push_back({fmt::format("stage_{}", s), fmt::format("stage {}", s)});
  return columns;
}

// Adds a row of one cell a stage.
template <class CellOf>
void add_row(Table& table, const std::string& name, const JobPlan& plan, CellOf cell_of) {
  std::vector<Cell> row{name};
  for (const StagePlanned& stage : plan.stages) row.push_back(cell_of(stage));
  table.add(std::move(row));
}

std::string layers_text(const ModelPart& part) {
  std::vector<std::string> pieces;
  for (const StageLayers& piece : part.stages)
    pieces.push_back(fmt::format("{}-{}", piece.begin, piece.end - 1));
  return fmt::format("{}", fmt::join(pieces, ", "));
}

Table stage_table(const JobPlan& plan) {
  Table table("stages", stage_columns(plan));
  add_row(table, "layers", plan, [](const auto& s) { return Cell(layers_text(s.layout.part)); });
  add_row(table, "share of the FLOPs", plan, [](const auto& s) { return Percent{s.cost_share}; });
  add_row(table, "idle in the passes", plan, [](const auto& s) { return Percent{s.idle}; });
  add_row(table, "micro-batches held", plan, [](const auto& s) {
    return Cell(fmt::format("{}", fmt::join(s.layout.part.slots, ", ")));
  });
  add_row(table, "parameters of a rank", plan,
          [](const auto& s) { return static_cast<double>(s.parameters); });
  return table;
}

void add_categories(Table& table, const std::string& name, const JobPlan& plan,
                    std::vector<CategoryBytes> ActivationMemory::*member) {
  std::vector<std::string> categories;
  for (const StagePlanned& stage : plan.stages) {
    for (const CategoryBytes& c : stage.memory.activations.*member) {
      if (std::ranges::find(categories, c.category) == categories.end())
        categories.emplace_back(c.category);
    }
  }
  for (const std::string& category : categories) {
    add_row(table, fmt::format("  {}: {}", name, category), plan, [&](const StagePlanned& s) {
      const auto& all = s.memory.activations.*member;
      const auto it = std::ranges::find(all, category, &CategoryBytes::category);
      return it == all.end() ? Cell() : Cell(megabytes(it->bytes));
    });
  }
}

Table memory_table(const JobPlan& plan) {
  Table table("memory of a rank, MB", stage_columns(plan));
  const auto row = [&](const std::string& name, auto bytes_of) {
    add_row(table, name, plan,
            [&](const StagePlanned& s) { return megabytes(bytes_of(s.memory)); });
  };
  row("weights", [](const RankMemory& m) { return m.values; });
  row("copies for products", [](const RankMemory& m) { return m.copies; });
  row("gradients", [](const RankMemory& m) { return m.gradients; });
  row("moments", [](const RankMemory& m) { return m.moments; });
  row("kept activations", [](const RankMemory& m) { return m.activations.stash_bytes; });
  add_categories(table, "kept", plan, &ActivationMemory::stash);
  row("scratch", [](const RankMemory& m) { return m.activations.scratch_bytes; });
  add_categories(table, "scratch", plan, &ActivationMemory::scratch);
  row("tables, tokens, messages", [](const RankMemory& m) { return m.activations.constant_bytes; });
  row("all", [](const RankMemory& m) { return m.total(); });
  return table;
}

Table traffic_table(const JobPlan& plan) {
  Table table("sent by a rank in a step", {{"group", ""},
                                           {"stage", "stage"},
                                           {"collective", "collective"},
                                           {"calls", "calls"},
                                           {"mb", "MB"}});
  for (std::size_t s = 0; s < plan.stages.size(); ++s) {
    const StagePlanned& stage = plan.stages[s];
    for (std::size_t group = 0; group < stage.traffic.groups.size(); ++group) {
      for (int i = 0; i < num_collectives; ++i) {
        const auto kind = static_cast<Collective>(i);
        const Traffic::Count& count = stage.traffic.groups[group][kind];
        if (count.bytes == 0) continue;
        table.add({GridTraffic::name(group), static_cast<double>(s), name_of(kind),
                   static_cast<double>(count.calls), static_cast<double>(count.bytes) / 1e6});
      }
    }
  }
  return table;
}

std::string layout_text(const TrainerOptions& options, std::int64_t num_ranks) {
  const ParallelConfig& p = options.parallel;
  std::string text = fmt::format("{} rank{}: tensor {}, data {}, pipeline {}", num_ranks,
                                 num_ranks == 1 ? "" : "s", p.tensor, p.data, p.pipeline);
  if (p.virtual_pipeline > 1) text += fmt::format(" x {}", p.virtual_pipeline);
  if (p.pipeline > 1) text += fmt::format(" ({})", enum_name(p.schedule));
  return text + fmt::format(", zero {}, recompute {}, overlap {}", enum_name(p.zero),
                            enum_name(p.recompute), enum_name(p.overlap));
}

void report(const TrainerOptions& options, const PlanSection& asked) {
  const JobPlan plan = plan_job(options);
  const std::int64_t tokens = options.global_batch_size * options.model.sequence_length;
  fmt::print("{}\n", layout_text(options, asked.ranks));
  fmt::print("parameters: {}\n",
             grouped(static_cast<std::uint64_t>(model_parameters(options.model))));
  fmt::print("training FLOPs per token: {:.4g}, executed {:.4g}\n", plan.flops_per_token,
             plan.executed_flops_per_token);
  fmt::print("tokens per step: {}, in {} micro-batches a rank; steps: {}\n", tokens,
             batch_layout(options, 0).accumulation, options.total_steps);
  if (options.parallel.pipeline > 1)
    fmt::print("bubble: {:.1f} % of the passes' time\n", 100 * plan.bubble_fraction);
  if (asked.gflops > 0) {
    Rates rates{.flops = 1e9 * asked.gflops};
    if (asked.link_gbytes > 0) rates.link_bytes = 1e9 * asked.link_gbytes;
    const double seconds = forecast_step(options, rates);
    fmt::print("predicted: {} ms a step, {} tokens/s\n", readable(1e3 * seconds),
               readable(static_cast<double>(tokens) / seconds));
  }
  fmt::print("\n{}\n{}", stage_table(plan).text(), memory_table(plan).text());
  if (const Table traffic = traffic_table(plan); !traffic.empty())
    fmt::print("\n{}", traffic.text());
}

bool corpora_are_here(const RunConfig& run) {
  return !run.data.mock && !run.data.corpora.empty() &&
         std::filesystem::exists(run.data.corpora.front().path);
}

std::int64_t ranks_made(const ParallelConfig& parallel) {
  return parallel.tensor * parallel.pipeline * std::max<std::int64_t>(1, parallel.data);
}

// What planning does without: the number of ranks where the layout makes one, a run's length, and
// corpora where the vocabulary is known.
void fill_in(PlanConfig& config, ConfigProblems& problems) {
  RunConfig& run = config.run;
  if (config.plan.ranks == 0)
    config.plan.ranks = std::min(ranks_made(run.parallel), most_planned_ranks);
  if (run.train.steps == 0 && run.train.tokens == 0 && run.train.flops == 0) run.train.steps = 1;
  const bool given = !run.data.corpora.empty();
  if (!given) run.data.mock = true;
  if (run.data.mock || corpora_are_here(run)) return;
  if (run.model.vocab_size == 0) {
    problems.add("model.vocab_size", fmt::format("{} is not there to take it from; give one",
                                                 run.data.corpora.front().path));
  }
}

ExitCode run(std::span<const std::string> words) {
  const Arguments arguments = split_arguments(words, usage, 0, words.size());
  ConfigSource source;
  for (const std::string& file : arguments.positional) source.add_file(file);
  for (const std::string& assignment : arguments.overrides) source.add_override(assignment);
  ConfigProblems problems;
  auto config = read_config<PlanConfig>(source, problems);
  RunConfig& run = config.run;
  fill_in(config, problems);
  validate(run, config.plan.ranks, problems);
  if (!layout_fits(run, config.plan.ranks)) {
    const auto near = nearest_layouts(run, config.plan.ranks, 3);
    if (!near.empty())
      problems.add("parallel", fmt::format("the nearest that can: {}", fmt::join(near, "; ")));
  }
  throw_if_any(problems, source);
  if (corpora_are_here(run)) open_training_data(run);  // settles the size of the vocabulary
  run.model = resolve(run.model);
  run.parallel = resolve(run.parallel, static_cast<int>(config.plan.ranks), false);
  report(trainer_options(run, total_steps(run, {})), config.plan);
  return ExitCode::success;
}

}  // namespace

const Command plan_command = {"plan", "what a configuration takes, without running it", help, run};

}  // namespace dualpath
