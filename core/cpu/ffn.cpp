#include "core/base/element_types.h"
#include "core/cpu/cpu_ops.h"
#include "core/cpu/parallel_for.h"
#include "core/cpu/vector_math.h"

namespace dualpath {
namespace {

template <class O>
void swiglu_row(O* out, const O* gate, std::int64_t F) {
  const O* up = gate + F;
  for_each_vector(F, [=](std::int64_t f, auto lanes) {
    const Vector x = load(gate + f, lanes);
    store(out + f, x * simd_sigmoid(x) * load(up + f, lanes), lanes);
  });
}

// dgate may be gate.
template <class O>
void swiglu_row_backward(O* dgate, O* out, const O* dout, const O* gate, std::int64_t F) {
  O* dup = dgate + F;
  const O* up = gate + F;
  for_each_vector(F, [=](std::int64_t f, auto lanes) {
    const Vector x = load(gate + f, lanes);
    const Vector u = load(up + f, lanes);
    const Vector gradient = load(dout + f, lanes);
    const Vector sigma = simd_sigmoid(x);
    const Vector silu = x * sigma;
    store(dgate + f, gradient * u * (sigma + silu * (1.0F - sigma)), lanes);
    store(dup + f, gradient * silu, lanes);
    store(out + f, silu * u, lanes);
  });
}

}  // namespace

void CpuOps::compute(const op::SwiGlu& op) {
  const std::int64_t F = op.out_TF.shape[1];
  with_type(op.out_TF, [&]<class O>() {
    O* out_data = op.out_TF.as<O>();
    const O* gate_up_data = op.gate_up_T2F.as<O>();
    parallel_for(num_threads_, {op.out_TF.rows(), F}, [=](Piece piece) {
      for (std::int64_t t = piece.begin; t < piece.end; ++t)
        swiglu_row(out_data + t * F, gate_up_data + 2 * t * F, F);
    });
  });
}

void CpuOps::compute(const op::SwiGluBackward& op) {
  const std::int64_t F = op.out_TF.shape[1];
  with_type(op.out_TF, [&]<class O>() {
    O* dgate_up_data = op.dgate_up_T2F.as<O>();
    O* out_data = op.out_TF.as<O>();
    const O* dout_data = op.dout_TF.as<O>();
    const O* gate_up_data = op.gate_up_T2F.as<O>();
    parallel_for(num_threads_, {op.out_TF.rows(), F}, [=](Piece piece) {
      for (std::int64_t t = piece.begin; t < piece.end; ++t)
        swiglu_row_backward(dgate_up_data + 2 * t * F, out_data + t * F, dout_data + t * F,
                            gate_up_data + 2 * t * F, F);
    });
  });
}

}  // namespace dualpath
