// dualpath bench: how fast this machine is, and how much of it the parts of training reach.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iterator>

#include "core/config/nearest.h"
#include "core/cpu/cpu_device.h"
#include "data/files/file_io.h"
#include "data/text/tokenizer_files.h"
#include "launcher/bench/data_bench.h"
#include "launcher/bench/job_bench.h"
#include "launcher/bench/machine_description.h"
#include "launcher/bench/other_load.h"
#include "launcher/bench/step_bench.h"
#include "launcher/commands.h"
#include "launcher/common/arguments.h"
#include "launcher/job/backend_choice.h"
#include "launcher/job/device_choice.h"
#include "launcher/job/job.h"
#include "launcher/job/version.h"
#include "launcher/train/training_data.h"
#include "launcher/train/training_options.h"

namespace dualpath {

namespace {

constexpr const char* usage = "dualpath bench [PART...] [CONFIG.yaml...] [key=value...]";

// What is measured where no file describes a model; a micro-batch for each rank.
constexpr std::int64_t default_micro_batch = 8;
constexpr const char* default_config =
    "model:\n"
    "  layers: 4\n"
    "  hidden_size: 256\n"
    "  attention_heads: 4\n"
    "  sequence_length: 256\n"
    "  vocab_size: 8192\n"
    "  deep: {iterations: 4, ffn_hidden_size: 512}\n"
    "  wide: {ffn_hidden_size: 2048}\n";

void add_default(ConfigSource& source, int num_ranks) {
  source.add_text(default_config, "the default of dualpath bench");
  source.add_override(fmt::format("train.micro_batch_size={}", default_micro_batch));
  source.add_override(fmt::format("train.global_batch_size={}", default_micro_batch * num_ranks));
}

// What the parts measure with, and their results so far.
class Bench {
 public:
  Bench(ResolvedBenchConfig config, Job& job, std::unique_ptr<Device> device, Log& log);

  void machine();
  void step();
  void kernels() { report("kernels", profiled_step().kernels); }
  void loader() {
    report("loader", measure_loader(config_, *data_.training, host_peaks(), ranks()).table());
  }
  void tokenizer();
  void collectives() {
    report("collectives", measure_collectives(config_, peaks(), *device_, ranks()).table());
  }
  void checkpoint() {
    report(
        "checkpoint",
        measure_checkpoint(config_, config_.bench.folder, host_peaks(), *device_, ranks()).table());
  }
  // Tells how far all this can be trusted.
  void finish();

 private:
  Communicator& ranks() { return device_ranks_ ? *device_ranks_ : job_.world(); }
  const MachinePeaks& peaks() const { return machine_.peaks; }
  // What files and text are held against.
  const MachinePeaks& host_peaks();
  const StepBench& profiled_step();
  void report(const std::string& part, const Table& table);
  // What there is so far: figures outlive a later part that fails or is killed.
  void write_json() const;

  ResolvedBenchConfig config_;
  Job& job_;
  Log& log_;
  TrainingData data_;
  int num_threads_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<Communicator> device_ranks_;  // the job's, for memory that the host cannot read
  OtherLoad other_load_;
  MachineBench machine_;
  std::optional<MachinePeaks> host_peaks_;
  std::optional<StepBench> step_;
  Json json_;
};

using Missing = std::optional<ConfigProblem>;

struct Part {
  std::string_view name;
  const char* help;
  void (Bench::*run)();
  Missing (*missing)(const BenchConfig& config, int num_ranks);  // that the part cannot do without
};

Missing nothing(const BenchConfig&, int) {
  return {};
}

Missing missing_text(const BenchConfig& config, int) {
  if (config.bench.text.empty()) return {{"bench.text", "the tokenizer wants text to encode"}};
  if (config.bench.tokenizer.empty() && config.run.data.corpora.empty())
    return {{"bench.tokenizer", "give it, or data.corpora with one"}};
  return {};
}

Missing missing_ranks(const BenchConfig&, int num_ranks) {
  if (num_ranks > 1) return {};
  return {{"collectives", "want several ranks: mpirun -n 2 dualpath bench ..."}};
}

Missing missing_folder(const BenchConfig& config, int) {
  const std::string& folder = config.bench.folder;
  std::error_code error;
  if (std::filesystem::is_directory(folder, error)) return {};
  return {{"bench.folder",
           folder.empty() ? "the checkpoint wants a folder to save in" : folder + " is no folder"}};
}

constexpr Part parts[] = {
    {"machine", "peaks: multiply-adds in fp32 and bf16, memory; bench.machine_file",
     &Bench::machine, nothing},
    {"step", "a training step: tokens/s, model FLOP/s, memory, its kernels' part", &Bench::step,
     nothing},
    {"kernels", "each kernel within the step, and alone on the same operands", &Bench::kernels,
     nothing},
    {"loader", "batches from the corpora, or of random tokens", &Bench::loader, nothing},
    {"tokenizer", "encoding bench.text", &Bench::tokenizer, missing_text},
    {"collectives", "what the ranks of mpirun do together", &Bench::collectives, missing_ranks},
    {"checkpoint", "saving and loading in bench.folder", &Bench::checkpoint, missing_folder},
};

std::string help() {
  std::string text = fmt::format(
      "Measures the parts of training against this machine's own peak, which it measures too.\n\n"
      "usage: {}\n\nparts:\n",
      usage);
  for (const Part& part : parts) text += fmt::format("  {:<12}{}\n", part.name, part.help);
  return text + fmt::format(R"(
Without a PART, all are measured whose input is there. The configuration is that of `dualpath
train`; without a file, that of a small model; without corpora, random tokens. Under mpirun all
ranks measure at once, and rank 0 tells its figures.

Rates are those of medians. `of peak` is the share of the best multiply-add rate for kernels that
multiply matrices, else of the best memory rate, which operands in caches exceed.

On a GPU (train.device) kernels are timed by the GPU's clock, those alone with other data in its
caches. `step`, `kernels` and bench.machine_file choose algorithms as a training run does at its
first start. The peaks are those of the largest products and copies. Loader, tokenizer and
checkpoint are compared with the host's memory.

fields, their defaults and units:
{})",
                            config_help<BenchConfig>());
}

Bench::Bench(ResolvedBenchConfig config, Job& job, std::unique_ptr<Device> device, Log& log)
    : config_(std::move(config)),
      job_(job),
      log_(log),
      data_(open_training_data(config_.run)),
      num_threads_(job.num_threads(config_.run.train.threads)),
      device_(std::move(device)),
      device_ranks_(make_device_communicator(config_.run.parallel.backend, job, *device_)),
      machine_((ranks().barrier(),
                measure_machine(*device_, num_threads_, config_.bench.short_effort()))) {
  json_["program"] = version_text();
  json_["device"] = device_->name();
  json_["ranks"] = ranks().size();
  json_["threads"] = num_threads_;
  json_["config"] = print_config(BenchConfig{config_.json, config_.bench, config_.run});
  if (!job_.is_root()) return;
  fmt::print("{}, {} rank{}, {} thread{} each\n", device_->name(), ranks().size(),
             ranks().size() == 1 ? "" : "s", num_threads_, num_threads_ == 1 ? "" : "s");
}

void Bench::machine() {
  report("machine", machine_.table.table());
  const std::string& file = config_.bench.machine_file;
  if (file.empty()) return;
  const MachineDescription description = describe_machine(config_.bench.short_effort(), *device_,
                                                          num_threads_, job_.local_size(), ranks());
  report("rates", description.kernels);
  if (job_.is_root()) save_machine(file, description.machine);
}

const MachinePeaks& Bench::host_peaks() {
  if (device_->is_host_memory()) return peaks();
  if (!host_peaks_) {
    const auto host = make_cpu_device(num_threads_);
    const MachineBench measured =
        measure_machine(*host, num_threads_, config_.bench.short_effort());
    report("host", measured.table.table());
    host_peaks_ = measured.peaks;
  }
  return *host_peaks_;
}

void Bench::tokenizer() {
  const std::string& given = config_.bench.tokenizer;
  CHECK_AS(ExitCode::data, !given.empty() || data_.tokenizer.has_value(),
           "the corpora have no tokenizer beside them; give bench.tokenizer");
  if (!given.empty()) data_.tokenizer = load_tokenizer(given);
  report("tokenizer", measure_tokenizer(config_, config_.bench.text, *data_.tokenizer, host_peaks(),
                                        num_threads_)
                          .table());
}

void Bench::step() {
  const StepBench& bench = profiled_step();
  if (!bench.graphs.empty()) json_["graphs"] = bench.graphs;
  if (!bench.attention.empty()) json_["attention"] = bench.attention;
  report("step", bench.step.table());
  if (!job_.is_root() || bench.graphs.empty()) return;
  fmt::print("{}\n", bench.graphs);
  std::fflush(stdout);
}

const StepBench& Bench::profiled_step() {
  if (!step_) step_ = measure_step(config_, *data_.training, peaks(), *device_, ranks(), log_);
  return *step_;
}

void Bench::report(const std::string& part, const Table& table) {
  json_[part] = table.json();
  write_json();
  if (!job_.is_root()) return;
  fmt::print("\n{}", table.text());
  std::fflush(stdout);
}

void Bench::write_json() const {
  if (job_.is_root() && !config_.json.empty())
    write_file(config_.json, json_.dump(2) + "\n", ExitCode::configuration);
}

void Bench::finish() {
  if (ranks().size() == job_.local_size()) {
    const double cores = other_load_.cores(ranks());
    json_["other_load_cores"] = cores;
    if (job_.is_root())
      fmt::print("\nother processes kept {} cores busy meanwhile\n", readable(cores));
  }
  write_json();
}

const Part* find_part(std::string_view name) {
  const auto* part = std::ranges::find(parts, name, &Part::name);
  return part == std::end(parts) ? nullptr : part;
}

struct Request {
  std::vector<std::string> parts;  // empty: all that can be
  ConfigSource source;
};

// A word is a part, or a file whose name tells.
Request read_request(std::span<const std::string> words, int num_ranks) {
  const Arguments arguments = split_arguments(words, usage, 0, words.size());
  Request request;
  std::vector<std::string> files, names;
  for (const Part& part : parts) names.emplace_back(part.name);
  for (const std::string& word : arguments.positional) {
    if (find_part(word) != nullptr) {
      request.parts.push_back(word);
      continue;
    }
    const std::string near = nearest(word, names);
    CHECK_AS(ExitCode::configuration, word.ends_with(".yaml") || word.ends_with(".yml"),
             "{} is no .yaml file and no part{}; the parts are {}", word,
             near.empty() ? "" : fmt::format(", did you mean {}?", near), fmt::join(names, ", "));
    files.push_back(word);
  }
  if (files.empty()) add_default(request.source, num_ranks);
  for (const std::string& file : files) request.source.add_file(file);
  for (const std::string& assignment : arguments.overrides) request.source.add_override(assignment);
  return request;
}

// What a benchmark does without: a run's length, and corpora.
void fill_in(RunConfig& run) {
  if (run.train.steps == 0 && run.train.tokens == 0 && run.train.flops == 0) run.train.steps = 1;
  if (run.data.corpora.empty()) run.data.mock = true;
}

// Those that were asked for, or all that nothing is missing for.
std::vector<const Part*> choose_parts(const Request& request, const BenchConfig& config,
                                      int num_ranks, ConfigProblems& problems) {
  std::vector<const Part*> chosen;
  for (const Part& part : parts) {
    const Missing missing = part.missing(config, num_ranks);
    if (request.parts.empty()) {
      if (!missing) chosen.push_back(&part);
    } else if (std::ranges::find(request.parts, part.name) != request.parts.end()) {
      if (missing) problems.add(missing->field, missing->message);
      chosen.push_back(&part);
    }
  }
  return chosen;
}

ExitCode run(std::span<const std::string> words) {
  Job job;
  const Request request = read_request(words, job.world().size());
  ConfigProblems problems;
  auto config = read_config<BenchConfig>(request.source, problems);
  fill_in(config.run);
  validate(config.run, job.world().size(), problems);
  const auto chosen = choose_parts(request, config, job.world().size(), problems);
  // All ranks find the same problems; rank 0 tells them.
  if (!problems.empty() && !job.is_root()) return ExitCode::configuration;
  throw_if_any(problems, request.source);
  auto device = make_device(config.run.train.device, job.num_threads(config.run.train.threads),
                            job.local_rank());
  Log log("", job.is_root());
  const ResolvedRunConfig resolved = resolve(config.run, job, *device, log);
  Bench bench({config.json, config.bench, resolved}, job, std::move(device), log);
  for (const Part* part : chosen) (bench.*part->run)();
  bench.finish();
  return ExitCode::success;
}

}  // namespace

const Command bench_command = {
    .name = "bench",
    .summary = "speed of a training step and of all around it, against this machine's peak",
    .help = help,
    .run = run,
};

}  // namespace dualpath
