// Compiled like the kernels, so that the compiler's own macros say what they use.
#include "core/cpu/processor.h"

#include <dnnl.h>

namespace dualpath {

const char* missing_instructions() {
#ifdef __AVX512F__
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl"))
    return "AVX-512";
#endif
#ifdef __AVX2__
  if (!__builtin_cpu_supports("avx2")) return "AVX2";
#endif
#ifdef __FMA__
  if (!__builtin_cpu_supports("fma")) return "FMA";
#endif
  return nullptr;
}

bool multiplies_bf16() {
  const dnnl_cpu_isa_t isa = dnnl_get_effective_cpu_isa();
  return isa != dnnl_cpu_isa_all && isa >= dnnl_cpu_isa_avx512_core;
}

}  // namespace dualpath
