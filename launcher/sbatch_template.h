// slurm/train.sbatch, carried in the program.
#pragma once

#include <string_view>

namespace dualpath {

extern const std::string_view sbatch_template;

}  // namespace dualpath
