#include "launcher/job/end_job.h"

#include <cstdio>
#include <exception>

#include "launcher/common/report_error.h"
#include "parallel/run_together.h"

namespace dualpath {

ExitCode end_job(Job& job, const std::string& prefix) {
  const ErrorReport report = describe(std::current_exception());
  try {
    throw;
  } catch (const AgreedError&) {
    if (job.is_root()) print_error(report, prefix);
    job.world().barrier();
  } catch (...) {
    print_error(report, prefix);
  }
  std::fflush(nullptr);
  abort_job(static_cast<int>(report.code));
  return report.code;
}

}  // namespace dualpath
