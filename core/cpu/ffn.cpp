#include "core/cpu/cpu_ops.h"
#include "core/cpu/parallel_for.h"
#include "core/cpu/vector_math.h"
#include "core/ops_checks.h"

namespace dualpath {

void CpuOps::swiglu(Tensor out_TF, Tensor gate_up_T2F) {
  check_swiglu(out_TF, gate_up_T2F);
  const std::int64_t F = out_TF.shape[1];
  float* out_data = out_TF.as<float>();
  const float* gate_up_data = gate_up_T2F.as<float>();
  parallel_for(num_threads_, {out_TF.rows(), F}, [=](Piece piece) {
    for (std::int64_t t = piece.begin; t < piece.end; ++t) {
      float* out = out_data + t * F;
      const float* gate = gate_up_data + 2 * t * F;
      const float* up = gate + F;
#pragma omp simd
      for (std::int64_t f = 0; f < F; ++f) out[f] = gate[f] * simd_sigmoid(gate[f]) * up[f];
    }
  });
}

void CpuOps::swiglu_backward(Tensor dgate_up_T2F, Tensor out_TF, Tensor dout_TF,
                             Tensor gate_up_T2F) {
  check_swiglu_backward(dgate_up_T2F, out_TF, dout_TF, gate_up_T2F);
  const std::int64_t F = out_TF.shape[1];
  float* dgate_up_data = dgate_up_T2F.as<float>();
  float* out_data = out_TF.as<float>();
  const float* dout_data = dout_TF.as<float>();
  const float* gate_up_data = gate_up_T2F.as<float>();
  parallel_for(num_threads_, {out_TF.rows(), F}, [=](Piece piece) {
    for (std::int64_t t = piece.begin; t < piece.end; ++t) {
      float* dgate = dgate_up_data + 2 * t * F;
      float* dup = dgate + F;
      float* out = out_data + t * F;
      const float* dout = dout_data + t * F;
      const float* gate = gate_up_data + 2 * t * F;
      const float* up = gate + F;
#pragma omp simd
      for (std::int64_t f = 0; f < F; ++f) {
        const float x = gate[f];
        const float u = up[f];
        const float sigma = simd_sigmoid(x);
        const float silu = x * sigma;
        dgate[f] = dout[f] * u * (sigma + silu * simd_sigmoid(-x));
        dup[f] = dout[f] * silu;
        out[f] = silu * u;
      }
    }
  });
}

}  // namespace dualpath
