// What the entry points of the fake libraries share.
#pragma once

#include "tests/fake_cuda/machine.h"

namespace dualpath::fake_cuda {

int current_device();  // of the calling thread

// body(machine) on behalf of the function called `name`. What it refuses is explained on stderr and
// becomes the result. Once work has failed every call is refused.
cudaError_t answer(const char* name, const std::function<void(Machine&)>& body);
// The same, and the error becomes the thread's last error.
cudaError_t answer_runtime(const char* name, const std::function<void(Machine&)>& body);

}  // namespace dualpath::fake_cuda
