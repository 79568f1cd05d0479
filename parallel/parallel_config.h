// How a job is laid out over ranks, and what is recomputed instead of kept.
#pragma once

#include <cstdint>
#include <vector>

#include "core/config/field.h"
#include "parallel/pipeline_order.h"

namespace dualpath {

// What a layer keeps for its backward pass: everything; the input of every sublayer application
// (an extra iteration then costs one [tokens, d] tensor); or the layer's input alone.
enum class Recompute { none, iteration, layer };

template <>
struct EnumNames<Recompute> {
  static constexpr std::pair<Recompute, const char*> values[] = {
      {Recompute::none, "none"}, {Recompute::iteration, "iteration"}, {Recompute::layer, "layer"}};
};

// Whether ranks that hold the same weights share their master weights, moments and updates.
enum class Zero { off, on };

template <>
struct EnumNames<Zero> {
  static constexpr std::pair<Zero, const char*> values[] = {{Zero::off, "0"}, {Zero::on, "1"}};
};

// What sends tensors between GPUs: MPI, through host memory, or NCCL, which needs a GPU of its own
// for each rank.
enum class CommunicationBackend { automatic, mpi, nccl };

template <>
struct EnumNames<CommunicationBackend> {
  static constexpr std::pair<CommunicationBackend, const char*> values[] = {
      {CommunicationBackend::automatic, "auto"},
      {CommunicationBackend::mpi, "mpi"},
      {CommunicationBackend::nccl, "nccl"}};
};

// Whether communication goes on beside computation, on a stream of its own.
enum class Overlap { automatic, on, off };

template <>
struct EnumNames<Overlap> {
  static constexpr std::pair<Overlap, const char*> values[] = {
      {Overlap::automatic, "auto"}, {Overlap::on, "on"}, {Overlap::off, "off"}};
};

// Whether all ranks of the tensor axis hold embedding and head whole, or some of their rows each.
enum class VocabularyLayout { replicated, sharded };

template <>
struct EnumNames<VocabularyLayout> {
  static constexpr std::pair<VocabularyLayout, const char*> values[] = {
      {VocabularyLayout::replicated, "replicated"}, {VocabularyLayout::sharded, "sharded"}};
};

struct ParallelConfig {
  std::int64_t tensor = 1;
  std::int64_t pipeline = 1;
  std::int64_t data = 0;  // 0: what tensor and pipeline leave of the ranks
  std::int64_t virtual_pipeline = 1;
  Schedule schedule = Schedule::one_f_one_b;
  std::vector<std::int64_t> stage_layers;
  VocabularyLayout vocab = VocabularyLayout::replicated;
  Zero zero = Zero::on;
  Recompute recompute = Recompute::none;
  CommunicationBackend backend = CommunicationBackend::automatic;
  Overlap overlap = Overlap::automatic;
};

template <class Visitor>
void visit_fields(Visitor& visit, ParallelConfig& c) {
  visit.field(
      "tensor", c.tensor,
      {.help = "ranks that share the wide FFN: each has a part of its hidden units, and sequences "
               "of its own. Raise it where the wide FFN does not fit one rank",
       .min = 1,
       .max = bounds::ranks,
       .synonyms = "tensor_model_parallel_size tensor_parallel_size tp tp_size tensor_parallel"});
  visit.field(
      "pipeline", c.pipeline,
      {.help = "pipeline stages, each with some of the layers. Raise it where the layers do not "
               "fit one rank",
       .min = 1,
       .max = bounds::ranks,
       .synonyms =
           "pipeline_model_parallel_size pipeline_parallel_size pp pp_size pipeline_parallel"});
  visit.field("data", c.data,
              {.help = "ranks that hold the same weights and read different sequences; 0: all that "
                       "tensor and pipeline leave",
               .min = 0,
               .max = bounds::ranks,
               .synonyms = "data_parallel_size dp dp_size data_parallel"});
  visit.field("virtual_pipeline", c.virtual_pipeline,
              {.help = "pieces of the model a stage has (interleaved schedule); more make the "
                       "bubble smaller and the messages more",
               .min = 1,
               .max = bounds::layers,
               .synonyms = "virtual_pipeline_model_parallel_size"});
  visit.field("schedule", c.schedule,
              {.help = "order of the micro-batches in a stage; 1f1b is interleaved where "
                       "virtual_pipeline > 1"});
  visit.field("stage_layers", c.stage_layers,
              {.help = "layers of each piece, in order; empty: balanced by FLOPs",
               .min = 1,
               .max = bounds::layers});
  visit.field("vocab", c.vocab,
              {.help = "embedding and head: replicated on the tensor ranks, or sharded by rows "
                       "among them. sharded saves memory with large vocabularies"});
  visit.field("zero", c.zero,
              {.help = "1: ZeRO-1, ranks that hold the same weights share optimizer state and "
                       "update; 0: each has all of it",
               .synonyms = "use_distributed_optimizer zero_stage zero_optimization"});
  visit.field("recompute", c.recompute,
              {.help = "what the backward pass recomputes instead of keeping it: nothing, each "
                       "iteration, or the whole layer. Saves activation memory, costs FLOPs",
               .synonyms = "recompute_granularity recompute_activations gradient_checkpointing "
                           "activation_checkpointing"});
  visit.field("backend", c.backend,
              {.help = "what sends tensors between ranks; auto: nccl where every rank has a GPU of "
                       "its own, else mpi",
               .synonyms = "distributed_backend ddp_backend"});
  visit.field("overlap", c.overlap,
              {.help = "communication on a stream of its own, beside the kernels; auto: with NCCL, "
                       "and where threads leave a core free for it",
               .synonyms = "overlap_grad_reduce overlap_param_gather"});
}

}  // namespace dualpath
