#include "launcher/sweep/report_page.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include "core/error.h"
#include "launcher/sweep/markup.h"
#include "launcher/sweep/report_charts.h"
#include "launcher/sweep/report_style.h"
#include "launcher/text_format.h"

namespace dualpath {

namespace {

// Rows of plain text. Columns that are to be compared stand to the right.
class HtmlTable {
 public:
  HtmlTable(std::string label, std::vector<std::string> names, std::size_t text_columns)
      : label_(std::move(label)), text_columns_(text_columns) {
    rows_ = row("th", names, "");
  }
  void add(const std::vector<std::string>& cells, const char* css_class = "") {
    rows_ += row("td", cells, css_class);
  }
  std::string html() const {
    return fmt::format(
        "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"{}\">\n"
        "<table>\n{}</table>\n</div>\n",
        escaped(label_), rows_);
  }

 private:
  std::string row(const char* element, const std::vector<std::string>& cells,
                  const char* css_class) const {
    std::string text = *css_class ? fmt::format("<tr class=\"{}\">", css_class) : "<tr>";
    for (std::size_t i = 0; i < cells.size(); ++i) {
      text += fmt::format("<{0}{1}>{2}</{0}>", element, i < text_columns_ ? " class=\"text\"" : "",
                          escaped(cells[i]));
    }
    return text + "</tr>\n";
  }

  std::string label_;
  std::size_t text_columns_;
  std::string rows_;
};

std::string paragraph(std::string_view text) {
  return fmt::format("<p>{}</p>\n", escaped(text));
}

std::string text_of(const std::optional<Spread>& spread) {
  if (!spread) return "–";
  if (spread->count == 1) return fmt::format("{:.4f}", spread->mean);
  return fmt::format("{:.4f} ± {:.4f}", spread->mean, spread->deviation);
}

std::string number_or_dash(double value) {
  return value == 0 ? "–" : fmt::format("{:g}", value);
}

std::string summary(const SweepResults& results) {
  std::string text = plural(results.runs.size(), "run");
  const char* separator = ": ";
  for (const auto& [state, name] : EnumNames<RunState>::values) {
    const auto count =
        std::ranges::count(results.runs, state, [](const RunResult& r) { return r.status.state; });
    if (count == 0) continue;
    text += fmt::format("{}{} {}", separator, count, name);
    separator = ", ";
  }
  if (const std::size_t cells = results.infeasible.size(); cells > 0)
    text += fmt::format("; {} of the grid {} no model", plural(cells, "cell"),
                        cells == 1 ? "has" : "have");
  return text + ".";
}

std::string runs_text(const SeedGroup& group) {
  const auto finished = std::ranges::count(group.runs, RunState::finished,
                                           [](const RunResult* r) { return r->status.state; });
  const auto planned = static_cast<std::ptrdiff_t>(group.runs.size());
  return finished == planned ? fmt::format("{}", planned)
                             : fmt::format("{} of {}", finished, planned);
}

std::string result_table(const BudgetResults& budget) {
  std::vector<std::string> names{"architecture", "K", "α"};
  if (budget.varies_layer_budget) names.push_back("FLOPs a token and layer");
  if (budget.varies_learning_rate) names.push_back("learning rate");
  for (const char* name : {"parameters", "FLOPs a token", "FLOPs", "training loss",
                           "validation loss", "bits per byte", "runs"})
    names.push_back(name);
  HtmlTable table(at_budget("results", budget.budget), names, 1);
  for (const SeedGroup& group : budget.groups) {
    const SweepRun& run = group.any_run();
    std::vector<std::string> row{
        fmt::format("{}{}", group.is_best ? "★ " : "", enum_name(run.cell.architecture)),
        number_or_dash(static_cast<double>(run.cell.iterations)),
        number_or_dash(run.cell.deep_share)};
    if (budget.varies_layer_budget) row.push_back(scaled(run.cell.layer_flop_budget));
    if (budget.varies_learning_rate) row.push_back(fmt::format("{:g}", run.learning_rate));
    for (std::string cell :
         {scaled(static_cast<double>(run.parameters)), scaled(run.flops_per_token),
          fmt::format("{:.3g}", run.realised_flops()), text_of(group.training_loss),
          text_of(group.validation_loss), text_of(group.bits_per_byte), runs_text(group)})
      row.push_back(std::move(cell));
    table.add(row, group.is_best ? "best" : "");
  }
  return table.html();
}

ReportSection results_section(const SweepResults& results) {
  ReportSection section{.heading = "Results", .html = paragraph(summary(results))};
  for (const BudgetResults& budget : results.budgets)
    section.html += fmt::format("<h3>{}</h3>\n{}", escaped(at_budget("Models", budget.budget)),
                                result_table(budget));
  section.html += paragraph(fmt::format(
      "★ the lowest {} loss of its budget. Losses in nats a token: means over the runs that have "
      "finished, ± the standard deviation over their seeds; of a run, the mean training loss of "
      "its last {} steps, and the last validation. FLOPs are of training, with causal attention "
      "counted.",
      results.has_validation ? "validation" : "training", last_steps_averaged));
  section.charts = size_charts(results);
  return section;
}

std::string fit_text(const IsoFlopCurve& curve) {
  if (!curve.fit.parabola) return fmt::format("{}: no minimum, {}.", curve.name, curve.fit.problem);
  const Parabola& p = *curve.fit.parabola;
  const std::size_t points = curve.points.size();
  return fmt::format(
      "{}: loss = {:.4f} + {:.4g} (log₁₀ N − {:.4f})², least at N = {} parameters; {}.", curve.name,
      p.minimum_y, p.curvature, p.minimum_x, scaled(std::pow(10, p.minimum_x)),
      points == 3
          ? "through 3 sizes, exactly"
          : fmt::format("least squares of {} sizes, from which it is {:.2g} away (root mean "
                        "square)",
                        points, p.residual));
}

ReportSection budget_section(const SweepResults& results, const BudgetResults& budget) {
  ReportSection section{.heading = at_budget("Sizes", budget.budget)};
  section.charts = iso_flop_charts(results, budget);
  std::string fits;
  for (const IsoFlopCurve& curve : iso_flop_curves(results, budget))
    fits += fmt::format("<li>{}</li>\n", escaped(fit_text(curve)));
  if (!fits.empty()) section.after = "<ul>\n" + fits + "</ul>\n";
  return section;
}

ReportSection losses_section(const SweepResults& results) {
  ReportSection section{.heading = "Loss curves"};
  for (const BudgetResults& budget : results.budgets) {
    for (Chart& chart : loss_charts(budget)) section.charts.push_back(std::move(chart));
  }
  return section;
}

std::string layer_tables(const BudgetResults& budget) {
  std::string tables;
  for (std::size_t i = 0; i < readouts.size(); ++i) {
    std::vector<std::vector<std::string>> rows;
    std::size_t layers = 0;
    for (const SeedGroup& group : budget.groups) {
      const LayerReadouts means = mean_readouts(group);
      if (means[i].empty()) continue;
      rows.push_back({group.name});
      for (const double value : means[i])
        rows.back().push_back(std::isfinite(value) ? fmt::format("{:.4f}", value) : "–");
      layers = std::max(layers, means[i].size());
    }
    if (rows.empty()) continue;
    std::vector<std::string> names{"layer"};
    for (std::size_t layer = 0; layer < layers; ++layer) names.push_back(fmt::format("{}", layer));
    HtmlTable table(at_budget(readouts[i].title, budget.budget), names, 1);
    for (const std::vector<std::string>& row : rows) table.add(row);
    tables += fmt::format("<h4>{}, {}</h4>\n{}", escaped(readouts[i].title),
                          escaped(readouts[i].unit), table.html());
  }
  return tables;
}

ReportSection layers_section(const BudgetResults& budget) {
  ReportSection section{.heading = at_budget("Gates and paths by layer", budget.budget)};
  section.charts = layer_charts(budget);
  if (section.charts.empty()) return section;
  section.html =
      paragraph(fmt::format("Means over tokens, the last {} steps and the runs that have finished.",
                            last_steps_averaged));
  section.after =
      fmt::format("<details>\n<summary>As numbers</summary>\n{}</details>\n", layer_tables(budget));
  return section;
}

ReportSection unfinished_section(const SweepResults& results) {
  HtmlTable table("runs that have not finished",
                  {"run", "state", "reason", "steps", "training loss"}, 3);
  bool any = false;
  for (const RunResult& result : results.runs) {
    if (result.status.state == RunState::finished) continue;
    any = true;
    const std::optional<double>& loss = result.history.training_loss;
    table.add({result.run.name, enum_name(result.status.state), result.status.reason,
               fmt::format("{} of {}", result.history.last_step, result.run.steps),
               loss ? fmt::format("{:.4f}", *loss) : "–"});
  }
  return {.heading = "Runs that have not finished", .html = any ? table.html() : ""};
}

ReportSection infeasible_section(const SweepResults& results) {
  HtmlTable table("cells without a model", {"architecture", "reason", "K", "α", "FLOPs"}, 2);
  for (const auto& [cell, reason] : results.infeasible) {
    table.add({enum_name(cell.architecture), reason,
               number_or_dash(static_cast<double>(cell.iterations)),
               number_or_dash(cell.deep_share), scaled(cell.layer_flop_budget)});
  }
  ReportSection section{.heading = "Cells without a model"};
  if (!results.infeasible.empty())
    section.html = paragraph("No FFN sizes meet the budget per token and layer.") + table.html();
  return section;
}

bool is_empty(const ReportSection& section) {
  return section.html.empty() && section.charts.empty() && section.after.empty();
}

}  // namespace

std::vector<ReportSection> report_sections(const SweepResults& results) {
  std::vector<ReportSection> sections{results_section(results)};
  for (const BudgetResults& budget : results.budgets)
    sections.push_back(budget_section(results, budget));
  sections.push_back(losses_section(results));
  for (const BudgetResults& budget : results.budgets) sections.push_back(layers_section(budget));
  sections.push_back(unfinished_section(results));
  sections.push_back(infeasible_section(results));
  std::erase_if(sections, is_empty);
  return sections;
}

std::string report_page(const std::string& title, const std::vector<ReportSection>& sections,
                        const std::vector<std::string>& pictures) {
  std::string page = fmt::format(
      "<!DOCTYPE html>\n"
      "<html xmlns=\"http://www.w3.org/1999/xhtml\" lang=\"en\">\n<head>\n"
      "<meta charset=\"utf-8\"/>\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
      "<title>{0}</title>\n<style>\n{1}</style>\n</head>\n<body>\n<h1>{0}</h1>\n",
      escaped(title), report_style);
  std::size_t drawn = 0;
  for (const ReportSection& section : sections) {
    page += fmt::format("<section>\n<h2>{}</h2>\n{}", escaped(section.heading), section.html);
    if (!section.charts.empty()) page += "<div class=\"charts\">\n";
    for (std::size_t i = 0; i < section.charts.size(); ++i)
      page += fmt::format("<figure>\n{}</figure>\n", pictures.at(drawn++));
    if (!section.charts.empty()) page += "</div>\n";
    page += section.after + "</section>\n";
  }
  CHECK(drawn == pictures.size(), "{} pictures for {} charts", pictures.size(), drawn);
  return page + "</body>\n</html>\n";
}

}  // namespace dualpath
