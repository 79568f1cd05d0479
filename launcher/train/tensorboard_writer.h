// TensorBoard event files: TFRecord frames (length, masked CRC-32C, payload, masked CRC-32C)
// around Event protocol buffers, of which a few fields are needed.
#pragma once

#include <cstdint>
#include <fstream>
#include <string>

#include "launcher/train/step_metrics.h"

namespace dualpath {

class TensorBoardWriter {
 public:
  // Begins a new events.out.tfevents.* file in `folder`. Scalars of steps after `last_step` in
  // older files of the folder no longer count.
  TensorBoardWriter(const std::string& folder, std::int64_t last_step);

  // One scalar a field and layer, tagged "group/name" or "group/layer_03", flushed.
  void write(const StepMetrics& metrics);
  void write(const ValidationMetrics& metrics);
  void write(const SaveMetrics& metrics);

  const std::string& path() const { return path_; }

 private:
  void write_event(const std::string& event);

  std::string path_;
  std::ofstream file_;
};

}  // namespace dualpath
