// Embedding, norms and sums: the launches of row_kernels.h.
#pragma once

#include "core/cuda/launching_ops.h"
#include "core/cuda/row_kernels.h"

namespace dualpath::gpu {

template <class Base>
class RowOps : public Base {
 public:
  using Base::Base;

  void embedding(Tensor out_TD, Tensor ids_T, Tensor table_VD, VocabularyRows rows) override {
    check_embedding(out_TD, ids_T, table_VD, rows);
    with_type(out_TD, [&]<class S>() {
      this->launch_rows(out_TD.rows(), out_TD.cols(),
                        Embedding<S>{out_TD.as<S>(), ids_T.as<std::int32_t>(), table_VD.as<float>(),
                                     rows, table_VD.rows(), out_TD.cols()});
    });
  }
  void embedding_backward(Tensor grad_VD, Tensor ids_T, Tensor dout_TD,
                          VocabularyRows rows) override {
    check_embedding_backward(grad_VD, ids_T, dout_TD, rows);
    with_type(dout_TD, [&]<class S>() {
      this->launch(
          dout_TD.rows(), block_threads, block_threads / warp_size * sizeof(std::uint32_t),
          EmbeddingBackward<S>{grad_VD.as<float>(), ids_T.as<std::int32_t>(), dout_TD.as<S>(), rows,
                               grad_VD.rows(), dout_TD.rows(), dout_TD.cols()});
    });
  }
  void rms_norm(Tensor out_TD, Tensor rstd_T, Tensor x_TD, Tensor weight_D,
                double epsilon) override {
    check_rms_norm(out_TD, rstd_T, x_TD, weight_D);
    launch_norm({}, out_TD, rstd_T, x_TD, {}, {}, weight_D, epsilon);
  }
  void residual_rms_norm(Tensor out_TD, Tensor normed_TD, Tensor rstd_T, Tensor x_TD, Tensor y_TD,
                         Tensor gain, Tensor weight_D, double epsilon) override {
    check_residual_rms_norm(out_TD, normed_TD, rstd_T, x_TD, y_TD, gain, weight_D);
    launch_norm(out_TD, normed_TD, rstd_T, x_TD, y_TD, gain, weight_D, epsilon);
  }
  void rms_norm_backward(Tensor dx_TD, Tensor dweight_D, Tensor dout_TD, Tensor x_TD,
                         Tensor weight_D, Tensor rstd_T) override {
    check_rms_norm_backward(dx_TD, dweight_D, dout_TD, x_TD, weight_D, rstd_T);
    const std::int64_t tokens = x_TD.rows(), width = x_TD.cols();
    const std::int64_t blocks = this->summing_blocks(tokens);
    float* partial = this->partial_floats(blocks, width);
    with_types(x_TD, dout_TD, [&]<class S, class O>() {
      with_packs(takes_packs(width, {dx_TD, dout_TD, x_TD, weight_D}), [&]<int N>() {
        this->launch(
            blocks, row_threads(width, N), static_cast<std::size_t>(width) * sizeof(float),
            RmsNormBackward<S, O, N>{dx_TD.as<S>(), partial, dout_TD.as<O>(), x_TD.as<S>(),
                                     weight_D.as<float>(), rstd_T.as<float>(), tokens, width});
      });
    });
    this->add_columns(dweight_D.as<float>(), partial, blocks, width);
  }
  void residual_gain_backward(Tensor dgain, Tensor da, Tensor a, Tensor gain) override {
    check_residual_gain_backward(dgain, da, a, gain);
    const auto [sums, blocks] = partial_dot(da, a);
    this->launch(1, warp_size, 0, GainTotal{dgain.as<float>(), sums, gain.as<float>(), blocks});
  }
  void row_dot(Tensor out_T, Tensor a_TD, Tensor b_TD) override {
    check_row_dot(out_T, a_TD, b_TD);
    with_type(a_TD, [&]<class S>() {
      this->launch_rows(a_TD.rows(), a_TD.cols(),
                        RowDot<S>{out_T.as<float>(), a_TD.as<S>(), b_TD.as<S>(), a_TD.cols()});
    });
  }
  void column_sums(Tensor out_C, Tensor in_TC) override {
    check_column_sums(out_C, in_TC);
    this->launch(out_C.numel(), block_threads, 0,
                 ColumnSums{out_C.as<double>(), in_TC.as<float>(), in_TC.rows(), out_C.numel()});
  }
  void sum_of_squares(Tensor out, Tensor x_N) override {
    check_sum_of_squares(out, x_N);
    const auto [sums, blocks] = partial_dot(x_N, x_N);
    this->add_columns(out.as<double>(), sums, blocks, 1);
  }

 private:
  void launch_norm(Tensor sum_TD, Tensor out_TD, Tensor rstd_T, Tensor x_TD, Tensor y_TD,
                   Tensor gain, Tensor weight_D, double epsilon) {
    const std::int64_t width = x_TD.cols();
    with_types(x_TD, out_TD, [&]<class S, class O>() {
      with_packs(takes_packs(width, {sum_TD, out_TD, x_TD, y_TD, weight_D}), [&]<int N>() {
        this->launch(x_TD.rows(), row_threads(width, N), 0,
                     RmsNorm<S, O, N>{optional<S>(sum_TD), out_TD.as<O>(), rstd_T.as<float>(),
                                      x_TD.as<S>(), optional<O>(y_TD), optional<float>(gain),
                                      weight_D.as<float>(), width, epsilon});
      });
    });
  }
  struct Partials {
    double* sums;  // [blocks]
    std::int64_t blocks;
  };
  // Σ a·b
  Partials partial_dot(Tensor a, Tensor b) {
    const std::int64_t blocks = std::min<std::int64_t>(
        (a.numel() + block_threads - 1) / block_threads, 2 * this->launcher_.full_grid());
    double* const sums = this->partial_doubles(blocks, 1);
    with_type(a, [&]<class T>() {
      this->launch(blocks, block_threads, 0,
                   PartialDot<T, T>{sums, a.as<T>(), b.as<T>(), a.numel()});
    });
    return {sums, blocks};
  }
};

}  // namespace dualpath::gpu
