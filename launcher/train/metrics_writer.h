// metrics.jsonl: one JSON object a step, a validation and a save, the run's whole history in order.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "launcher/train/step_metrics.h"

namespace dualpath {

// Rows of steps after the one from which a run goes on.
enum class LaterRows {
  made_again,    // by this very run: dropped
  another_runs,  // kept, in a file beside
};

class MetricsWriter {
 public:
  // Opens `path` to append to. What is there of steps after `last_step`, from which the run goes
  // on, is taken out first, and so is a line cut short by a crash; 0 begins anew. Lines that
  // are no rows are another's.
  MetricsWriter(const std::string& path, std::int64_t last_step,
                LaterRows later = LaterRows::made_again);
  ~MetricsWriter();
  MetricsWriter(const MetricsWriter&) = delete;
  MetricsWriter& operator=(const MetricsWriter&) = delete;

  // Where the file as it was is kept; empty: nothing of another run was taken out.
  const std::filesystem::path& kept_aside() const { return kept_aside_; }
  // Whether last_step has its validation.
  bool has_validation() const { return has_validation_; }

  // Appends one line and hands it to the system. A number that is not finite becomes null. Throws
  // Error(checkpoint) where the file, or its whole folder, is no longer there.
  void write(const StepMetrics& metrics);
  void write(const ValidationMetrics& metrics);
  void write(const SaveMetrics& metrics);

 private:
  void open();
  void check_is_there();
  void write_line(std::string line);

  std::string path_;
  std::filesystem::path kept_aside_;
  bool has_validation_ = false;
  int descriptor_ = -1;
};

// The newest step of which a metrics.jsonl tells that it was saved; 0: none, or no such file.
std::int64_t last_saved_step(const std::string& path);

}  // namespace dualpath
