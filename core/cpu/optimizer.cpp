#include <algorithm>
#include <cmath>

#include "core/cpu/cpu_ops.h"
#include "core/cpu/parallel_for.h"
#include "core/cpu/row_math.h"
#include "core/cpu/row_sums.h"
#include "core/ops_checks.h"

namespace dualpath {

void CpuOps::adamw(Tensor value_N, Tensor m_N, Tensor v_N, Tensor operand_N, Tensor gradient_N,
                   const AdamWStep& step) {
  check_adamw(value_N, m_N, v_N, operand_N, gradient_N);
  float* value = value_N.as<float>();
  float* m = m_N.as<float>();
  float* v = v_N.as<float>();
  bfloat16* operand = operand_N.empty() ? nullptr : operand_N.as<bfloat16>();
  const float* gradient = gradient_N.as<float>();
  const auto scale = static_cast<float>(step.gradient_scale);
  const auto beta1 = static_cast<float>(step.beta1);
  const auto beta2 = static_cast<float>(step.beta2);
  const auto rest1 = static_cast<float>(1 - step.beta1);
  const auto rest2 = static_cast<float>(1 - step.beta2);
  // lr·(m/c1)/(sqrt(v/c2) + ε) = step_size·m/(sqrt(v)·root + ε)
  const auto step_size = static_cast<float>(step.learning_rate / step.correction1);
  const auto root = static_cast<float>(1 / std::sqrt(step.correction2));
  const auto epsilon = static_cast<float>(step.epsilon);
  const auto decay = static_cast<float>(step.learning_rate * step.weight_decay);
  constexpr std::int64_t block = 2048;  // is still in cache when it is rounded
  parallel_for(num_threads_, {value_N.numel()}, [=](Piece piece) {
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

void CpuOps::sum_of_squares(Tensor out, Tensor x_N) {
  check_sum_of_squares(out, x_N);
  const float* x = x_N.as<float>();
  *out.as<double>() += sum_over(scratch_, num_threads_, {x_N.numel()}, [=](Piece piece) {
    return dot_f64(x + piece.begin, x + piece.begin, piece.size());
  });
}

}  // namespace dualpath
