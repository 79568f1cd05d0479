#include "model/optimizer.h"

#include <algorithm>
#include <cmath>

namespace dualpath {

AdamW::AdamW(const OptimizerConfig& config, const ParameterStore& parameters, bool sharded,
             Device& device, Stream& stream)
    : config_(config),
      sharded_(sharded),
      dtype_(parameters.types().master),
      ops_(device.make_ops(stream)) {
  for (const ParameterRegion& region : parameters.regions()) {
    parts_.push_back({own(region), size_, parameters.ranges(own(region))});
    size_ += own(region).size();
  }
  const std::size_t bytes = static_cast<std::size_t>(size_) * size_of(dtype_);
  m_ = device.allocate(bytes);
  v_ = device.allocate(bytes);
}

Tensor AdamW::moment(const Buffer& buffer, std::size_t region, Interval interval) const {
  const Part& part = parts_[region];
  const std::int64_t begin = part.offset + interval.begin - part.own.begin;
  return Tensor{buffer.data(), dtype_, {size_}}.slice(begin, begin + interval.size());
}

void AdamW::add_gradient_squares(Tensor out, const ParameterStore& parameters) {
  const Tensor gradients = parameters.flat_gradients();
  for (const ParameterRegion& region : parameters.regions())
    ops_->run(
        op::SumOfSquares{.out = out, .x_N = gradients.slice(region.shard.begin, region.shard.end)});
}

void AdamW::update(const ParameterStore& parameters, std::size_t region, std::int64_t step,
                   double learning_rate, double gradient_scale) {
  const double b1 = config_.betas[0];
  const double b2 = config_.betas[1];
  const auto t = static_cast<double>(step);
  for (const ParameterRange& range : parts_[region].ranges) {
    const auto [begin, end] = range.interval;
    ops_->run(
        op::AdamW{.value_N = parameters.values_of(parameters.regions()[region], range.interval),
                  .m_N = first_moment(region, range.interval),
                  .v_N = second_moment(region, range.interval),
                  .operand_N = parameters.operands_of(parameters.regions()[region], range.interval),
                  .gradient_N = parameters.flat_gradients().slice(begin, end),
                  .step = {.learning_rate = learning_rate,
                           .beta1 = b1,
                           .beta2 = b2,
                           .epsilon = config_.eps,
                           .weight_decay = range.decay ? config_.weight_decay : 0,
                           .correction1 = 1 - std::pow(b1, t),
                           .correction2 = 1 - std::pow(b2, t),
                           .gradient_scale = gradient_scale}});
  }
}

void AdamW::update(const ParameterStore& parameters, std::int64_t step, double learning_rate,
                   double gradient_scale) {
  for (std::size_t region = 0; region < parts_.size(); ++region)
    update(parameters, region, step, learning_rate, gradient_scale);
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
  if (config.start_lr > config.lr) {
    problems.add("optimizer.start_lr", fmt::format("{} is above the peak rate optimizer.lr = {}",
                                                   config.start_lr, config.lr));
  }
  if (config.schedule == LrSchedule::wsd && config.decay_fraction == 0) {
    problems.add("optimizer.decay_fraction",
                 "0 leaves no step in which the rate falls: that is optimizer.schedule=constant");
  }
}

}  // namespace dualpath
