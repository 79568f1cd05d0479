// Compiled for any processor: functions choose instruction sets of their own.
#include "core/cpu/machine_peak.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

#include "core/cpu/parallel_for.h"

namespace dualpath {
namespace {

// Enough independent sums to hide the latency of a multiply-add (4 cycles, 2 begun in each), few
// enough for 16 registers.
constexpr int num_sums = 12;
constexpr std::int64_t rounds = 1 << 20;

using Lanes4 [[gnu::vector_size(16)]] = float;
using Lanes8 [[gnu::vector_size(32)]] = float;
using Lanes16 [[gnu::vector_size(64)]] = float;

// Every sum tends to 1: none overflows or becomes denormal. Each starts elsewhere, or the compiler
// would add up one for all.
template <class Lanes>
[[gnu::always_inline]] inline float multiply_add_rounds() {
  Lanes sums[num_sums];
  for (int i = 0; i < num_sums; ++i) sums[i] = Lanes{} + static_cast<float>(i);
  const Lanes factor = Lanes{} + 0.999F;
  const Lanes addend = Lanes{} + 0.001F;
  for (std::int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (Lanes& sum : sums) sum = sum * factor + addend;
  }
  Lanes total = {};
  for (const Lanes& sum : sums) total += sum;
  return total[0];
}

float multiply_adds_4() {
  return multiply_add_rounds<Lanes4>();
}

#ifdef __x86_64__
[[gnu::target("avx2,fma")]] float multiply_adds_8() {
  return multiply_add_rounds<Lanes8>();
}

[[gnu::target("avx512f")]] float multiply_adds_16() {
  return multiply_add_rounds<Lanes16>();
}

[[gnu::target("avx512f,avx512bf16")]] float bf16_products() {
  __m512 sums[num_sums];
  for (int i = 0; i < num_sums; ++i) sums[i] = _mm512_set1_ps(static_cast<float>(i));
  const __m512bh half = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.5F), _mm512_set1_ps(0.5F));
  for (std::int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (__m512& sum : sums) sum = _mm512_dpbf16_ps(sum, half, half);
  }
  __m512 total = {};
  for (const __m512& sum : sums) total += sum;
  return total[0];
}
#endif

struct RegisterLoop {
  float (*run)();
  int multiply_adds;  // of one vector instruction
};

RegisterLoop fp32_loop() {
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx512f")) return {multiply_adds_16, 16};
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return {multiply_adds_8, 8};
#endif
  return {multiply_adds_4, 4};
}

double run_on_threads(RegisterLoop loop, int num_threads) {
#pragma omp parallel for num_threads(num_threads) schedule(static)
  for (int thread = 0; thread < num_threads; ++thread) {
    [[maybe_unused]] const volatile float kept = loop.run();
  }
  return 2.0 * loop.multiply_adds * num_sums * static_cast<double>(rounds) * num_threads;
}

// No multiple of a large power of two, at which streams would meet in the same banks of memory.
constexpr std::int64_t array_bytes = std::int64_t{250'000'000} / 64 * 64;
constexpr std::int64_t array_size = array_bytes / static_cast<std::int64_t>(sizeof(Lanes4));

Lanes4* array_in(const Buffer& buffer) {
  return reinterpret_cast<Lanes4*>(buffer.data());
}

void store_past_caches(Lanes4* to, Lanes4 value) {
#ifdef __x86_64__
  _mm_stream_ps(reinterpret_cast<float*>(to), value);
#else
  *to = value;
#endif
}

void finish_stores() {
#ifdef __x86_64__
  _mm_sfence();
#endif
}

float sum_of(const Lanes4* a, Piece piece) {
  constexpr int width = 8;
  Lanes4 sums[width] = {};
  for (std::int64_t i = piece.begin; i + width <= piece.end; i += width) {
#pragma GCC unroll 8
    for (int j = 0; j < width; ++j) sums[j] += a[i + j];
  }
  Lanes4 total = {};
  for (const Lanes4& sum : sums) total += sum;
  return total[0];
}

}  // namespace

double fp32_multiply_adds(int num_threads) {
  return run_on_threads(fp32_loop(), num_threads);
}

bool has_bf16_products() {
#ifdef __x86_64__
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

double bf16_multiply_adds(int num_threads) {
  CHECK(has_bf16_products(), "this processor multiplies no bf16");
#ifdef __x86_64__
  return run_on_threads({bf16_products, 32}, num_threads);
#else
  return 0;
#endif
}

MemoryPasses::MemoryPasses(Device& device, int num_threads)
    : num_threads_(num_threads),
      a_(device.allocate(array_bytes)),
      b_(device.allocate(array_bytes)),
      c_(device.allocate(array_bytes)) {}

double MemoryPasses::read() const {
  parallel_for(num_threads_, {array_size}, [a = array_in(a_)](Piece piece) {
    [[maybe_unused]] const volatile float kept = sum_of(a, piece);
  });
  return array_bytes;
}

double MemoryPasses::copy() const {
  parallel_for(num_threads_, {array_size}, [a = array_in(a_), b = array_in(b_)](Piece piece) {
    for (std::int64_t i = piece.begin; i < piece.end; ++i) store_past_caches(a + i, b[i]);
    finish_stores();
  });
  return 2 * array_bytes;
}

double MemoryPasses::triad() const {
  parallel_for(num_threads_, {array_size},
               [a = array_in(a_), b = array_in(b_), c = array_in(c_)](Piece piece) {
                 for (std::int64_t i = piece.begin; i < piece.end; ++i)
                   store_past_caches(a + i, b[i] + 0.5F * c[i]);
                 finish_stores();
               });
  return 3 * array_bytes;
}

}  // namespace dualpath
