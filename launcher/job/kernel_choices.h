// The algorithms that all ranks of a run keep to, from its first start on.
#pragma once

#include <filesystem>

#include "core/base/log.h"
#include "core/ops/kernel_tuner.h"
#include "model/model.h"
#include "parallel/communicator.h"

namespace dualpath {

// What `file` holds, a readable text.
struct KernelChoices {
  std::string made_for;  // KernelTuner::made_for()
  KernelTuner::Choices algorithms;
};
std::string print_kernel_choices(const KernelChoices& choices);
// Throws Error(checkpoint) where the text is damaged.
KernelChoices parse_kernel_choices(const std::string& text, const std::filesystem::path& file);

// The tuner has noted this rank's calls; null: its device leaves no choice. Those that `file`, rank
// 0's, has no algorithm for are measured, each by the first rank that issues it, and added to the
// file; then all ranks keep to the same. What was measured on another GPU or by other libraries is
// measured anew, with a warning. Where the ranks' GPUs or libraries differ from one another, or
// only some ranks have a choice, nothing is measured, with a warning too, as where attention is
// left to the kernels here, which are slow. Without a file all are measured. Collective. Returns a
// checksum of the algorithms in use; empty where no rank has a choice.
std::string agree_on_kernels(KernelTuner* tuner, const std::filesystem::path& file,
                             Communicator& ranks, Log& log);
// The same for all that training and evaluating the model issues.
std::string agree_on_kernels(Model& model, const std::filesystem::path& file, Communicator& ranks,
                             Log& log);
// The same as a training run's first start, for what is measured; the algorithms are not kept.
// Returns what attention is computed by, a line for each call.
std::vector<std::string> choose_kernels(Model& model, Communicator& ranks, Log& log);

}  // namespace dualpath
