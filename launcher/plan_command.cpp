// dualpath plan: what a configuration takes, without running it.
#include <algorithm>
#include <fmt/ranges.h>
#include <optional>

#include "data/files/file_io.h"
#include "launcher/commands.h"
#include "launcher/common/arguments.h"
#include "launcher/common/table.h"
#include "launcher/common/text_format.h"
#include "launcher/config/config_warnings.h"
#include "launcher/config/micro_batch.h"
#include "launcher/job/device_peaks.h"
#include "launcher/plan/job_plan.h"
#include "launcher/plan/layout_ranking.h"
#include "launcher/plan/layout_search.h"
#include "launcher/plan/plan_config.h"
#include "launcher/train/training_data.h"
#include "launcher/train/training_options.h"
#include "model/counts.h"

namespace dualpath {

namespace {

constexpr const char* usage = "dualpath plan [CONFIG.yaml...] [key=value...] [plan.ranks=N]";

std::string help() {
  return fmt::format(
      R"(usage: {}

Tells what a run of `dualpath train` takes, without running it: parameters, FLOPs per token, memory
of a rank to the byte, layers and idle time of each stage, bytes that a rank sends in a step; with
plan.machine also the time of a step. A configuration that cannot run is refused, with the nearest
layouts that can.

plan.search=true ranks all layouts by time on plan.machine and prints the ten fastest. Layouts that
leave less than 5 % of its memory free come last.

Without corpora, give model.vocab_size. parallel.overlap=auto counts as off.

fields, their defaults and units:
{}
fields of plan.machine's file:
{})",
      usage, config_help<PlanConfig>(), config_help<Machine>());
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
  add_row(table, "share of the work", plan, [](const auto& s) { return Percent{s.cost_share}; });
  add_row(table, "idle in the passes", plan, [](const auto& s) { return Percent{s.idle}; });
  add_row(table, "micro-batches held", plan, [](const auto& s) {
    return Cell(fmt::format("{}", fmt::join(s.layout.part.slots, ", ")));
  });
  add_row(table, "parameters of a rank", plan,
          [](const auto& s) { return static_cast<double>(s.parameters); });
  return table;
}

// categories_of(RankMemory): std::vector<CategoryBytes>
template <class CategoriesOf>
void add_categories(Table& table, const std::string& name, const JobPlan& plan,
                    CategoriesOf categories_of) {
  std::vector<std::string> categories;
  for (const StagePlanned& stage : plan.stages) {
    for (const CategoryBytes& c : categories_of(stage.memory)) {
      if (std::ranges::find(categories, c.category) == categories.end())
        categories.emplace_back(c.category);
    }
  }
  for (const std::string& category : categories) {
    add_row(table, fmt::format("  {}: {}", name, category), plan, [&](const StagePlanned& s) {
      const std::vector<CategoryBytes>& all = categories_of(s.memory);
      const auto it = std::ranges::find(all, category, &CategoryBytes::category);
      return it == all.end() ? Cell() : Cell(megabytes(it->bytes));
    });
  }
}

Table memory_table(const JobPlan& plan, const Machine& machine) {
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
  add_categories(
      table, "kept", plan, [](const RankMemory& m) -> const auto& { return m.activations.stash; });
  row("scratch", [](const RankMemory& m) { return m.activations.scratch_bytes; });
  add_categories(
      table, "scratch", plan,
      [](const RankMemory& m) -> const auto& { return m.activations.scratch; });
  row("tables, tokens, messages", [](const RankMemory& m) { return m.activations.constant_bytes; });
  if (!plan.stages.front().memory.kernels.empty())
    row("kernels, at most", [](const RankMemory& m) { return m.kernel_bytes(); });
  add_categories(
      table, "kernels", plan, [](const RankMemory& m) -> const auto& { return m.kernels; });
  row("all", [](const RankMemory& m) { return m.total(); });
  if (machine.process_mb > 0) {
    add_row(table, "with the process", plan, [&](const StagePlanned& s) {
      return megabytes(s.memory.total()) + machine.process_mb;
    });
  }
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

// Prints a table, and puts it with the other figures.
void tell(const Table& table, Json& json) {
  if (table.empty()) return;
  json[table.title()] = table.json();
  fmt::print("\n{}", table.text());
}

// Peak of a rank's device, bf16, dense; none where it is not known.
std::optional<double> peak_tflops(const Machine& machine) {
  if (machine.peak_tflops > 0) return machine.peak_tflops;
  return bf16_peak_tflops(machine.name);
}

Json report(const TrainerOptions& options, std::int64_t num_ranks, const Machine& machine,
            bool in_seconds) {
  Json json;
  const JobPlan plan = plan_job(options, machine);
  const std::int64_t tokens = options.global_batch_size * options.model.sequence_length;
  fmt::print("{}\n", layout_text(options, num_ranks));
  fmt::print("parameters: {}\n",
             grouped(static_cast<std::uint64_t>(model_parameters(options.model))));
  fmt::print("training FLOPs per token: {:.4g}, executed {:.4g}\n",
             training_flops(options.model, AttentionFlops::causal),
             executed_flops_per_token(options));
  fmt::print("tokens per step: {}, in {} micro-batches of {} a rank; steps: {}\n", tokens,
             batch_layout(options, 0).accumulation,
             plural(static_cast<std::size_t>(options.micro_batch_size), "sequence"),
             options.total_steps);
  if (options.parallel.pipeline > 1)
    fmt::print("bubble: {:.1f} % of the passes' time\n", 100 * plan.bubble_fraction);
  if (in_seconds) {
    const double rate = static_cast<double>(tokens) / plan.step_seconds;
    json["predicted"] = {{"step_ms", 1e3 * plan.step_seconds}, {"tokens_per_second", rate}};
    fmt::print("predicted: {} ms a step, {} tokens/s on {}\n", readable(1e3 * plan.step_seconds),
               readable(rate), machine.name);
    if (const std::optional<double> peak = peak_tflops(machine)) {
      const double mfu = training_flops(options.model, AttentionFlops::causal) * rate /
                         (1e12 * *peak * static_cast<double>(num_ranks));
      json["predicted"]["mfu"] = mfu;
      fmt::print("predicted MFU: {:.1f} % of the bf16 peak, {} TFLOP/s a rank\n", 100 * mfu,
                 readable(*peak));
    }
  }
  tell(stage_table(plan), json);
  tell(memory_table(plan, machine), json);
  tell(traffic_table(plan), json);
  const double gigabytes =
      static_cast<double>(plan.largest_memory()) / 1e9 + machine.process_mb / 1e3;
  CHECK_AS(ExitCode::configuration, machine.memory_gb == 0 || gigabytes <= machine.memory_gb,
           "a rank takes {} GB, of {} on {}; plan.search=true names layouts that fit",
           readable(gigabytes), readable(machine.memory_gb), machine.name);
  if (machine.memory_gb > 0) {
    const double free_gb = machine.memory_gb - gigabytes;
    fmt::print("\nfree on the fullest rank: {} of {} GB{}\n", readable(free_gb),
               readable(machine.memory_gb),
               free_gb < room_share * machine.memory_gb ? ", tight" : "");
  }
  return json;
}

Json report_layouts(const RunConfig& run, std::int64_t num_ranks, const Machine& machine) {
  constexpr std::size_t most = 10;
  const LayoutRanking ranking = rank_layouts(run, num_ranks, machine);
  CHECK_AS(
      ExitCode::configuration, !ranking.fitting.empty() || ranking.too_large,
      "no layout on {} ranks: parallel.pipeline must divide them, be at most the layers, {}, and "
      "leave a divisor of train.global_batch_size, {}",
      num_ranks, run.model.layers, run.train.global_batch_size);
  CHECK_AS(
      ExitCode::configuration, !ranking.fitting.empty(),
      "no layout on {} ranks fits the {} GB of a rank on {}. The one that wants least takes {} "
      "GB: {}. More ranks share the optimizer's state, and with parallel.pipeline the layers",
      num_ranks, readable(machine.memory_gb), machine.name, readable(ranking.too_large->memory_gb),
      ranking.too_large->overrides(run.parallel));
  Table table("layouts", {{"rank", ""},
                          {"step_ms", "step ms"},
                          {"tokens", "tokens/s"},
                          {"memory_gb", "GB a rank"},
                          {"free_gb", "GB free"},
                          {"room", "room"},
                          {"bubble", "bubble"},
                          {"fields", "fields"}});
  const auto tokens = static_cast<double>(run.train.global_batch_size * run.model.sequence_length);
  for (std::size_t i = 0; i < std::min(most, ranking.fitting.size()); ++i) {
    const RankedLayout& layout = ranking.fitting[i];
    table.add({fmt::format("{}", i + 1), 1e3 * layout.step_seconds, tokens / layout.step_seconds,
               layout.memory_gb, layout.free_gb,
               fmt::format("{:.0f} %{}", 100 * layout.free_gb / machine.memory_gb,
                           layout.is_tight ? ", tight" : ""),
               Percent{layout.bubble_fraction}, layout.overrides(run.parallel)});
  }
  const auto tight = std::ranges::count(ranking.fitting, true, &RankedLayout::is_tight);
  fmt::print("{} layouts on {} ranks of {} fit\n", ranking.fitting.size(), num_ranks, machine.name);
  if (tight > 0) {
    fmt::print("{} of them leave less than {:.0f} % of the {} GB free (tight): they stand last\n",
               tight, 100 * room_share, readable(machine.memory_gb));
  }
  Json json;
  tell(table, json);
  return json;
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

void check(const PlanConfig& config, ConfigProblems& problems) {
  const PlanSection& plan = config.plan;
  ConfigProblems of_run;
  validate(config.run, plan.ranks, of_run);
  for (const ConfigProblem& problem : of_run.all()) {
    if (!plan.search || !is_about_layout(problem)) problems.add(problem.field, problem.message);
  }
  if (plan.search && plan.machine.empty())
    problems.add("plan.machine", "plan.search wants the description of a machine");
  if (plan.search || layout_fits(config.run, plan.ranks)) return;
  const auto near = nearest_layouts(config.run, plan.ranks, 3);
  if (!near.empty())
    problems.add("parallel", fmt::format("the nearest that can: {}", fmt::join(near, "; ")));
}

ExitCode run(std::span<const std::string> words) {
  const Arguments arguments = split_arguments(words, usage, 0, words.size());
  ConfigSource source;
  for (const std::string& file : arguments.positional) source.add_file(file);
  for (const std::string& assignment : arguments.overrides) source.add_override(assignment);
  ConfigProblems problems;
  auto config = read_config<PlanConfig>(source, problems);
  const PlanSection& plan = config.plan;
  RunConfig& run = config.run;
  const std::vector<std::string> warnings = config_warnings(run);  // of what is given
  fill_in(config, problems);
  check(config, problems);
  throw_if_any(problems, source);
  for (const std::string& warning : warnings)
    fmt::print(stderr, "dualpath: warning: {}\n", warning);
  const Machine machine = plan.machine.empty() ? counting_flops() : load_machine(plan.machine);
  if (corpora_are_here(run)) open_training_data(run);  // settles the size of the vocabulary
  CHECK_AS(ExitCode::configuration, !plan.search || machine.memory_gb > 0,
           "{}: plan.search wants the memory of a rank: memory_gb", plan.machine);
  Json json;
  if (plan.search) {
    json = report_layouts(run, plan.ranks, machine);
  } else {
    const ResolvedRunConfig resolved = resolve(run, plan.ranks, machine.processor);
    json = report(trainer_options(resolved, total_steps(resolved, {})), plan.ranks, machine,
                  !plan.machine.empty());
  }
  if (!config.json.empty()) write_file(config.json, json.dump(2) + "\n", ExitCode::configuration);
  return ExitCode::success;
}

}  // namespace

const Command plan_command = {"plan", "what a configuration takes, without running it", help, run};

}  // namespace dualpath
