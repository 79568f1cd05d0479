#include "tests/mpi/grid_rig.h"

#include <cmath>
#include <cstdlib>
#include <fmt/format.h>
#include <sstream>

#include "core/base/random.h"
#include "core/cpu/cpu_device.h"
#include "model/parameter_slices.h"
#include "model/resolve_config.h"
#include "tests/reference_ops/reference_device.h"

namespace dualpath {

TrainerOptions grid_options(Architecture architecture, const NumericTypes& types,
                            const ParallelConfig& parallel, std::int64_t micro_batch) {
  ModelConfig model;
  model.architecture = {architecture};
  model.layers = 8;
  model.hidden_size = 8;
  model.attention_heads = 2;
  model.sequence_length = grid_tokens;
  model.vocab_size = 31;
  model.deep.iterations = 3;
  model.deep.ffn_hidden_size = 6;
  model.wide.ffn_hidden_size = 13;  // no rank's part is like another's
  model.deep.gain_init = model.wide.gain_init = 0.5;
  model.init_std = 0.2;
  TrainerOptions o{.model = resolve(model)};
  o.optimizer.lr = 1e-2;
  o.optimizer.warmup_steps = 5;
  o.regularizers = {.ponder = 0.01, .gate_entropy = 0.01, .gate_balance = 0.1};
  o.types = types;
  o.parallel = parallel;
  o.global_batch_size = grid_batch;
  o.micro_batch_size = micro_batch;
  o.loss_chunk_tokens = 7;
  o.total_steps = 20;
  return o;
}

GridRig::GridRig(const TrainerOptions& options, Communicator& ranks)
    : GridRig(options, ranks,
              options.types.master == DType::f64 ? std::make_unique<ReferenceDevice>()
                                                 : make_cpu_device(1)) {}

GridRig::GridRig(const TrainerOptions& options, Communicator& ranks, std::unique_ptr<Device> on)
    : device(std::move(on)),
      stream(device->make_stream()),
      source(9, static_cast<std::uint64_t>(options.model.vocab_size),
             options.model.sequence_length),
      trainer(options, *device, *stream, ranks) {
  trainer.initialize();
}

History GridRig::train(std::int64_t steps) {
  trainer.start(source, {});
  return go_on(steps);
}

History GridRig::go_on(std::int64_t steps) {
  History history;
  for (std::int64_t i = 0; i < steps; ++i) {
    const StepResult result = trainer.step({});
    history.losses.push_back(result.loss);
    history.norms.push_back(result.grad_norm);
    history.readouts.insert(history.readouts.end(), result.readouts.begin(), result.readouts.end());
  }
  return history;
}

GlobalTensors assemble(const std::vector<TensorSlice>& own, Communicator& ranks,
                       const SliceAccess& memory) {
  // A line a slice: name, numel, begin, then its numbers in hexadecimal.
  std::string message;
  for (const TensorSlice& slice : own) {
    message += fmt::format("{} {} {} {}", slice.name, slice.global_shape.numel(), slice.begin,
                           slice.end - slice.begin);
    memory.read(slice, [&](std::int64_t, std::int64_t count, const void* elements) {
      for (std::int64_t i = 0; i < count; ++i) {
        const double value = slice.dtype == DType::f64 ? static_cast<const double*>(elements)[i]
                                                       : static_cast<const float*>(elements)[i];
        message += fmt::format(" {:a}", value);
      }
    });
    message += '\n';
  }
  GlobalTensors tensors;
  for (const std::string& of_rank : ranks.all_gather(message)) {
    std::istringstream lines(of_rank);
    std::string name;
    std::size_t numel = 0, begin = 0, count = 0;
    while (lines >> name >> numel >> begin >> count) {
      std::vector<double>& values = tensors[name];
      values.resize(numel, NAN);
      for (std::size_t i = 0; i < count; ++i) {
        std::string word;
        lines >> word;
        CHECK(std::isnan(values[begin + i]), "{} is owned twice at {}", name, begin + i);
        values[begin + i] = std::strtod(word.c_str(), nullptr);
      }
    }
  }
  return tensors;
}

FirstStep first_step(GridRig& rig, Communicator& ranks) {
  FirstStep result;
  result.loss = rig.train(1).losses[0];
  result.gradient = assemble(owned_gradients(rig.trainer.model().parameters()), ranks,
                             SliceAccess(*rig.device, *rig.stream));
  return result;
}

double distance(const GlobalTensors& a, const GlobalTensors& b) {
  double squares = 0;
  for (const auto& [name, values] : a) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      const double difference = values[i] - b.at(name)[i];
      squares += difference * difference;
    }
  }
  return std::sqrt(squares);
}

// A matrix product of inner length n computed in precision ε is the exact product with weights
// changed by at most γ_n ≈ n·ε relatively (Higham, Accuracy and Stability, §3.5), n the longest
// reduction: the tokens of the batch. In bf16, sums are in fp32, but a number is rounded to 2⁻⁸ at
// most four times between one product and the next. So two orders of summation differ by at most
// what two such changes of all weights do; what a relative change does is measured in fp64.
RoundingBound rounding_bound(const NumericTypes& types, Architecture architecture) {
  constexpr double probe = 0x1p-30;
  constexpr double n = grid_batch * grid_tokens;
  const double rounding = n * 0x1p-24 + (types.operand == DType::bf16 ? 4 * 0x1p-8 : 0);
  const TrainerOptions options = grid_options(architecture, fp64, {}, grid_batch);
  const auto self = make_self_communicator();
  GridRig exact(options, *self), changed(options, *self);
  const CounterRng signs(3, "signs");
  const Tensor values = changed.trainer.model().parameters().flat_values();
  for (std::int64_t i = 0; i < values.numel(); ++i) {
    const bool up = signs.bits(static_cast<std::uint64_t>(i)) & 1;
    values.as<double>()[i] *= up ? 1 + probe : 1 - probe;
  }
  const FirstStep at_weights = first_step(exact, *self), nearby = first_step(changed, *self);
  const double scale = 2 * rounding / probe;
  // The loss is itself a sum over the tokens.
  return {
      .loss = scale * std::abs(at_weights.loss - nearby.loss) + 2 * n * 0x1p-24 * at_weights.loss,
      .gradient = scale * distance(at_weights.gradient, nearby.gradient),
      .exact = at_weights};
}

std::string describe(const ParallelConfig& p) {
  return fmt::format("t{} p{}x{} {} vocab {} zero {} overlap {} recompute {}", p.tensor, p.pipeline,
                     p.virtual_pipeline, enum_name(p.schedule), enum_name(p.vocab),
                     enum_name(p.zero), enum_name(p.overlap), enum_name(p.recompute));
}

std::vector<ParallelConfig> layouts_of(int ranks) {
  std::vector<ParallelConfig> layouts;
  const auto add = [&](int tensor, int pipeline, int chunks, Schedule schedule, Zero zero) {
    ParallelConfig p;
    p.tensor = tensor;
    p.pipeline = pipeline;
    p.virtual_pipeline = chunks;
    p.schedule = schedule;
    p.zero = zero;
    layouts.push_back(p);
  };
  for (int tensor = 1; tensor <= ranks; tensor *= 2) {
    for (int pipeline = 1; tensor * pipeline <= ranks && pipeline <= 4; pipeline *= 2) {
      if (ranks == 8 && (tensor == 1 || tensor == 8)) continue;
      add(tensor, pipeline, 1, Schedule::one_f_one_b, Zero::on);
      add(tensor, pipeline, 1, Schedule::one_f_one_b, Zero::off);
      if (tensor > 1) {
        add(tensor, pipeline, 1, Schedule::one_f_one_b, Zero::on);
        layouts.back().vocab = VocabularyLayout::sharded;
      }
      if (pipeline == 1) continue;
      add(tensor, pipeline, 1, Schedule::gpipe, Zero::on);
      add(tensor, pipeline, 1, Schedule::zero_bubble, Zero::on);
      add(tensor, pipeline, 2, Schedule::interleaved, Zero::on);
    }
  }
  return layouts;
}

}  // namespace dualpath
