// dualpath bench: how fast this machine is, and how much of it a training step reaches.
#include <algorithm>
#include <array>
#include <cstdio>

#include "core/cpu/cpu_device.h"
#include "core/nearest.h"
#include "data/file_io.h"
#include "launcher/arguments.h"
#include "launcher/bench/bench_config.h"
#include "launcher/bench/machine_bench.h"
#include "launcher/bench/step_bench.h"
#include "launcher/commands.h"
#include "launcher/job.h"
#include "launcher/training_data.h"
#include "launcher/version.h"

namespace dualpath {

namespace {

constexpr const char* usage = "dualpath bench [PART...] [CONFIG.yaml...] [key=value...]";

// What is measured where no file describes a model.
constexpr const char* default_config =
    "model:\n"
    "  layers: 4\n"
    "  hidden_size: 256\n"
    "  attention_heads: 4\n"
    "  sequence_length: 256\n"
    "  vocab_size: 8192\n"
    "  deep: {iterations: 4, ffn_hidden_size: 512}\n"
    "  wide: {ffn_hidden_size: 2048}\n"
    "train: {global_batch_size: 8, micro_batch_size: 8}\n";

constexpr std::array parts = {"machine", "step", "kernels"};

std::string help() {
  return fmt::format(
      "usage: {}\n\n"
      "Measures this machine's peaks and what the parts of training reach of them; under mpirun on "
      "all\n"
      "ranks together. The configuration is that of `dualpath train`; without a file, of a small "
      "model on\n"
      "random tokens. Without a PART all are measured that need no more input.\n\n"
      "parts:\n"
      "  machine     multiply-adds in fp32 and bf16, memory\n"
      "  step        a training step: tokens/s, model FLOP/s, memory, and the kernels' share\n"
      "  kernels     each kernel of the step: within it, and alone on the same operands\n\n"
      "rates are of medians; `of peak` is the share of the machine's best, for kernels of FLOPs "
      "where they\n"
      "multiply, else of memory's bytes: operands that lie in caches exceed it.\n\n"
      "fields, their defaults and units:\n{}",
      usage, config_help<BenchConfig>());
}

struct Request {
  std::vector<std::string> parts;  // empty: all
  ConfigSource source;
  bool wants(std::string_view part) const {
    return parts.empty() || std::ranges::find(parts, part) != parts.end();
  }
};

bool is_part(const std::string& word) {
  return std::ranges::find(parts, word) != parts.end();
}

// A word is a part, or a file whose name tells.
Request read_request(std::span<const std::string> words) {
  const Arguments arguments = split_arguments(words, usage, 0, words.size());
  Request request;
  std::vector<std::string> files;
  for (const std::string& word : arguments.positional) {
    if (is_part(word)) {
      request.parts.push_back(word);
      continue;
    }
    const std::string near = nearest(word, std::vector<std::string>(parts.begin(), parts.end()));
    CHECK_AS(ExitCode::configuration, word.ends_with(".yaml") || word.ends_with(".yml"),
             "{} is neither a part to measure ({}) nor a .yaml file{}", word,
             fmt::join(parts, ", "), near.empty() ? "" : fmt::format("; did you mean {}?", near));
    files.push_back(word);
  }
  if (files.empty()) request.source.add_text(default_config, "the default of dualpath bench");
  for (const std::string& file : files) request.source.add_file(file);
  for (const std::string& assignment : arguments.overrides) request.source.add_override(assignment);
  return request;
}

// What a benchmark does without: a run's length, and corpora.
void fill_in(RunConfig& run) {
  if (run.train.steps == 0 && run.train.tokens == 0 && run.train.flops == 0) run.train.steps = 1;
  if (run.data.corpora.empty()) run.data.mock = true;
}

class BenchReport {
 public:
  BenchReport(bool is_root, std::string json_file)
      : is_root_(is_root), json_file_(std::move(json_file)) {}

  void about(const std::string& key, const Json& value) { json_[key] = value; }
  void add(const std::string& key, const Table& table) {
    json_[key] = table.json();
    if (is_root_) fmt::print("{}\n", table.text());
    std::fflush(stdout);
  }
  void finish() const {
    if (is_root_ && !json_file_.empty())
      write_file(json_file_, json_.dump(2) + "\n", ExitCode::configuration);
  }

 private:
  bool is_root_;
  std::string json_file_;
  Json json_;
};

ExitCode run(std::span<const std::string> words) {
  const Request request = read_request(words);
  Job job;
  ConfigProblems problems;
  auto config = read_config<BenchConfig>(request.source, problems);
  fill_in(config.run);
  validate(config.run, job.world().size(), problems);
  if (!problems.empty() && !job.is_root()) return ExitCode::configuration;
  throw_if_any(problems, request.source);
  config.run.model = resolve(config.run.model);
  const TrainingData data = open_training_data(config.run);

  const int num_threads = job.num_threads(config.run.train.threads);
  const auto device = make_cpu_device(num_threads);
  BenchReport report(job.is_root(), config.json);
  report.about("program", version_text());
  report.about("device", device->name());
  report.about("ranks", job.world().size());
  report.about("threads", num_threads);
  report.about("config", print_config(config));
  if (job.is_root()) {
    fmt::print("{}, {} rank{}, {} thread{} each\n\n", device->name(), job.world().size(),
               job.world().size() == 1 ? "" : "s", num_threads, num_threads == 1 ? "" : "s");
  }

  job.world().barrier();
  const MachineBench machine = measure_machine(*device, num_threads, config.bench.machine_effort());
  if (request.wants("machine")) report.add("machine", machine.table.table());
  if (request.wants("step") || request.wants("kernels")) {
    const StepBench step =
        measure_step(config, *data.training, machine.peaks, *device, job.world());
    if (request.wants("step")) report.add("step", step.step.table());
    if (request.wants("kernels")) {
      report.add("kernels", config.bench.shapes ? step.shapes : step.kernels);
    }
  }
  report.finish();
  return ExitCode::success;
}

}  // namespace

const Command bench_command = {
    "bench", "rates of kernels and of a training step, against this machine's peak", help, run};

}  // namespace dualpath
