// The deep path: h⁰ = x, hᵏ = Φ(hᵏ⁻¹; s_k) with the same weights K times, and a router that mixes
// all iterations into one state: h_deep = Σ_{k<K} π_k·q_k·hᵏ + π_K·hᴷ   (arXiv 2605.30202).
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "model/sublayer.h"
#include "parallel/parallel_config.h"

namespace dualpath {

struct DeepStash {
  std::vector<Tensor> states;               // hᵏ [T, D], k = 1..K
  std::vector<SublayerStash> applications;  // of each iteration; not kept with recomputation
  Tensor weight_KT;                         // of each iteration in the mixture
  Tensor q_KT;                              // router outputs; empty without a router
};

// The attention output that deep iteration 1 shares with the wide path; absent by default.
struct SharedAttention {
  Tensor y_TD;
  Tensor dy_TD;  // += in the backward pass
};

class DeepPath {
 public:
  // Declares "PREFIX.deep.…" and "PREFIX.router.…".
  DeepPath(ParameterStore& store, const std::string& prefix, const ModelConfig& config,
           double output_std, const Attention* shared);

  // `recompute` none keeps every application, otherwise only the states.
  void allocate_stash(const Context& ctx, Arena& arena, Recompute recompute,
                      DeepStash& stash) const;

  // A pass goes through its iterations in one or several runs, between which its caller may do
  // other work. Its tensors lie in scratch that the caller's frame holds.
  struct Forward {
    Tensor x_TD;
    Tensor h_deep_TD;  // = Σ over the iterations run so far
    SharedAttention shared;
    Tensor remaining_T;
  };
  Forward begin_forward(const Context& ctx, Tensor x_TD, Tensor h_deep_TD,
                        const SharedAttention& shared) const;
  // Iterations [begin, end).
  void run(const Context& ctx, DeepStash& stash, const Forward& pass, std::int64_t begin,
           std::int64_t end) const;

  struct Backward {
    Tensor x_TD;
    Tensor dh_deep_TD;
    Tensor dx_TD;  // += ∂L/∂x
    SharedAttention shared;
    Tensor dlogit_KT = {};
    Tensor d_TD = {};  // ∂L/∂hᵏ before and ∂L/∂(input of iteration k) after each turn
  };
  // Fills dlogit and d of the pass. ponder_scale: weight of Σ_t E_t in the loss.
  Backward begin_backward(const Context& ctx, const DeepStash& stash, Backward pass,
                          double ponder_scale) const;
  // Iterations end-1 down to begin; with iteration 0, dx is complete.
  void run_backward(const Context& ctx, DeepStash& stash, const Backward& pass, std::int64_t begin,
                    std::int64_t end) const;

  // An intervention at evaluation: passes run so many iterations. Beyond those of training the last
  // gain (and norm) is used again and the router's step feature stays 1; with fewer the mixture's
  // mass that is left goes to the last iteration that runs.
  void force_iterations(std::int64_t iterations) { iterations_ = iterations; }
  std::int64_t iterations() const { return iterations_; }
  bool has_router() const { return static_cast<bool>(router_weight_); }

 private:
  // Whether iteration k takes its attention output from the wide path's attention.
  bool shares(std::int64_t k) const { return shared_attention_ && k == 0; }
  LoopStep step(std::int64_t k) const { return {combine_, k, iterations_, trained_iterations_}; }
  // The iteration of training whose gain and norm iteration k has.
  std::int64_t trained(std::int64_t k) const { return std::min(k, trained_iterations_ - 1); }
  Tensor input(const Context& ctx, const DeepStash& stash, Tensor x_TD, std::int64_t k) const;
  void apply(const Context& ctx, SublayerStash& kept, Tensor input_TD, Tensor out_TD,
             const SharedAttention& shared, std::int64_t k) const;
  void backward_application(const Context& ctx, SublayerStash& kept, Tensor input_TD, Tensor d_TD,
                            const SharedAttention& shared, std::int64_t k) const;
  Tensor mixture_backward(const Context& ctx, const DeepStash& stash, Tensor dh_deep_TD,
                          double ponder_scale) const;

  std::int64_t iterations_;
  std::int64_t trained_iterations_;
  std::int64_t width_;
  LoopCombine combine_;
  bool input_injection_;
  bool shared_attention_;
  Sublayer sublayer_;
  Parameter router_weight_;
  Parameter router_bias_;
};

}  // namespace dualpath
