// Which GPUs runs that go on side by side take, so that none is shared while another is idle.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace dualpath {

// The `count` GPUs that this process sees, as CUDA_VISIBLE_DEVICES names them. `visible`: that
// variable's value, which may name more; null where it is not set.
std::vector<std::string> gpu_names(int count, const char* visible);

// CUDA_VISIBLE_DEVICES of the run in this place, counted from 0: a GPU for each of its ranks, in
// turn; all where it has more ranks than there are. REQUIRES: there are any.
std::string gpus_of_run(std::span<const std::string> gpus, std::int64_t place, std::int64_t ranks);

}  // namespace dualpath
