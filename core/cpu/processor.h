#pragma once

namespace dualpath {

// What the kernels were compiled for and this processor lacks ("AVX-512"), or nullptr.
const char* missing_instructions();

}  // namespace dualpath
