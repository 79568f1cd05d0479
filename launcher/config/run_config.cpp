#include "launcher/config/run_config.h"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <string_view>

#include "core/base/error.h"
#include "core/config/nearest.h"
#include "launcher/config/memory_bounds.h"
#include "launcher/config/parallel_layout.h"
#include "model/counts.h"
#include "model/resolve_config.h"

namespace dualpath {

namespace {

void validate_run(const RunSection& run, ConfigProblems& problems) {
  constexpr std::size_t most = 200;  // characters, of 255 that file systems have
  const bool is_folder_name = !run.name.empty() && run.name.size() <= most && run.name != "." &&
                              run.name != ".." && run.name.find('/') == run.name.npos;
  if (!is_folder_name) {
    problems.add("run.name",
                 fmt::format("\"{}\" is no name for a folder in runs/; run.folder takes "
                             "any path",
                             run.name));
  }
}

void validate_length(const TrainConfig& train, ConfigProblems& problems) {
  std::vector<std::string> given;
  if (train.steps != 0) given.push_back(fmt::format("train.steps = {}", train.steps));
  if (train.tokens != 0) given.push_back(fmt::format("train.tokens = {}", train.tokens));
  if (train.flops != 0) given.push_back(fmt::format("train.flops = {}", train.flops));
  if (given.empty()) {
    problems.add("train.steps", "how long? give one of train.steps, train.tokens, train.flops");
  } else if (given.size() > 1) {
    problems.add("train.steps", fmt::format("one length is wanted, given are {}; set the others to "
                                            "0",
                                            fmt::join(given, ", ")));
  }
}

// Steps and tokens are counted in 64 bits. REQUIRES: the model can be resolved.
void validate_amount(const RunConfig& config, ConfigProblems& problems) {
  constexpr double most = 1e18;
  const TrainConfig& train = config.train;
  const double step_tokens = static_cast<double>(train.global_batch_size) *
                             static_cast<double>(config.model.sequence_length);
  double tokens =
      std::max(static_cast<double>(train.tokens), static_cast<double>(train.steps) * step_tokens);
  const char* field = train.steps > 0 ? "train.steps" : "train.tokens";
  if (train.flops > 0) {  // a vocabulary that is not known yet makes fewer tokens of them
    field = "train.flops";
    tokens = train.flops / training_flops(resolve(config.model), AttentionFlops::causal);
  }
  if (tokens > most)
    problems.add(field, fmt::format("makes {:.3g} tokens; {:g} are the most", tokens, most));
}

// Fields of the model, by their keys.
void validate_init_changes(const TrainConfig& train, ConfigProblems& problems) {
  std::vector<std::string> keys;
  for (const ConfigField& field : list_fields(ModelConfig())) {
    if (field.kind == ConfigField::Kind::value) keys.push_back("model." + field.key);
  }
  for (const std::string& name : train.init_changes) {
    if (std::ranges::find(keys, name) != keys.end()) continue;
    const std::string near = nearest(name, keys);
    problems.add("train.init_changes",
                 fmt::format("{} is no field of the model{}", name,
                             near.empty() ? "" : fmt::format(", did you mean {}?", near)));
  }
}

void validate_precision(const TrainConfig& train, ConfigProblems& problems) {
  if (train.precision == Precision::fp32 && train.residual_precision == Precision::bf16) {
    problems.add("train.residual_precision",
                 "bf16 needs train.precision = bf16: a residual stream is not kept less precisely "
                 "than what is computed from it");
  }
}

void validate_backend(const RunConfig& config, ConfigProblems& problems) {
  if (config.parallel.backend == CommunicationBackend::nccl &&
      config.train.device == DeviceChoice::cpu)
    problems.add("parallel.backend", "nccl moves tensors of GPUs, and train.device is cpu");
}

void validate_cuda_graphs(const RunConfig& config, ConfigProblems& problems) {
  if (config.train.cuda_graphs != CudaGraphs::on) return;
  if (config.train.device == DeviceChoice::cpu)
    problems.add("train.cuda_graphs", "on needs a GPU, and train.device is cpu");
  if (config.parallel.tensor > 1)
    problems.add("train.cuda_graphs",
                 "on needs passes that have to do with no other rank: ranks of a tensor group talk "
                 "within them");
}

// Returns whether the layout fits the ranks.
bool validate_layout(const ParallelConfig& parallel, std::int64_t num_ranks,
                     ConfigProblems& problems) {
  const std::int64_t others = parallel.tensor * parallel.pipeline;
  if (num_ranks % others != 0) {
    problems.add("parallel",
                 fmt::format("tensor {} * pipeline {} does not divide the job's {} ranks",
                             parallel.tensor, parallel.pipeline, num_ranks));
    return false;
  }
  if (parallel.data != 0 && parallel.data * others != num_ranks) {
    problems.add("parallel.data",
                 fmt::format("tensor {} * pipeline {} * data {} makes {} ranks, the job has {}; "
                             "data {} fits",
                             parallel.tensor, parallel.pipeline, parallel.data,
                             parallel.data * others, num_ranks, num_ranks / others));
    return false;
  }
  return true;
}

// Whether the global batch can be dealt out.
bool validate_batch(const TrainConfig& train, std::int64_t readers, ConfigProblems& problems) {
  const std::int64_t micro_batch = std::max<std::int64_t>(1, train.micro_batch_size);
  const std::int64_t unit = micro_batch * readers;
  const std::int64_t below = train.global_batch_size / unit * unit;
  if (below == train.global_batch_size) return true;
  const std::string nearest =
      below == 0 ? fmt::format("{}", unit) : fmt::format("{} and {}", below, below + unit);
  problems.add("train.global_batch_size",
               fmt::format("{} is no multiple of micro_batch_size {} * {} ranks that read "
                           "(tensor * data) = {}; the nearest {} {}",
                           train.global_batch_size, micro_batch, readers, unit,
                           below == 0 ? "is" : "are", nearest));
  return false;
}

// Where a schedule takes micro-batches of any size, it takes those of one sequence.
// REQUIRES: the layout fits the ranks, the batch can be dealt out.
void validate_pipeline(const RunConfig& config, std::int64_t readers, ConfigProblems& problems) {
  const ParallelConfig& parallel = config.parallel;
  const PipelineShape shape = pipeline_shape(
      parallel, config.train.global_batch_size /
                    (std::max<std::int64_t>(1, config.train.micro_batch_size) * readers));
  if (const std::string problem = schedule_problem(parallel.schedule, shape); !problem.empty()) {
    problems.add("parallel.schedule", problem);
    return;
  }
  const std::string problem =
      partition_problem(static_cast<int>(config.model.layers), parallel.stage_layers, shape);
  if (problem.empty()) return;
  problems.add(parallel.stage_layers.empty() ? "parallel.pipeline" : "parallel.stage_layers",
               problem);
}

// REQUIRES: the model can be resolved.
void validate_wide_cut(const RunConfig& config, ConfigProblems& problems) {
  const ResolvedModelConfig model = resolve(config.model);
  bool cut = false;
  for (std::int64_t i = 0; i < model.layers; ++i)
    cut |= model.architecture_of(i) != Architecture::looped;
  const std::int64_t units = model.wide.ffn_hidden_size;
  if (!cut || config.parallel.tensor <= units) return;
  problems.add("parallel.tensor",
               fmt::format("{} ranks cannot share {} hidden units of the wide FFN; {} are the most",
                           config.parallel.tensor, units, units));
}

void validate_vocabulary_cut(const RunConfig& config, ConfigProblems& problems) {
  const std::int64_t rows = config.model.vocab_size;  // 0: not known yet
  if (config.parallel.vocab != VocabularyLayout::sharded || rows == 0) return;
  if (config.parallel.tensor <= rows) return;
  problems.add("parallel.vocab", fmt::format("{} ranks cannot share {} rows of the vocabulary",
                                             config.parallel.tensor, rows));
}

void validate_profile(const ProfileConfig& config, std::int64_t num_ranks,
                      ConfigProblems& problems) {
  if (config.end_step != 0 && config.end_step < config.start_step)
    problems.add("profile.end_step", fmt::format("{} is before profile.start_step {}",
                                                 config.end_step, config.start_step));
  if (config.end_step != 0 && config.start_step == 0)
    problems.add("profile.start_step", "give it with profile.end_step");
  for (const std::int64_t rank : config.ranks) {
    if (rank >= num_ranks)
      problems.add("profile.ranks",
                   fmt::format("there is no rank {}; the last one is {}", rank, num_ranks - 1));
  }
}

}  // namespace

ModelConfig parse_model(const std::string& yaml) {
  ConfigSource source;
  source.add_text(yaml, "the checkpoint's model");
  ConfigProblems problems;
  auto model = read_config<ModelConfig>(source, problems);
  throw_if_any(problems, source);
  return model;
}

NumericTypes numeric_types(Precision precision, Precision residual_precision) {
  const auto type = [](Precision p) { return p == Precision::bf16 ? DType::bf16 : DType::f32; };
  return {.master = DType::f32, .stream = type(residual_precision), .operand = type(precision)};
}

void validate(const RunConfig& config, std::int64_t num_ranks, ConfigProblems& problems) {
  validate_run(config.run, problems);
  const std::size_t before_model = problems.all().size();
  validate(config.model, problems);
  if (problems.all().size() == before_model) {
    validate_wide_cut(config, problems);
    validate_amount(config, problems);
    validate_memory(config.model, config.train, config.data, problems);
  }
  validate(config.optimizer, problems);
  validate(config.data, problems);
  validate_length(config.train, problems);
  validate_init_changes(config.train, problems);
  validate_precision(config.train, problems);
  validate_backend(config, problems);
  validate_cuda_graphs(config, problems);
  validate_vocabulary_cut(config, problems);
  validate_profile(config.profile, num_ranks, problems);
  if (validate_layout(config.parallel, num_ranks, problems)) {
    const std::int64_t readers = num_ranks / config.parallel.pipeline;
    if (validate_batch(config.train, readers, problems))
      validate_pipeline(config, readers, problems);
  }
  if (config.data.mock && config.model.vocab_size == 0) {
    problems.add("model.vocab_size", "data.mock has no tokenizer to take it from; give one");
  }
  if (config.train.validation_every_steps != 0 && config.data.validation.empty() &&
      !config.data.mock) {
    problems.add("data.validation", "train.validation_every_steps wants held-out corpora");
  }
}

bool is_init_only(std::string_view key) {
  constexpr std::string_view keys[] = {"model.init_std", "model.init_scheme",
                                       "model.deep.gain_init", "model.deep.router_bias_init",
                                       "model.wide.gain_init"};
  return std::find(std::begin(keys), std::end(keys), key) != std::end(keys);
}

std::vector<ConfigChange> check_resume(const RunConfig& before, const RunConfig& after) {
  std::vector<ConfigChange> allowed;
  std::string refused;
  for (const ConfigChange& change : compare_configs(before, after)) {
    if (change.key.starts_with("model.") && !is_init_only(change.key)) {
      refused += fmt::format("\n{}: {} in the checkpoint, {} now", change.key, change.before,
                             change.after);
    } else {
      allowed.push_back(change);
    }
  }
  CHECK_AS(ExitCode::configuration, refused.empty(),
           "this run's checkpoint holds another model; give the same model or another "
           "run.folder{}",
           refused);
  return allowed;
}

}  // namespace dualpath
