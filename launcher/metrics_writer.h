// metrics.jsonl: one JSON object a step, a validation and a save, the run's whole history in order.
#pragma once

#include <cstdint>
#include <fstream>
#include <string>

#include "launcher/step_metrics.h"

namespace dualpath {

class MetricsWriter {
 public:
  // Opens `path` to append to. What is there of steps after `last_step`, from which the run goes
  // on, is dropped first, and so are lines cut short by a crash; 0 begins anew.
  MetricsWriter(const std::string& path, std::int64_t last_step);

  // Appends one line and hands it to the system. A number that is not finite becomes null.
  void write(const StepMetrics& metrics);
  void write(const ValidationMetrics& metrics);
  void write(const SaveMetrics& metrics);

 private:
  void write_line(const std::string& line);

  std::string path_;
  std::ofstream file_;
};

}  // namespace dualpath
