#include "launcher/export/model_card.h"

#include <fmt/ranges.h>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "data/files/file_io.h"
#include "launcher/common/text_format.h"
#include "launcher/config/run_config.h"
#include "model/counts.h"

namespace dualpath {

namespace {

namespace fs = std::filesystem;
using MetricsRow = nlohmann::json;

constexpr const char* card_usage = R"(
## Use

    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("FOLDER", trust_remote_code=True)
    model = AutoModelForCausalLM.from_pretrained("FOLDER", trust_remote_code=True)
    ids = tokenizer(tokenizer.eos_token + "Once upon a time", return_tensors="pt")
    print(tokenizer.decode(model.generate(**ids, max_new_tokens=100)[0]))

In training every document followed the token that ends the one before: begin a text with it.
`modeling_dualpath.py` has the whole model. `dualpath checkpoint import FOLDER RUN` makes a run of
fp32 weights again.
)";

// The newest rows of metrics.jsonl up to a step: of training, with its losses, and of validation.
struct LastMetrics {
  std::optional<MetricsRow> training, validation;
};

LastMetrics read_last_metrics(const fs::path& run, std::int64_t last_step) {
  LastMetrics last;
  std::ifstream file(run / "metrics.jsonl");
  for (std::string line; std::getline(file, line);) {
    MetricsRow row = MetricsRow::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!row.is_object() || !row.contains("step") || !row["step"].is_number_integer()) continue;
    if (row["step"].get<std::int64_t>() > last_step) continue;
    if (row.contains("loss")) {
      last.training = std::move(row);
    } else if (row.contains("validation_loss")) {
      last.validation = std::move(row);
    }
  }
  return last;
}

// None where the run has none that this program reads.
std::optional<RunConfig> read_run_config(const fs::path& run) {
  const fs::path path = run / "config.yaml";
  if (!path_exists(path, ExitCode::checkpoint)) return std::nullopt;
  ConfigSource source;
  source.add_text(read_file(path, ExitCode::checkpoint), path.string());
  ConfigProblems problems;
  RunConfig config = read_config<RunConfig>(source, problems);
  if (!problems.all().empty()) return std::nullopt;
  return config;
}

std::string row(const std::string& name, const std::string& value) {
  return fmt::format("| {} | {} |\n", name, value);
}

// Names of folders, not where they lie: paths are of a machine.
std::string corpora_text(const std::vector<CorpusConfig>& corpora) {
  std::vector<std::string> names;
  for (const CorpusConfig& corpus : corpora) {
    fs::path path = fs::path(corpus.path).lexically_normal();
    if (!path.has_filename()) path = path.parent_path();
    names.push_back(fmt::format("{} (weight {})", path.filename().string(), corpus.weight));
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

std::string architecture_text(const ResolvedModelConfig& model) {
  std::vector<std::string> names;
  for (const Architecture architecture : model.architecture)
    names.emplace_back(enum_name(architecture));
  return fmt::format("{}", fmt::join(names, ", "));
}

std::string model_rows(const ResolvedModelConfig& model, const Tokenizer* tokenizer) {
  std::string text =
      row("architecture", architecture_text(model)) +
      row("parameters", grouped(static_cast<std::size_t>(model_parameters(model)))) +
      row("layers, width, heads",
          fmt::format("{}, {}, {} ({} of keys and values)", model.layers, model.hidden_size,
                      model.attention_heads, model.kv_heads)) +
      row("iterations of the deep path", std::to_string(model.deep.iterations)) +
      row("FFN hidden units, deep and wide",
          fmt::format("{}, {}", model.deep.ffn_hidden_size, model.wide.ffn_hidden_size)) +
      row("sequence length", std::to_string(model.sequence_length)) +
      row("rows of the vocabulary", std::to_string(model.vocab_size));
  if (tokenizer != nullptr)
    text += row("tokens of the tokenizer", std::to_string(tokenizer->vocab_size()));
  return text;
}

std::string training_rows(const CheckpointManifest& manifest, const ResolvedModelConfig& model,
                          const std::optional<RunConfig>& config) {
  std::string text = row("steps", std::to_string(manifest.step)) +
                     row("tokens", grouped(static_cast<std::size_t>(manifest.consumed_tokens)));
  if (manifest.consumed_tokens > 0) {
    text += row("training FLOPs, causal attention counted",
                fmt::format("{:.4g}", static_cast<double>(manifest.consumed_tokens) *
                                          training_flops(model, AttentionFlops::causal)));
  }
  if (!config) return text;
  if (config->data.mock) text += row("data", "random tokens");
  if (!config->data.corpora.empty()) text += row("corpora", corpora_text(config->data.corpora));
  if (!config->data.validation.empty())
    text += row("held-out corpora", corpora_text(config->data.validation));
  return text + row("precision", enum_name(config->train.precision)) +
         row("tokens a step", grouped(static_cast<std::size_t>(config->train.global_batch_size *
                                                               config->model.sequence_length))) +
         row("peak learning rate", fmt::format("{}", config->optimizer.lr)) +
         row("seed", std::to_string(config->train.seed));
}

std::string loss_rows(const LastMetrics& last) {
  std::string text;
  const auto add = [&](const std::optional<MetricsRow>& from, const char* key, const char* name) {
    if (from && from->contains(key) && (*from)[key].is_number())
      text += row(fmt::format("{}, step {}", name, (*from)["step"].get<std::int64_t>()),
                  fmt::format("{:.4f}", (*from)[key].get<double>()));
  };
  add(last.training, "loss", "training loss, nats a token");
  add(last.validation, "validation_loss", "held-out loss, nats a token");
  add(last.validation, "bits_per_byte", "held-out bits per byte");
  return text;
}

// One row a layer; none where the last step told nothing of gates.
std::string gate_section(const LastMetrics& last) {
  constexpr std::pair<const char*, const char*> columns[] = {
      {"gate_deep", "g deep"},
      {"gate_wide", "g wide"},
      {"gate_entropy", "gate entropy"},
      {"deep_share", "deep share"},
      {"cosine", "cosine"},
      {"expected_iterations", "expected iterations"}};
  std::vector<std::pair<const char*, std::vector<MetricsRow>>> told;
  std::size_t layers = 0;
  for (const auto& [key, name] : columns) {
    if (!last.training || !last.training->contains(key)) continue;
    const MetricsRow& values = (*last.training)[key];
    if (!values.is_array()) continue;
    told.emplace_back(name, values.get<std::vector<MetricsRow>>());
    layers = std::max(layers, values.size());
  }
  if (layers == 0) return "";
  std::string head = "| layer |", line = "|---|", rows;
  for (const auto& [name, values] : told) {
    head += fmt::format(" {} |", name);
    line += "---|";
  }
  for (std::size_t layer = 0; layer < layers; ++layer) {
    rows += fmt::format("| {} |", layer);
    for (const auto& [name, values] : told) {
      const bool is_known = layer < values.size() && values[layer].is_number();
      rows += is_known ? fmt::format(" {:.4f} |", values[layer].get<double>()) : " |";
    }
    rows += '\n';
  }
  return fmt::format("\n## Gates at step {}, means over the step's tokens\n\n{}\n{}\n{}",
                     (*last.training)["step"].get<std::int64_t>(), head, line, rows);
}

}  // namespace

std::string model_card(const SourceCheckpoint& source, const ResolvedModelConfig& model,
                       const Tokenizer* tokenizer) {
  const CheckpointManifest& manifest = source.checkpoint.manifest;
  const LastMetrics last = read_last_metrics(source.run, manifest.step);
  const std::optional<RunConfig> config = read_run_config(source.run);
  std::string name = config ? config->run.name : "";
  if (name.empty()) name = "Dual-path language model";
  return fmt::format(
             "---\nlibrary_name: transformers\npipeline_tag: text-generation\ntags: [dualpath]\n"
             "---\n\n# {}\n\nA dual-path language model (arXiv 2605.30202), trained with "
             "`dualpath`. "
             "The figures are those of\nthe run's folder; what it does not tell is not here.\n",
             name) +
         card_usage + "\n## Model\n\n| | |\n|---|---|\n" + model_rows(model, tokenizer) +
         "\n## Training\n\n| | |\n|---|---|\n" + training_rows(manifest, model, config) +
         loss_rows(last) + gate_section(last);
}

}  // namespace dualpath
