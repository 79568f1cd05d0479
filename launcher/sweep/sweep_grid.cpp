#include "launcher/sweep/sweep_grid.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <fmt/format.h>
#include <set>

#include "launcher/train/training_options.h"
#include "model/counts.h"
#include "model/ffn_budget.h"
#include "model/resolve_config.h"

namespace dualpath {

namespace {

bool has_loop(SweepArchitecture a) {
  return a == SweepArchitecture::looped || a == SweepArchitecture::dual_path ||
         a == SweepArchitecture::expanded;
}

bool has_share(SweepArchitecture a) {
  return a == SweepArchitecture::dual_path || a == SweepArchitecture::dual_single;
}

Architecture built_as(SweepArchitecture a) {
  switch (a) {
    case SweepArchitecture::standard:
      return Architecture::standard;
    case SweepArchitecture::wide:
    case SweepArchitecture::expanded:
      return Architecture::wide;
    case SweepArchitecture::looped:
      return Architecture::looped;
    case SweepArchitecture::dual_path:
    case SweepArchitecture::dual_single:
      break;
  }
  return Architecture::dual_path;
}

SweepArchitecture label_of(Architecture a) {
  switch (a) {
    case Architecture::standard:
      return SweepArchitecture::standard;
    case Architecture::wide:
      return SweepArchitecture::wide;
    case Architecture::looped:
      return SweepArchitecture::looped;
    case Architecture::dual_path:
      break;
  }
  return SweepArchitecture::dual_path;
}

template <class T>
std::vector<T> values_or(const std::vector<T>& values, T otherwise) {
  return values.empty() ? std::vector<T>{otherwise} : values;
}

// The same of all cells with the same model: with K = 1 dual_path is dual_single, expanded is wide.
SweepCell with_one_name(SweepCell cell) {
  if (cell.iterations != 1) return cell;
  if (cell.architecture == SweepArchitecture::dual_path)
    cell.architecture = SweepArchitecture::dual_single;
  if (cell.architecture == SweepArchitecture::expanded) {
    cell.architecture = SweepArchitecture::wide;
    cell.iterations = 0;
  }
  return cell;
}

// Every model of the sweep, in the order of its tables.
std::vector<SweepCell> cells_of(const SweepConfig& config) {
  const SweepSection& sweep = config.sweep;
  const ModelConfig& model = config.run.model;
  const auto iterations = values_or(sweep.iterations, model.deep.iterations);
  const auto budgets = values_or(sweep.layer_flop_budgets, model.layer_flop_budget);
  const auto shares = values_or(sweep.deep_shares, model.deep_share);
  std::vector<SweepCell> cells;
  const auto add = [&](const SweepCell& cell) {
    if (std::ranges::find(cells, cell) == cells.end()) cells.push_back(cell);
  };
  for (const double budget : budgets) {
    for (const SweepArchitecture a :
         values_or(sweep.architectures, label_of(model.architecture.front()))) {
      const std::int64_t fixed = a == SweepArchitecture::dual_single ? 1 : 0;
      for (const std::int64_t k : has_loop(a) ? iterations : std::vector{fixed}) {
        const bool varies_share = has_share(a) && budget != 0;
        for (const double share : varies_share ? shares : std::vector{0.0})
          add(with_one_name({a, k, share, budget}));
      }
    }
  }
  return cells;
}

ModelConfig model_of(ModelConfig model, const SweepCell& cell) {
  model.architecture = {built_as(cell.architecture)};
  model.layer_flop_budget = cell.layer_flop_budget;
  if (cell.architecture == SweepArchitecture::expanded) {
    model.layers *= cell.iterations;
    model.layer_flop_budget /= static_cast<double>(cell.iterations);
  } else if (cell.iterations != 0) {
    model.deep.iterations = cell.iterations;
  }
  if (cell.deep_share != 0) model.deep_share = cell.deep_share;
  return model;
}

std::string shortest(double value, std::chars_format format) {
  std::array<char, 512> buffer{};
  return {buffer.begin(), std::to_chars(buffer.begin(), buffer.end(), value, format).ptr};
}

// The shortest text that reads back: "8e7", "0.5".
std::string compact(double value) {
  const std::string plain = shortest(value, std::chars_format::fixed);
  const std::string text = shortest(value, std::chars_format::scientific);
  const std::size_t exponent = text.find('e');
  const std::string scientific =
      fmt::format("{}e{}", text.substr(0, exponent), std::stoi(text.substr(exponent + 1)));
  return scientific.size() < plain.size() ? scientific : plain;
}

std::string name_of(const SweepRun& run) {
  std::string name = name_of(run.cell);
  if (run.training_flops != 0) name += fmt::format("-c{}", compact(run.training_flops));
  return name + fmt::format("-lr{}-s{}", compact(run.learning_rate), run.seed);
}

// More would not be looked at one by one, and their configurations are checked one by one.
void validate_size(const SweepSection& sweep, ConfigProblems& problems) {
  constexpr double most = 10000;
  double runs = 1;
  for (const std::size_t values :
       {sweep.architectures.size(), sweep.iterations.size(), sweep.deep_shares.size(),
        sweep.layer_flop_budgets.size(), sweep.training_flops.size(), sweep.learning_rates.size(),
        sweep.seeds.size()}) {
    runs *= std::max(1.0, static_cast<double>(values));
  }
  if (runs > most)
    problems.add("sweep",
                 fmt::format("its lists make up to {:.4g} runs; {} are the most", runs, most));
}

// Wrong in the sweep as such, whatever the run.
void validate_axes(const SweepConfig& config, ConfigProblems& problems) {
  const SweepSection& sweep = config.sweep;
  const RunConfig& run = config.run;
  const ModelConfig& model = run.model;
  validate_size(sweep, problems);
  if (sweep.name.empty() || sweep.name == "." || sweep.name == ".." ||
      sweep.name.find('/') != sweep.name.npos) {
    problems.add("sweep.name", fmt::format("\"{}\" is no name for a folder in sweeps/; "
                                           "sweep.folder takes any path",
                                           sweep.name));
  }
  if (sweep.architectures.empty() && model.architecture.size() != 1) {
    problems.add("sweep.architectures",
                 "give some: model.architecture differs from layer to layer, or is empty");
  }
  for (const double share : sweep.deep_shares) {
    if (share > 0 && share < 1) continue;
    problems.add("sweep.deep_shares",
                 fmt::format("{} leaves nothing to one of the paths; give shares above 0 and "
                             "below 1",
                             share));
  }
  const bool sizes_given = model.deep.ffn_hidden_size != 0 || model.wide.ffn_hidden_size != 0 ||
                           model.deep.d_ffn != 0 || model.wide.d_ffn != 0;
  const bool budgets = !sweep.layer_flop_budgets.empty() || model.layer_flop_budget != 0;
  if (budgets && sizes_given) {
    problems.add("sweep.layer_flop_budgets",
                 "FFN sizes follow from the budget; set those that are given (ffn_hidden_size and "
                 "d_ffn of model.deep and model.wide) to 0");
  }
  if (!budgets && std::ranges::count(sweep.architectures, SweepArchitecture::expanded) != 0)
    problems.add("sweep.architectures", "expanded divides a budget; give sweep.layer_flop_budgets");
  if (!budgets && !sweep.deep_shares.empty())
    problems.add("sweep.deep_shares", "they divide a budget; give sweep.layer_flop_budgets");
  if (!sweep.training_flops.empty() && (run.train.steps != 0 || run.train.tokens != 0)) {
    problems.add("sweep.training_flops",
                 "train.steps or train.tokens is given as well; set them to 0");
  }
}

// The problems of the runs, each told once with the first run that has it.
class ProblemsOfRuns {
 public:
  void add(const std::string& name, const ConfigProblems& problems) {
    for (const ConfigProblem& problem : problems.all()) {
      const auto same = [&](const Found& f) {
        return f.problem.field == problem.field && f.problem.message == problem.message;
      };
      const auto it = std::ranges::find_if(found_, same);
      if (it == found_.end()) {
        found_.push_back({problem, name, 0});
      } else {
        ++it->others;
      }
    }
  }
  void tell(ConfigProblems& problems) const {
    for (const Found& f : found_) {
      const std::string others =
          f.others == 0 ? "" : fmt::format(" and {} other{}", f.others, f.others == 1 ? "" : "s");
      problems.add(f.problem.field,
                   fmt::format("{} (run {}{})", f.problem.message, f.name, others));
    }
  }

 private:
  struct Found {
    ConfigProblem problem;
    std::string name;
    std::int64_t others;
  };
  std::vector<Found> found_;
};

// REQUIRES: the config validates.
void measure(const RunConfig& config, SweepRun& run) {
  if (config.model.layer_flop_budget != 0) {
    const auto solution = solve_ffn_budget(config.model, config.model.architecture.front());
    run.budget_error = solution.error;
    run.realised_deep_share = solution.deep_share;
  }
  const ResolvedModelConfig model = resolve(config.model);
  const bool has_deep = model.architecture.front() == Architecture::looped ||
                        model.architecture.front() == Architecture::dual_path;
  run.layers = model.layers;
  run.deep_hidden = has_deep ? model.deep.ffn_hidden_size : 0;
  run.wide_hidden =
      model.architecture.front() == Architecture::looped ? 0 : model.wide.ffn_hidden_size;
  run.parameters = model_parameters(model);
  run.flops_per_token = training_flops(model, AttentionFlops::causal);
  run.steps = total_steps(config, {});
  run.tokens = run.steps * config.train.global_batch_size * model.sequence_length;
}

// Whole steps may come to far more than C where C is about one.
void check_flops(const SweepRun& run, const char* field, ConfigProblems& problems) {
  const double wanted = run.training_flops, made = run.realised_flops();
  if (wanted == 0 || made <= 1.5 * wanted) return;
  problems.add(field, fmt::format("{:.4g} FLOPs are wanted, but whole steps make it {:.4g}, {} "
                                  "step{}",
                                  wanted, made, run.steps, run.steps == 1 ? "" : "s"));
}

// "" where sizes are given, or can be found.
std::string infeasibility(const ModelConfig& model) {
  const bool solvable =
      model.layer_flop_budget != 0 && model.hidden_size % model.attention_heads == 0;
  return solvable ? solve_ffn_budget(model, model.architecture.front()).infeasible : "";
}

}  // namespace

std::string name_of(const SweepCell& cell) {
  std::string name = enum_name(cell.architecture);
  if (cell.iterations != 0) name += fmt::format("-k{}", cell.iterations);
  if (cell.deep_share != 0) name += fmt::format("-a{}", compact(cell.deep_share));
  if (cell.layer_flop_budget != 0) name += fmt::format("-f{}", compact(cell.layer_flop_budget));
  return name;
}

SweepGrid expand_grid(const SweepConfig& config, ConfigProblems& problems) {
  SweepGrid grid;
  const std::size_t before = problems.all().size();
  validate_axes(config, problems);
  if (problems.all().size() != before) return grid;

  const SweepSection& sweep = config.sweep;
  ProblemsOfRuns problems_of_runs;
  std::set<std::string> known;  // configurations but for name and folder
  const auto add = [&](SweepRun run, RunConfig of_run) {
    of_run.run = {};
    if (!known.insert(print_config(of_run)).second) return;
    run.name = name_of(run);
    of_run.run = {.name = run.name, .folder = config.folder() / "runs" / run.name};
    ConfigProblems found;
    validate(of_run, sweep.ranks, found);
    if (found.empty()) {
      measure(of_run, run);
      check_flops(run, sweep.training_flops.empty() ? "train.flops" : "sweep.training_flops",
                  found);
    }
    problems_of_runs.add(run.name, found);
    grid.plan.runs.push_back(std::move(run));
    grid.configs.push_back(std::move(of_run));
  };

  for (const SweepCell& cell : cells_of(config)) {
    RunConfig run = config.run;
    run.model = model_of(run.model, cell);
    if (std::string reason = infeasibility(run.model); !reason.empty()) {
      grid.plan.infeasible.push_back({cell, std::move(reason)});
      continue;
    }
    for (const double flops : values_or(sweep.training_flops, run.train.flops)) {
      for (const double lr : values_or(sweep.learning_rates, config.run.optimizer.lr)) {
        for (const std::int64_t seed : values_or(sweep.seeds, config.run.train.seed)) {
          run.train.flops = flops;
          run.optimizer.lr = lr;
          run.train.seed = seed;
          add({.cell = cell, .training_flops = flops, .learning_rate = lr, .seed = seed}, run);
        }
      }
    }
  }
  problems_of_runs.tell(problems);
  return grid;
}

}  // namespace dualpath
