#pragma once

namespace dualpath {

// What the kernels were compiled for and this processor lacks ("AVX-512"), or nullptr.
const char* missing_instructions();

// Whether oneDNN multiplies bf16 numbers here; AVX-512 suffices, AVX512_BF16 is twice as fast as
// fp32.
bool multiplies_bf16();

}  // namespace dualpath
