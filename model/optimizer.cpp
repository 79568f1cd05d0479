#include "model/optimizer.h"

#include <algorithm>
#include <cmath>

namespace dualpath {

AdamW::AdamW(const OptimizerConfig& config, const ParameterStore& parameters, Device& device,
             Stream& stream)
    : config_(config),
      dtype_(parameters.types().master),
      flat_size_(parameters.flat_size()),
      ranges_(parameters.ranges()),
      m_(device.allocate(static_cast<std::size_t>(flat_size_) * size_of(dtype_))),
      v_(device.allocate(static_cast<std::size_t>(flat_size_) * size_of(dtype_))),
      ops_(device.make_ops(stream)) {}

void AdamW::sum_of_gradient_squares(Tensor out, const ParameterStore& parameters) {
  ops_->fill(out, 0);
  ops_->sum_of_squares(out, parameters.flat_gradients());
}

void AdamW::update(const ParameterStore& parameters, std::int64_t step, double learning_rate,
                   double gradient_scale) {
  const double b1 = config_.betas[0];
  const double b2 = config_.betas[1];
  const auto t = static_cast<double>(step);
  for (const ParameterRange& range : ranges_) {
    const auto part = [&](Tensor flat) { return flat.slice(range.begin, range.end); };
    ops_->adamw(part(parameters.flat_values()), part(first_moment()), part(second_moment()),
                range.operand, part(parameters.flat_gradients()),
                {.learning_rate = learning_rate,
                 .beta1 = b1,
                 .beta2 = b2,
                 .epsilon = config_.eps,
                 .weight_decay = range.decay ? config_.weight_decay : 0,
                 .correction1 = 1 - std::pow(b1, t),
                 .correction2 = 1 - std::pow(b2, t),
                 .gradient_scale = gradient_scale});
  }
}

double clip_scale(double gradient_norm, double clip) {
  return clip > 0 && gradient_norm > clip ? clip / gradient_norm : 1;
}

void validate(const OptimizerConfig& config, ConfigProblems& problems) {
  const auto below_one = [](double beta) { return beta < 1; };
  if (config.betas.size() != 2 ||
      !std::all_of(config.betas.begin(), config.betas.end(), below_one)) {
    problems.add("optimizer.betas", "needs two values, each at least 0 and below 1");
  }
  if (config.eps == 0) {
    problems.add("optimizer.eps", "must be above 0: a parameter without gradient would become 0/0");
  }
  if (config.min_lr > config.lr) {
    problems.add("optimizer.min_lr", fmt::format("{} is above the peak rate optimizer.lr = {}",
                                                 config.min_lr, config.lr));
  }
}

}  // namespace dualpath
