#include <algorithm>
#include <cmath>

#include "core/cpu/cpu_ops.h"
#include "core/cpu/parallel_for.h"
#include "core/cpu/row_math.h"
#include "core/cpu/row_sums.h"

namespace dualpath {

void CpuOps::compute(const op::AdamW& op) {
  float* value = op.value_N.as<float>();
  float* m = op.m_N.as<float>();
  float* v = op.v_N.as<float>();
  bfloat16* operand = op.operand_N.empty() ? nullptr : op.operand_N.as<bfloat16>();
  const float* gradient = op.gradient_N.as<float>();
  const auto scale = static_cast<float>(op.step.gradient_scale);
  const auto beta1 = static_cast<float>(op.step.beta1);
  const auto beta2 = static_cast<float>(op.step.beta2);
  const auto rest1 = static_cast<float>(1 - op.step.beta1);
  const auto rest2 = static_cast<float>(1 - op.step.beta2);
  // lr·(m/c1)/(sqrt(v/c2) + ε) = step_size·m/(sqrt(v)·root + ε)
  const auto step_size = static_cast<float>(op.step.learning_rate / op.step.correction1);
  const auto root = static_cast<float>(1 / std::sqrt(op.step.correction2));
  const auto epsilon = static_cast<float>(op.step.epsilon);
  const auto decay = static_cast<float>(op.step.learning_rate * op.step.weight_decay);
  constexpr std::int64_t block = 2048;  // is still in cache when it is rounded
  parallel_for(num_threads_, {op.value_N.numel()}, [=](Piece piece) {
    for (std::int64_t begin = piece.begin; begin < piece.end; begin += block) {
      const std::int64_t end = std::min(begin + block, piece.end);
#pragma omp simd
      for (std::int64_t i = begin; i < end; ++i) {
        const float g = gradient[i] * scale;
        m[i] = beta1 * m[i] + rest1 * g;
        v[i] = beta2 * v[i] + rest2 * g * g;
        value[i] -= step_size * m[i] / (std::sqrt(v[i]) * root + epsilon) + decay * value[i];
      }
      if (operand != nullptr) copy_row(operand + begin, value + begin, end - begin);
    }
  });
}

void CpuOps::compute(const op::SumOfSquares& op) {
  const float* x = op.x_N.as<float>();
  *op.out.as<double>() += sum_over(scratch_, num_threads_, {op.x_N.numel()}, [=](Piece piece) {
    return dot_f64(x + piece.begin, x + piece.begin, piece.size());
  });
}

}  // namespace dualpath
