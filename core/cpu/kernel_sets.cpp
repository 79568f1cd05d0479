#include "core/cpu/kernel_sets.h"

#include <dnnl.h>

namespace dualpath {

// Each is one compilation of kernel_set.cpp.
std::unique_ptr<Ops> make_cpu_ops_avx512_bf16(int num_threads);
std::unique_ptr<Ops> make_cpu_ops_avx512(int num_threads);
std::unique_ptr<Ops> make_cpu_ops_avx2(int num_threads);
std::unique_ptr<Ops> make_cpu_ops_native(int num_threads);

namespace {

#ifdef __x86_64__
bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("bmi2");
}
bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl");
}
bool has_avx512_bf16() {
  return has_avx512() && __builtin_cpu_supports("avx512bf16");
}
#endif

constexpr KernelSet sets[] = {
#ifdef DUALPATH_KERNELS_AVX512_BF16
    {"avx512_bf16", has_avx512_bf16, make_cpu_ops_avx512_bf16},
#endif
#ifdef DUALPATH_KERNELS_AVX512
    {"avx512", has_avx512, make_cpu_ops_avx512},
#endif
#ifdef DUALPATH_KERNELS_AVX2
    {"avx2", has_avx2, make_cpu_ops_avx2},
#endif
#ifdef DUALPATH_KERNELS_NATIVE
    {"native", [] { return true; }, make_cpu_ops_native},
#endif
};

}  // namespace

std::span<const KernelSet> kernel_sets() {
  return sets;
}

bool multiplies_bf16() {
  return dnnl_get_effective_cpu_isa() >= dnnl_cpu_isa_avx512_core;
}

}  // namespace dualpath
