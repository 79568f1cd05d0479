#include "model/activation_memory.h"

#include <algorithm>

#include "core/ops/dry_ops.h"
#include "model/model_layout.h"

namespace dualpath {

namespace {

void add_categories(std::vector<CategoryBytes>& sums, const std::vector<CategoryBytes>& more,
                    std::int64_t times) {
  for (CategoryBytes c : more) {
    c.bytes *= static_cast<std::size_t>(times);
    const auto it = std::ranges::find(sums, c.category, &CategoryBytes::category);
    if (it == sums.end()) {
      sums.push_back(c);
    } else {
      it->bytes += c.bytes;
    }
  }
  std::ranges::stable_sort(sums, std::greater<>(), &CategoryBytes::bytes);
}

}  // namespace

ParameterStore lay_out_parameters(const ResolvedModelConfig& config, const ModelOptions& options) {
  ParameterStore parameters(options.part.place);
  make_stages(config, options, parameters);
  parameters.set_options(store_options(options));
  return parameters;
}

ActivationMemory measure_activations(const ResolvedModelConfig& config,
                                     const ModelOptions& options) {
  DryOps ops;
  return measure_activations(config, options, ops, [&] { return ops.flops(); });
}

ActivationMemory measure_activations(const ResolvedModelConfig& config, const ModelOptions& options,
                                     Ops& ops, const std::function<double()>& spent) {
  ParameterStore parameters(options.part.place);
  std::deque<Stage> stages = make_stages(config, options, parameters);
  parameters.set_options(store_options(options));
  const GridPlace& place = options.part.place;
  TensorAxis tensor(coord_of(place.rank, place.shape).tensor, place.shape.tensor);
  DryOps unseen;
  Arena scratch, constants_arena;
  const ModelTensors tensors = lay_out_tensors(config, options, constants_arena);
  ActivationMemory memory;
  for (std::size_t i = 0; i < stages.size(); ++i) {
    Stage& stage = stages[i];
    Arena stash;
    DeferredWeights deferred;
    const int deferred_slots = options.part.deferred_slots_of(i);
    const auto context = [&](Ops& kernels) {
      return Context{kernels,
                     parameters,
                     stash,
                     scratch,
                     tensors.rope,
                     attention_shape(config, options.micro_batch_size, config.sequence_length),
                     tensors.readouts(),
                     tensor,
                     deferred_slots > 0 ? &deferred : nullptr};
    };
    const Context ctx = context(ops);
    const Tensor x_TD{nullptr, options.types.stream, {ctx.tokens(), config.hidden_size}};
    if (options.training) {
      memory.passes.push_back(issue_training_passes(stage, ctx, tensors, x_TD, spent));
    }
    {
      const ArenaFrame frame(scratch);
      infer_with_loss(stage, context(unseen), tensors.loss_T,
                      scratch.allocate(x_TD.dtype, x_TD.shape, "residual stream"), tensors.ids(),
                      tensors.ids());
    }
    const int slots = options.part.slots_of(i);
    memory.slot_bytes.push_back(stash.peak_bytes());
    memory.deferred_bytes.push_back(deferred.arena.peak_bytes());
    memory.stash_bytes += stash.peak_bytes() * static_cast<std::size_t>(slots) +
                          deferred.arena.peak_bytes() * static_cast<std::size_t>(deferred_slots);
    add_categories(memory.stash, stash.peak_by_category(), slots);
    add_categories(memory.stash, deferred.arena.peak_by_category(), deferred_slots);
  }
  memory.constant_bytes = constants_arena.peak_bytes();
  memory.scratch_bytes = scratch.peak_bytes();
  memory.scratch = scratch.peak_by_category();
  return memory;
}

}  // namespace dualpath
