// Files of the repository that the program carries.
#pragma once

#include <string_view>

namespace dualpath {

extern const std::string_view sbatch_template;  // slurm/train.sbatch
extern const std::string_view mpi_environment;  // launcher/mpi_environment.sh
extern const std::string_view modeling_source;  // launcher/export/modeling_dualpath.py

}  // namespace dualpath
