// AdamW and its learning-rate schedule; the defaults are the paper's recipe, scaled down in LR
// steps.
#pragma once

#include <cstdint>
#include <vector>

#include "core/config/field.h"

namespace dualpath {

enum class LrSchedule { cosine, wsd, linear, constant };

template <>
struct EnumNames<LrSchedule> {
  static constexpr std::pair<LrSchedule, const char*> values[] = {
      {LrSchedule::cosine, "cosine"},
      {LrSchedule::wsd, "wsd"},
      {LrSchedule::linear, "linear"},
      {LrSchedule::constant, "constant"}};
};

struct OptimizerConfig {
  double lr = 5e-4;
  double start_lr = 0;  // at step 0 of the warm-up
  double min_lr = 5e-5;
  std::int64_t warmup_steps = 100;
  LrSchedule schedule = LrSchedule::cosine;
  double decay_fraction = 0.2;  // wsd
  std::vector<double> betas = {0.9, 0.95};
  double eps = 1e-8;
  double weight_decay = 0.3;
  double clip_grad = 1.0;  // 0: off
};

template <class Visitor>
void visit_fields(Visitor& visit, OptimizerConfig& c) {
  visit.field("lr", c.lr,
              {.help = "peak learning rate",
               .min = 0,
               .max = bounds::single,
               .synonyms = "learning_rate max_lr peak_lr base_lr"});
  visit.field("start_lr", c.start_lr,
              {.help = "learning rate at the start of the warm-up",
               .min = 0,
               .max = bounds::single,
               .synonyms = "lr_warmup_init warmup_init_lr"});
  visit.field("min_lr", c.min_lr,
              {.help = "learning rate at the end of the schedule",
               .min = 0,
               .max = bounds::single,
               .synonyms = "learning_rate_min lr_min end_lr min_learning_rate"});
  visit.field("warmup_steps", c.warmup_steps,
              {.help = "steps from start_lr up to lr",
               .unit = "steps",
               .min = 0,
               .max = bounds::steps,
               .synonyms = "warmup_iters lr_warmup_iters num_warmup_steps warmup lr_warmup_steps"});
  visit.field("schedule", c.schedule,
              {.help = "how the learning rate falls from lr to min_lr",
               .synonyms = "lr_decay_style lr_scheduler_type lr_scheduler scheduler lr_schedule"});
  visit.field("decay_fraction", c.decay_fraction,
              {.help = "wsd only: the last part of all steps, in which the learning rate falls",
               .min = 0,
               .max = 1,
               .synonyms = "decay_frac"});
  visit.field("betas", c.betas,
              {.help = "decay rates of the two moments",
               .min = 0,
               .max = 1,
               .synonyms = "beta1 beta2 adam_beta1 adam_beta2 adam_betas"});
  visit.field("eps", c.eps,
              {.help = "added to the root of the second moment",
               .min = 1e-30,
               .max = 1,
               .synonyms = "adam_eps adam_epsilon epsilon"});
  visit.field("weight_decay", c.weight_decay,
              {.help = "decoupled weight decay", .min = 0, .max = 1e4, .synonyms = "wd"});
  visit.field(
      "clip_grad", c.clip_grad,
      {.help = "clip the global gradient norm to this; 0: no clipping",
       .min = 0,
       .max = bounds::single,
       .synonyms =
           "grad_clip max_grad_norm gradient_clip_val gradient_clipping grad_norm_clip clip"});
}

void validate(const OptimizerConfig& config, ConfigProblems& problems);

}  // namespace dualpath
