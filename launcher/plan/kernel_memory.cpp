#include "launcher/plan/kernel_memory.h"

#include <algorithm>

#include "core/cuda/libraries/workspaces.h"

namespace dualpath {

namespace {

// Bytes of the weights that products read, in the layer that has the most.
std::size_t largest_layer_bytes(const TrainerOptions& options, const ParallelLayout& layout) {
  std::size_t largest = 0;
  for (const StageLayers& piece : layout.part.stages) {
    for (std::int64_t l = piece.begin; l < piece.end; ++l) {
      ModelOptions one = model_options(options, layout);
      one.part.stages = {{.begin = l, .end = l + 1, .first = false, .last = false}};
      largest = std::max(largest, lay_out_parameters(options.model, one).operand_bytes());
    }
  }
  return largest;
}

// What is held through a layer's pass or the head's chunks: a weight in the form that forward
// products read and in that of backward ones, where both are made.
std::size_t packed_bytes(const TrainerOptions& options, const ParallelLayout& layout) {
  const std::size_t forms = options.parallel.recompute == Recompute::none ? 1 : 2;
  std::size_t bytes = forms * largest_layer_bytes(options, layout);
  if (layout.part.stages.back().last) {
    const std::int64_t cuts =
        layout.part.vocabulary == Cut::rows ? layout.part.place.shape.tensor : 1;
    const std::int64_t rows = (options.model.vocab_size + cuts - 1) / cuts;
    bytes += 2 * static_cast<std::size_t>(rows * options.model.hidden_size) *
             size_of(options.types.operand);
  }
  return bytes;
}

}  // namespace

std::vector<CategoryBytes> kernel_memory(const TrainerOptions& options,
                                         const ParallelLayout& layout, Processor processor) {
  const bool bf16 = options.types.operand == DType::bf16;
  std::vector<CategoryBytes> all;
  if (processor == Processor::cpu && bf16)
    all.push_back({"packed weights", packed_bytes(options, layout)});
  if (processor == Processor::gpu) {
    if (bf16) {
      const ModelConfig& model = options.model;
      all.push_back({"attention by cuDNN",
                     gpu::attention_workspace_bytes({options.micro_batch_size,
                                                     model.sequence_length, model.attention_heads,
                                                     model.kv_heads, model.head_size()})});
    }
    all.push_back({"products by cuBLASLt", gpu::product_workspace_bytes});
  }
  return all;
}

}  // namespace dualpath
