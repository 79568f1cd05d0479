#include "launcher/sweep/report_page.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <functional>
#include <map>

#include "core/base/error.h"
#include "launcher/common/markup.h"
#include "launcher/common/report_style.h"
#include "launcher/common/text_format.h"
#include "launcher/sweep/report_charts.h"

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
  return fmt::format("{:.4f} ±\u00a0{:.4f}", spread->mean, spread->deviation);
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

// What a column of the results tells of a model.
struct Column {
  const char* name;
  std::function<std::string(const SeedGroup&)> text;
};

// What tells models apart, then what they are compared by, then what they cost.
std::vector<Column> result_columns(const BudgetResults& budget) {
  std::vector<Column> columns{
      {"architecture",
       [](const SeedGroup& g) {
         return fmt::format("{}{}", g.is_best ? "★ " : "",
                            enum_name(g.any_run().cell.architecture));
       }},
      {"K",
       [](const SeedGroup& g) {
         return number_or_dash(static_cast<double>(g.any_run().cell.iterations));
       }},
      {"α", [](const SeedGroup& g) { return number_or_dash(g.any_run().cell.deep_share); }}};
  if (budget.varies_layer_budget) {
    columns.push_back({"FLOPs a token and layer", [](const SeedGroup& g) {
                         return scaled(g.any_run().cell.layer_flop_budget);
                       }});
  }
  if (budget.varies_learning_rate) {
    columns.push_back({"learning rate", [](const SeedGroup& g) {
                         return fmt::format("{:g}", g.any_run().learning_rate);
                       }});
  }
  for (Column& column : std::vector<Column>{
           {"validation loss", [](const SeedGroup& g) { return text_of(g.validation_loss); }},
           {"training loss", [](const SeedGroup& g) { return text_of(g.training_loss); }},
           {"bits per byte", [](const SeedGroup& g) { return text_of(g.bits_per_byte); }},
           {"parameters",
            [](const SeedGroup& g) { return scaled(static_cast<double>(g.any_run().parameters)); }},
           {"FLOPs a token",
            [](const SeedGroup& g) { return scaled(g.any_run().flops_per_token); }},
           {"FLOPs", [](const SeedGroup& g) { return scaled(g.any_run().realised_flops()); }},
           {"runs", runs_text}}) {
    columns.push_back(std::move(column));
  }
  return columns;
}

std::string result_table(const BudgetResults& budget) {
  std::vector<std::string> names;
  const std::vector<Column> columns = result_columns(budget);
  for (const Column& column : columns) names.emplace_back(column.name);
  HtmlTable table(at_budget("results", budget.budget), names, 1);
  for (const SeedGroup& group : budget.groups) {
    std::vector<std::string> row;
    for (const Column& column : columns) row.push_back(column.text(group));
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

// REQUIRES: it has a parabola.
std::string fit_text(const IsoFlopCurve& curve) {
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
  std::map<std::string, std::vector<std::string>> without;  // names of curves by what is wrong
  for (const IsoFlopCurve& curve : iso_flop_curves(results, budget)) {
    if (curve.fit.parabola) {
      fits += fmt::format("<li>{}</li>\n", escaped(fit_text(curve)));
    } else {
      without[curve.fit.problem].push_back(curve.name);
    }
  }
  for (const auto& [problem, names] : without) {
    fits += fmt::format("<li>no minimum, {}: {}.</li>\n", escaped(problem),
                        escaped(fmt::format("{}", fmt::join(names, "; "))));
  }
  if (!section.charts.empty()) {
    section.html = paragraph(
        "Against parameters a line is a fitted parabola, and points are not joined: a model of "
        "another size differs in its layers' FLOPs, in α or in K.");
  }
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
    for (const Chart& chart : section.charts)
      page += fmt::format("<figure>\n<figcaption>{}</figcaption>\n{}{}</figure>\n",
                          escaped(chart.title), pictures.at(drawn++), legend(chart));
    if (!section.charts.empty()) page += "</div>\n";
    page += section.after + "</section>\n";
  }
  CHECK(drawn == pictures.size(), "{} pictures for {} charts", pictures.size(), drawn);
  return page + "</body>\n</html>\n";
}

}  // namespace dualpath
