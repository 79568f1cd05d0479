// dualpath eval: how good a model is, on texts, corpora, tasks and requests.
#include <filesystem>
#include <functional>
#include <optional>

#include "data/files/file_io.h"
#include "launcher/commands.h"
#include "launcher/common/arguments.h"
#include "launcher/config/train_config.h"
#include "launcher/evaluate/intervention.h"
#include "launcher/evaluate/load_model.h"
#include "launcher/evaluate/requests.h"
#include "launcher/evaluate/task_evaluation.h"
#include "launcher/evaluate/task_reader.h"
#include "launcher/evaluate/text_evaluation.h"
#include "launcher/job/device_choice.h"
#include "launcher/job/end_job.h"
#include "launcher/job/job.h"
#include "parallel/run_together.h"

namespace dualpath {

namespace {

constexpr const char* usage =
    "dualpath eval RUN|CHECKPOINT [eval.texts=[FILE...]] [eval.corpora=[FOLDER...]] "
    "[eval.tasks=[FILE...]] [eval.requests=FILE|-] [json=FILE] [key=value...]";

struct EvaluationConfig {
  std::vector<std::string> texts;
  std::vector<std::string> corpora;
  std::vector<std::string> tasks;
  std::string requests;
  std::int64_t limit = 0;
  std::string text_field = "text";
  std::int64_t batch_tokens = 0;
};

struct EvalConfig {
  EvaluationConfig eval;
  InterventionConfig intervene;
  std::string json;
  std::int64_t step = 0;
  Precision precision = Precision::fp32;
  DeviceChoice device = DeviceChoice::automatic;
  std::int64_t threads = 0;
};

template <class Visitor>
void visit_fields(Visitor& visit, EvaluationConfig& c) {
  visit.field("texts", c.texts,
              {.help = "text files, JSON lines or folders of them, also compressed: bits per byte "
                       "and perplexity of each",
               .synonyms = "text files"});
  visit.field("corpora", c.corpora,
              {.help = "folders that dualpath tokenize wrote: the same of each; without any "
                       "eval.* option: the run's data.validation",
               .synonyms = "corpus shards validation"});
  visit.field(
      "tasks", c.tasks,
      {.help = "files of JSON lines with \"context\" or \"contexts\", \"continuations\" and "
               "\"gold\": accuracies and bits per byte of each",
       .synonyms = "task benchmarks"});
  visit.field("requests", c.requests,
              {.help = "a file of requests, JSON lines, - is standard input: answers are printed, "
                       "as JSON lines in the same order"});
  visit.field("limit", c.limit,
              {.help = "the first items of each task; 0: all", .min = 0, .max = 1e12});
  visit.field(
      "text_field", c.text_field,
      {.help = "the field of JSON lines that holds the text", .synonyms = "field json_key"});
  visit.field(
      "batch_tokens", c.batch_tokens,
      {.help = "rows that the model computes at once, at least model.sequence_length; auto: "
               "2048 on a CPU, 16384 on a GPU. Results do not depend on it",
       .unit = "tokens",
       .min = 0,
       .max = bounds::sequence,
       .synonyms = "batch_size",
       .zero_word = "auto"});
}

template <class Visitor>
void visit_fields(Visitor& visit, EvalConfig& c) {
  visit.section("eval", c.eval, "what is evaluated");
  visit.section("intervene", c.intervene, "what the model's gates and iterations are changed to");
  visit.field("json", c.json, {.help = "file for all results as JSON", .synonyms = "output out"});
  visit.field("step", c.step,
              {.help = "the run's checkpoint of this step; 0: the newest whole one",
               .min = 0,
               .max = bounds::steps});
  visit.field("precision", c.precision, {.help = "what the model computes in"});
  visit.field("device", c.device, {.help = "what computes; auto: a GPU where there is one"});
  visit.field("threads", c.threads,
              {.help = "CPU threads of a rank; 0: all cores of the host, shared among its ranks",
               .min = 0,
               .max = bounds::threads});
}

std::string help() {
  return fmt::format(
      R"(usage: {}

Evaluates the model of a run folder, or of one checkpoint in it.

  eval.texts     bits per byte and perplexity of texts. Each document is read in windows of
                 model.sequence_length tokens, each token scored once; the first window follows the
                 token that ends a document. The interval of bits per byte is a bootstrap over the
                 documents.
  eval.corpora   the same of token shards.
  eval.tasks     ranked continuations. An item is a line
                   {{"context": TEXT, "continuations": [TEXT, ...], "gold": INDEX}}
                 with "contexts" in place of "context" where they differ; optional "prefix" (before
                 every context) and "unconditional_context". The continuation with the highest
                 log-likelihood is the model's choice: raw, divided by its tokens, characters or
                 bytes, or less its log-likelihood behind the unconditional context. An item with one
                 continuation counts as right where each of its tokens is the likeliest (LAMBADA).
                 Read as they are published: ARC, CommonsenseQA, COPA, HellaSwag, LAMBADA,
                 OpenBookQA, PIQA, Social IQa, WinoGrande (prompted as in lm-evaluation-harness
                 without examples), and requests that OLMES has rendered.
  eval.requests  a line is a request:
                   {{"id": ANY, "type": "loglikelihood", "context": TEXT, "continuation": TEXT}}
                   {{"id": ANY, "type": "rolling", "text": TEXT}}
                   {{"id": ANY, "type": "generate", "context": TEXT, "until": [TEXT, ...],
                    "max_tokens": COUNT}}
                 its answer {{"id", "log_likelihood", "is_greedy", "tokens", "bytes"}} or
                 {{"id", "text"}}; log-likelihoods are in nats.

Contexts and continuations become tokens as in lm-evaluation-harness: encoded as one text, spaces at
the context's end counted to the continuation. Texts with a common beginning share its computation.
Under mpirun or srun every rank holds the whole model, and the ranks share the work.

fields:
{})",
      usage, config_help<EvalConfig>());
}

ModelOptions model_options(const EvalConfig& config, const ModelConfig& model, bool on_cpu) {
  const std::int64_t wanted =
      config.eval.batch_tokens > 0 ? config.eval.batch_tokens : (on_cpu ? 2048 : 16384);
  ModelOptions options{.types = numeric_types(config.precision, Precision::fp32),
                       .training = false};
  options.forced_iterations = config.intervene.iterations;
  options.micro_batch_size = std::max<std::int64_t>(1, wanted / model.sequence_length);
  return options;
}

std::string with_error(double mean, double error) {
  return fmt::format("{:.4f} ±{:.4f}", mean, error);
}

// That it can be written is known before the work, not after.
void check_results_file(const std::filesystem::path& file) {
  CHECK_AS(ExitCode::data, !is_folder(file, ExitCode::data), "json={} is a folder", file.string());
  if (file.has_parent_path()) make_folder(file.parent_path(), ExitCode::data);
}

class Evaluation {
 public:
  Evaluation(const EvalConfig& config, const ModelPlace& place, Job& job)
      : config_(config), place_(place), job_(job) {}

  void run(Device& device) {
    const auto stream = device.make_stream();
    const auto options = [&](const ModelConfig& model) {
      check_intervention(config_.intervene, model);
      return model_options(config_, model, device.is_host_memory());
    };
    auto [checkpoint, model] = load_model(place_, options, device, *stream);
    const Tokenizer tokenizer = load_tokenizer_of(place_, checkpoint);
    const std::int64_t length = model->config().sequence_length;
    Scorer scorer(*model, options(model->config()).micro_batch_size * length);
    TextScorer::GatesOfText gates;
    if (config_.intervene.changes_gates())
      gates = std::bind_front(force_gates, std::cref(config_.intervene), std::cref(tokenizer));
    TextScorer texts(scorer, job_.world(), gates);
    const EvaluatedModel evaluated{texts, tokenizer, length};
    results_ = {{"checkpoint", checkpoint.folder.string()},
                {"step", checkpoint.manifest.step},
                {"precision", enum_name(config_.precision)},
                {"sequence_length", length},
                {"interventions", interventions()},
                {"prefix_token", tokenizer.tokens()[tokenizer.end_of_text()]}};
    evaluate_texts(evaluated);
    evaluate_tasks(evaluated);
    if (config_.eval.requests.empty()) return;
    RequestAnswerer answerer(evaluated, *model, job_.world());
    results_["requests"] = answer_requests(answerer, config_.eval.requests, job_.world());
  }

  // Rank 0's.
  void report() const {
    if (!config_.json.empty()) write_file(config_.json, results_.dump(2) + "\n", ExitCode::data);
    if (!config_.eval.requests.empty()) return;  // standard output has the answers
    if (!texts_.empty()) fmt::print("{}", texts_.text());
    if (!texts_.empty() && !tasks_.empty()) fmt::print("\n");
    if (!tasks_.empty()) fmt::print("{}", tasks_.text());
  }

 private:
  // The fields that differ from an evaluation of the model as it is.
  Json interventions() const {
    Json fields = Json::object();
    for (const ConfigChange& change : compare_configs(InterventionConfig(), config_.intervene))
      fields[change.key] = change.after;
    return fields;
  }
  void evaluate_texts(const EvaluatedModel& model) {
    std::vector<std::string> corpora = config_.eval.corpora;
    const EvaluationConfig& e = config_.eval;
    if (e.texts.empty() && e.corpora.empty() && e.tasks.empty() && e.requests.empty())
      corpora = validation_corpora(place_, "eval.texts, eval.corpora, eval.tasks or eval.requests");
    for (const std::string& path : e.texts) {
      const TextResult result =
          run_alike([&] { return evaluate_text_files(model, path, e.text_field); });
      add(result, "texts", "file");
    }
    for (const std::string& folder : corpora)
      add(run_alike([&] { return evaluate_corpus(model, folder); }), "corpora", "folder");
  }
  void evaluate_tasks(const EvaluatedModel& model) {
    std::vector<Task> tasks;  // all are read before the first is evaluated
    for (const std::string& file : config_.eval.tasks)
      tasks.push_back(run_alike([&] { return read_task(file, config_.eval.limit); }));
    for (const Task& task : tasks) {
      const TaskResult result = run_alike([&] { return evaluate_task(model, task); });
      results_["tasks"].push_back(to_json(result));
      const auto cell = [](const std::optional<Score>& score) -> Cell {
        if (!score) return {};
        return with_error(score->mean, score->standard_error);
      };
      tasks_.add({result.name, static_cast<double>(result.items), cell(result.accuracy),
                  cell(result.per_token), cell(result.per_character), cell(result.per_byte),
                  cell(result.unconditional), cell(result.bits_per_byte), result.primary_metric});
    }
  }
  void add(const TextResult& result, const char* list, const char* key) {
    const Json json = to_json(result, key);
    results_[list].push_back(json);
    texts_.add({result.name, static_cast<double>(result.documents.size()),
                static_cast<double>(json["tokens"]), static_cast<double>(json["bytes"]),
                fmt::format("{:.4f}", static_cast<double>(json["bits_per_byte"])),
                fmt::format("{:.4f} to {:.4f}", static_cast<double>(json["bits_per_byte_low"]),
                            static_cast<double>(json["bits_per_byte_high"])),
                fmt::format("{:.2f}", static_cast<double>(json["perplexity"]))});
  }

  EvalConfig config_;
  ModelPlace place_;
  Job& job_;
  Json results_;
  Table texts_{"text",
               {{"file", ""},
                {"documents", "documents"},
                {"tokens", "tokens"},
                {"bytes", "bytes"},
                {"bits_per_byte", "bits/byte"},
                {"interval", "95 %"},
                {"perplexity", "perplexity"}}};
  Table tasks_{"task",
               {{"name", ""},
                {"items", "items"},
                {"accuracy", "accuracy"},
                {"per_token", "per token"},
                {"per_character", "per character"},
                {"per_byte", "per byte"},
                {"unconditional", "unconditional"},
                {"bits_per_byte", "bits/byte"},
                {"primary_metric", "primary"}}};
};

ExitCode run(std::span<const std::string> words) {
  const Arguments arguments = split_arguments(words, usage, 1, 1);
  const auto config = read_options<EvalConfig>(arguments.overrides);
  Job job;
  try {
    if (job.is_root() && !config.json.empty()) check_results_file(config.json);
    const ModelPlace place = find_model(arguments.positional[0], config.step);
    const auto device =
        make_device(config.device, job.num_threads(config.threads), job.local_rank());
    Evaluation evaluation(config, place, job);
    evaluation.run(*device);
    if (job.is_root()) evaluation.report();
  } catch (...) {
    if (job.world().size() == 1) throw;
    return end_job(job, fmt::format("[rank {}] dualpath: ", job.world().rank()));
  }
  return ExitCode::success;
}

}  // namespace

const Command eval_command = {"eval", "bits per byte, perplexity and tasks of a checkpoint", help,
                              run};

}  // namespace dualpath
