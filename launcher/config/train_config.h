// The section `train`: length, batch and numerics of a run.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/base/tensor.h"
#include "core/config/config.h"
#include "launcher/config/device_options.h"
#include "model/config.h"

namespace dualpath {

enum class Precision { fp32, bf16 };

template <>
struct EnumNames<Precision> {
  static constexpr std::pair<Precision, const char*> values[] = {{Precision::fp32, "fp32"},
                                                                 {Precision::bf16, "bf16"}};
};

struct TrainConfig {
  std::int64_t steps = 0;  // of steps, tokens and flops, exactly one is given
  std::int64_t tokens = 0;
  double flops = 0;
  std::int64_t global_batch_size = 8;
  std::int64_t micro_batch_size = 0;  // 0: choose_micro_batch() (micro_batch.h)
  std::int64_t seed = 1;
  DeviceChoice device = DeviceChoice::automatic;
  CudaGraphs cuda_graphs = CudaGraphs::automatic;
  Precision precision = Precision::fp32;
  Precision residual_precision = Precision::fp32;
  std::string init_from;
  std::vector<std::string> init_changes;
  bool save_hf = false;
  std::int64_t validation_every_steps = 0;
  std::int64_t validation_sequences = 64;
  std::int64_t loss_chunk_tokens = default_loss_chunk_tokens;
  std::int64_t threads = 0;
  RegularizerConfig regularizers;
};

// Length of the run and batches.
template <class Visitor>
void visit_length(Visitor& visit, TrainConfig& c) {
  visit.field("steps", c.steps,
              {.help = "length of the run in steps; give one of steps, tokens and flops",
               .unit = "steps",
               .min = 0,
               .max = bounds::steps,
               .synonyms = "max_iters train_iters max_steps num_steps total_steps iterations "
                           "train_steps num_train_steps"});
  visit.field("tokens", c.tokens,
              {.help = "length of the run in tokens, rounded up to whole steps",
               .unit = "tokens",
               .min = 0,
               .max = bounds::tokens,
               .synonyms = "train_tokens max_tokens total_tokens num_tokens"});
  visit.field("flops", c.flops,
              {.help = "length of the run in training FLOPs, rounded up to whole steps",
               .unit = "FLOPs",
               .min = 0,
               .max = bounds::flops});
  visit.field("global_batch_size", c.global_batch_size,
              {.help = "sequences of one step, all ranks together",
               .unit = "sequences",
               .min = 1,
               .max = bounds::batch,
               .synonyms = "batch_size train_batch_size total_batch_size"});
  visit.field("micro_batch_size", c.micro_batch_size,
              {.help = "sequences of one pass of a rank; a step's micro-batches accumulate their "
                       "gradients. auto: by model and layout, for speed in bounded memory; the log "
                       "and `dualpath plan` tell it. Lower it where memory is short",
               .unit = "sequences",
               .min = 1,
               .max = bounds::batch,
               .synonyms = "batch_size per_device_train_batch_size device_batch_size "
                           "train_micro_batch_size_per_gpu",
               .zero_word = "auto"});
}

template <class Visitor>
void visit_fields(Visitor& visit, TrainConfig& c) {
  visit_length(visit, c);
  visit.field("seed", c.seed,
              {.help = "seed of initial weights and of the order of samples",
               .min = 0,
               .max = bounds::seed});
  visit.field("device", c.device,
              {.help = "where a rank computes; auto: on a GPU if there is one. Ranks of a host "
                       "take its GPUs in turn"});
  visit.field("cuda_graphs", c.cuda_graphs,
              {.help = "run passes without communication as CUDA graphs; auto: where that is "
                       "possible; off: launch every kernel"});
  visit.field("precision", c.precision,
              {.help = "type of what matrix products and attention read; weights, sums, gradients "
                       "and optimizer state are always fp32",
               .synonyms = "dtype bf16 fp16 fp32 torch_dtype params_dtype mixed_precision"});
  visit.field(
      "residual_precision", c.residual_precision,
      {.help = "type of the residual stream; bf16 needs precision bf16 and loses small gains"});
  visit.field("init_from", c.init_from,
              {.help = "start a new run from the weights of this checkpoint, or of the newest one "
                       "in this run folder; empty: random weights",
               .synonyms = "load pretrained model_name_or_path pretrained_checkpoint"});
  visit.field("init_changes", c.init_changes,
              {.help = "fields of the model, such as model.rope_theta, that may differ from the "
                       "one of init_from, although its weights then make another function"});
  visit.field("save_hf", c.save_hf,
              {.help = "export the finished run's weights for Hugging Face's transformers, to "
                       "hf/step-N in the run folder"});
  visit.field("validation_every_steps", c.validation_every_steps,
              {.help = "steps from one validation to the next; 0: no validation",
               .unit = "steps",
               .min = 0,
               .max = bounds::steps,
               .synonyms = "eval_interval eval_steps eval_every val_interval"});
  visit.field("validation_sequences", c.validation_sequences,
              {.help = "held-out sequences that a validation reads",
               .unit = "sequences",
               .min = 1,
               .max = bounds::tokens});
  visit.field("loss_chunk_tokens", c.loss_chunk_tokens,
              {.help = "tokens whose logits exist at once; fewer take less memory and more time",
               .unit = "tokens",
               .min = 1,
               .max = bounds::vocabulary});
  visit.field("threads", c.threads,
              {.help = "CPU threads of a rank; 0: the cores of the host, shared among its ranks",
               .unit = "threads",
               .min = 0,
               .max = bounds::threads,
               .synonyms = "num_threads omp_num_threads"});
  visit.section("regularizers", c.regularizers, "weights of optional loss terms");
}

// The types of the model's numbers. REQUIRES: bf16 residuals only beside bf16 operands.
NumericTypes numeric_types(Precision precision, Precision residual_precision);

}  // namespace dualpath
