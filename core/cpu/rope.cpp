#include <cmath>

#include "core/base/element_types.h"
#include "core/cpu/cpu_ops.h"
#include "core/cpu/parallel_for.h"
#include "core/cpu/row_math.h"
#include "core/cpu/row_sums.h"

namespace dualpath {
namespace {

// Elements i and i + R of a head of 2·R rotate together by one angle: a vector of such pairs.
struct Pairs {
  Vector a, b;
};
struct Angles {
  Vector cos, sin;
};

Pairs turned(Pairs x, Angles by) {
  return {x.a * by.cos - x.b * by.sin, x.b * by.cos + x.a * by.sin};
}
Pairs turned_back(Pairs x, Angles by) {
  return turned(x, {by.cos, -by.sin});
}
Pairs operator*(Pairs x, Pairs y) {
  return {x.a * y.a, x.b * y.b};
}
Pairs operator*(float x, Pairs y) {
  return {x * y.a, x * y.b};
}
Pairs operator+(Pairs x, Pairs y) {
  return {x.a + y.a, x.b + y.b};
}
Pairs operator-(Pairs x, Pairs y) {
  return {x.a - y.a, x.b - y.b};
}

// One head of one token. R is known to the compiler for heads of the usual sizes, else 0: so few
// elements that finding out costs as much as the work.
template <int known_R>
struct Head {
  std::int64_t given_R;
  const float* cos;
  const float* sin;
  const float* weight;  // [E] of the norm, unused without one
  float rstd;

  std::int64_t R() const { return known_R > 0 ? known_R : given_R; }
  template <class Lanes>
  Angles angles(std::int64_t i, Lanes lanes) const {
    return {load(cos + i, lanes), load(sin + i, lanes)};
  }
  template <class T, class Lanes>
  Pairs pairs(const T* row, std::int64_t i, Lanes lanes) const {
    return {load(row + i, lanes), load(row + i + R(), lanes)};
  }
  template <class T, class Lanes>
  void store_pairs(T* row, std::int64_t i, Pairs pairs, Lanes lanes) const {
    store(row + i, pairs.a, lanes);
    store(row + i + R(), pairs.b, lanes);
  }
};

// 1/sqrt(mean(x²) + epsilon): the same before and after a rotation.
template <class O>
float head_rstd(const O* x, std::int64_t E, double epsilon) {
  const double mean = static_cast<double>(dot(E, x, x)) / static_cast<double>(E);
  return static_cast<float>(1 / std::sqrt(mean + epsilon));
}

template <QkNorm norm, class O, int known_R>
void forward_head(O* out, const O* in, Head<known_R> head) {
  for_each_vector(head.R(), [=](std::int64_t i, auto lanes) {
    Pairs x = head.pairs(in, i, lanes);
    if constexpr (norm != QkNorm::none) x = head.rstd * x;
    if constexpr (norm == QkNorm::before_rope) x = x * head.pairs(head.weight, i, lanes);
    x = turned(x, head.angles(i, lanes));
    if constexpr (norm == QkNorm::after_rope) x = x * head.pairs(head.weight, i, lanes);
    head.store_pairs(out, i, x, lanes);
  });
}

// Backward with a norm after (before) the rotation: x̂ is the normalised head, rotated (as it was),
// and g = ∂L/∂(weight·x̂) is dout (dout rotated back). mean = mean(g·weight·x̂).
template <bool after, class O, int known_R>
float head_mean(const O* dout, const O* in, Head<known_R> head) {
  Pairs sum{};
  for_each_vector(head.R(), [=, &sum](std::int64_t i, auto lanes) {
    Pairs x = head.pairs(in, i, lanes);
    Pairs g = head.pairs(dout, i, lanes);
    if constexpr (after) {
      x = turned(x, head.angles(i, lanes));
    } else {
      g = turned_back(g, head.angles(i, lanes));
    }
    sum = sum + g * head.pairs(head.weight, i, lanes) * x;
  });
  return lane_sum(sum.a + sum.b) * head.rstd / static_cast<float>(2 * head.R());
}

// din = rstd·(g·weight - x̂·mean), rotated back where the norm comes after; dweight += g·x̂.
template <bool after, class O, int known_R>
void normed_head_backward(O* din, float* dweight, const O* dout, const O* in, Head<known_R> head) {
  const float mean = head_mean<after>(dout, in, head);
  for_each_vector(head.R(), [=](std::int64_t i, auto lanes) {
    const Angles angles = head.angles(i, lanes);
    Pairs x = head.rstd * head.pairs(in, i, lanes);
    Pairs g = head.pairs(dout, i, lanes);
    if constexpr (after) {
      x = turned(x, angles);
    } else {
      g = turned_back(g, angles);
    }
    head.store_pairs(dweight, i, head.pairs(dweight, i, lanes) + g * x, lanes);
    Pairs dx = head.rstd * (g * head.pairs(head.weight, i, lanes) - mean * x);
    if constexpr (after) dx = turned_back(dx, angles);
    head.store_pairs(din, i, dx, lanes);
  });
}

template <class O, int known_R>
void plain_head_backward(O* din, const O* dout, Head<known_R> head) {
  for_each_vector(head.R(), [=](std::int64_t i, auto lanes) {
    head.store_pairs(din, i, turned_back(head.pairs(dout, i, lanes), head.angles(i, lanes)), lanes);
  });
}

template <QkNorm norm, class O, int known_R>
void backward_head(O* din, float* dweight, const O* dout, const O* in, Head<known_R> head) {
  if constexpr (norm == QkNorm::none) {
    plain_head_backward(din, dout, head);
  } else {
    normed_head_backward<norm == QkNorm::after_rope>(din, dweight, dout, in, head);
  }
}

// body.operator()<O, norm, known_R>()
template <class Body>
void with_kind_of_head(Tensor operand, QkNorm norm, std::int64_t R, const Body& body) {
  const auto with_norm = [&]<class O, int known_R>() {
    switch (norm) {
      case QkNorm::after_rope:
        return body.template operator()<O, QkNorm::after_rope, known_R>();
      case QkNorm::before_rope:
        return body.template operator()<O, QkNorm::before_rope, known_R>();
      case QkNorm::none:
        return body.template operator()<O, QkNorm::none, known_R>();
    }
  };
  with_type(operand, [&]<class O>() {
    if (R == 32) return with_norm.template operator()<O, 32>();
    if (R == 64) return with_norm.template operator()<O, 64>();
    with_norm.template operator()<O, 0>();
  });
}

}  // namespace

void CpuOps::compute(const op::QkRope& op) {
  const AttentionShape shape = op.shape;
  const double epsilon = op.epsilon;
  const std::int64_t H = shape.heads, G = shape.kv_heads, E = shape.head_size, R = E / 2;
  const bool normed = op.norm != QkNorm::none;
  float* rstd = normed ? op.rstd_TN.as<float>() : nullptr;
  const float* q_weight = normed ? op.q_weight_E.as<float>() : nullptr;
  const float* k_weight = normed ? op.k_weight_E.as<float>() : nullptr;
  const float* cos = op.cos_PR.as<float>();
  const float* sin = op.sin_PR.as<float>();
  with_kind_of_head(op.qkv_TC, op.norm, R, [&]<class O, QkNorm kind, int known_R>() {
    O* q = op.q_THE.as<O>();
    O* k = op.k_TGE.as<O>();
    const O* qkv = op.qkv_TC.as<O>();
    parallel_for(num_threads_, {shape.tokens(), (H + G) * E}, [=](Piece piece) {
      for (std::int64_t t = piece.begin; t < piece.end; ++t) {
        const std::int64_t angles = (shape.first_position + t % shape.positions) * R;
        const O* row = qkv + t * (H + 2 * G) * E;
        // A root takes long, but does not keep the next one waiting.
        for (std::int64_t n = 0; kind != QkNorm::none && n < H + G; ++n)
          rstd[t * (H + G) + n] = head_rstd(row + n * E, E, epsilon);
        for (std::int64_t n = 0; n < H + G; ++n) {
          const O* in = row + n * E;
          const bool query = n < H;
          const Head<known_R> head{R, cos + angles, sin + angles, query ? q_weight : k_weight,
                                   kind == QkNorm::none ? 1.0F : rstd[t * (H + G) + n]};
          forward_head<kind>(query ? q + (t * H + n) * E : k + (t * G + n - H) * E, in, head);
        }
      }
    });
  });
}

void CpuOps::compute(const op::QkRopeBackward& op) {
  const AttentionShape shape = op.shape;
  const std::int64_t H = shape.heads, G = shape.kv_heads, E = shape.head_size, R = E / 2;
  const bool normed = op.norm != QkNorm::none;
  const float* rstd = normed ? op.rstd_TN.as<float>() : nullptr;
  const float* q_weight = normed ? op.q_weight_E.as<float>() : nullptr;
  const float* k_weight = normed ? op.k_weight_E.as<float>() : nullptr;
  const float* cos = op.cos_PR.as<float>();
  const float* sin = op.sin_PR.as<float>();
  const RowSums dweights(scratch_, num_threads_, 2 * E);  // columns: dq_weight, dk_weight
  with_kind_of_head(op.qkv_TC, op.norm, R, [&]<class O, QkNorm kind, int known_R>() {
    O* dqkv = op.dqkv_TC.as<O>();
    const O* dq = op.dq_THE.as<O>();
    const O* dk = op.dk_TGE.as<O>();
    const O* qkv = op.qkv_TC.as<O>();
    parallel_for(num_threads_, {shape.tokens(), (H + G) * E}, [=](Piece piece) {
      RowAccumulator sums = dweights.accumulator(piece.index);
      for (std::int64_t t = piece.begin; t < piece.end; ++t) {
        const std::int64_t angles = (shape.first_position + t % shape.positions) * R;
        for (std::int64_t n = 0; n < H + G; ++n) {
          const bool query = n < H;
          const std::int64_t column = (t * (H + 2 * G) + n) * E;
          const O* dout = query ? dq + (t * H + n) * E : dk + (t * G + n - H) * E;
          const Head<known_R> head{R, cos + angles, sin + angles, query ? q_weight : k_weight,
                                   kind == QkNorm::none ? 1.0F : rstd[t * (H + G) + n]};
          float* row = sums.next_row();
          backward_head<kind>(dqkv + column, query ? row : row + E, dout, qkv + column, head);
        }
      }
      sums.flush();
    });
  });
  if (!normed) return;
  dweights.add_to(op.dq_weight_E.as<float>(), 0, E);
  dweights.add_to(op.dk_weight_E.as<float>(), E, E);
}

}  // namespace dualpath
