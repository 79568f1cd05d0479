#include "launcher/sweep/sweep_tables.h"

#include <algorithm>
#include <map>

#include "launcher/common/table.h"
#include "launcher/common/text_format.h"
#include "launcher/sweep/run_progress.h"
#include "launcher/sweep/sweep_folder.h"
#include "launcher/sweep/sweep_grid.h"

namespace dualpath {

namespace {

Cell signed_percent(bool known, double share) {
  return known ? Cell(fmt::format("{:+.2f} %", 100 * share)) : Cell();
}

Cell count_or_nothing(std::int64_t count) {
  return count == 0 ? Cell() : Cell(static_cast<double>(count));
}

Table plan_table(const SweepPlan& plan, std::span<const RunForecast> forecasts, bool tells_time) {
  Table table("run", {{"run", ""},
                      {"parameters", "parameters"},
                      {"layers", "layers"},
                      {"deep_hidden", "h_d"},
                      {"wide_hidden", "h_w"},
                      {"deep_share", "deep share"},
                      {"budget_error", "layer error"},
                      {"tokens", "tokens"},
                      {"steps", "steps"},
                      {"flops", "FLOPs"},
                      {"flops_error", "error"},
                      {"rank_mb", "rank MB"},
                      {"time", "time"}});
  for (std::size_t i = 0; i < plan.runs.size(); ++i) {
    const SweepRun& run = plan.runs[i];
    table.add(
        {run.name, static_cast<double>(run.parameters), static_cast<double>(run.layers),
         count_or_nothing(run.deep_hidden), count_or_nothing(run.wide_hidden),
         run.realised_deep_share > 0 ? Cell(fmt::format("{:.3f}", run.realised_deep_share))
                                     : Cell(),
         signed_percent(run.cell.layer_flop_budget > 0, run.budget_error),
         static_cast<double>(run.tokens), static_cast<double>(run.steps),
         fmt::format("{:.4g}", run.realised_flops()),
         signed_percent(run.training_flops > 0, run.realised_flops() / run.training_flops - 1),
         static_cast<double>(forecasts[i].rank_bytes) / 1e6,
         tells_time ? Cell(duration_text(forecasts[i].seconds)) : Cell()});
  }
  return table;
}

// The time of all runs, `side_by_side` at once; each starts when one before it has ended.
double elapsed_seconds(std::span<const RunForecast> forecasts, std::int64_t side_by_side) {
  std::vector<double> ends(static_cast<std::size_t>(side_by_side), 0.0);
  for (const RunForecast& forecast : forecasts) *std::ranges::min_element(ends) += forecast.seconds;
  return std::ranges::max(ends);
}

}  // namespace

std::string infeasible_text(const SweepPlan& plan) {
  if (plan.infeasible.empty()) return "";
  std::string text =
      fmt::format("{} cannot meet the budget:\n", plural(plan.infeasible.size(), "model"));
  for (const InfeasibleCell& infeasible : plan.infeasible)
    text += fmt::format("  {}: {}\n", name_of(infeasible.cell), infeasible.reason);
  return text;
}

std::string plan_text(const SweepPlan& plan, std::span<const RunForecast> forecasts,
                      std::int64_t side_by_side, bool tells_time) {
  std::string text;
  if (!plan.runs.empty()) text += plan_table(plan, forecasts, tells_time).text() + "\n";
  double flops = 0;
  std::int64_t tokens = 0;
  for (const SweepRun& run : plan.runs) {
    flops += run.realised_flops();
    tokens += run.tokens;
  }
  text += fmt::format("{}: {} tokens, {:.4g} training FLOPs", plural(plan.runs.size(), "run"),
                      grouped(static_cast<std::uint64_t>(tokens)), flops);
  if (tells_time) {
    text += fmt::format(", {} with {} at once",
                        duration_text(elapsed_seconds(forecasts, side_by_side)), side_by_side);
  }
  return text + "\n" + infeasible_text(plan);
}

std::string status_text(const std::filesystem::path& sweep, const SweepPlan& plan) {
  Table table("run", {{"run", ""},
                      {"state", "state"},
                      {"step", "step"},
                      {"steps", "of"},
                      {"loss", "loss"},
                      {"validation_loss", "validation"},
                      {"eta", "ETA"}});
  const auto loss_cell = [](const std::optional<double>& loss) {
    return loss ? Cell(fmt::format("{:.4f}", *loss)) : Cell();
  };
  std::map<RunState, std::size_t> counts;
  std::string reasons;
  for (const SweepRun& run : plan.runs) {
    const auto folder = run_folder(sweep, run.name);
    const RunStatus status = run_status(folder);
    const RunProgress progress = read_progress(folder);
    ++counts[status.state];
    const bool tells_eta = status.state == RunState::running && progress.eta_seconds;
    table.add({run.name, enum_name(status.state), static_cast<double>(progress.step),
               static_cast<double>(run.steps), loss_cell(progress.loss),
               loss_cell(progress.validation_loss),
               tells_eta ? Cell(duration_text(*progress.eta_seconds)) : Cell()});
    if (status.state == RunState::failed)
      reasons += fmt::format("  {}: exit code {}{}{}\n", run.name, status.code,
                             status.reason.empty() ? "" : ": ", status.reason);
  }
  std::string text = plan.runs.empty() ? "" : table.text() + "\n";
  text += plural(plan.runs.size(), "run");
  for (const auto& [state, count] : counts) text += fmt::format(", {} {}", count, enum_name(state));
  text += "\n";
  if (!reasons.empty()) text += "failed:\n" + reasons;
  return text;
}

}  // namespace dualpath
