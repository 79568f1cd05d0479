#include "launcher/sweep/sweep_report.h"

#include "core/base/error.h"
#include "data/files/file_io.h"
#include "launcher/sweep/report_csv.h"
#include "launcher/sweep/report_page.h"

namespace dualpath {

void write_sweep_report(const std::filesystem::path& folder) {
  const SweepResults results = read_sweep_results(folder);
  write_file(folder / "report.csv", report_csv(results), ExitCode::checkpoint);
  const std::vector<ReportSection> sections = report_sections(results);
  std::vector<Chart> charts;
  for (const ReportSection& section : sections)
    charts.insert(charts.end(), section.charts.begin(), section.charts.end());
  const std::string title = "Sweep " + (folder / "").parent_path().filename().string();
  write_file(folder / "report.html", report_page(title, sections, draw(charts)),
             ExitCode::checkpoint);
}

}  // namespace dualpath
