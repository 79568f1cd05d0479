#include "launcher/export/hf_layout.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/config/config.h"
#include "model/model_layout.h"
#include "model/resolve_config.h"

namespace dualpath {

namespace {

using OrderedJson = nlohmann::ordered_json;

// A field of config.json and the model's own.
struct HfField {
  const char* hf;
  const char* model;
};

// `architecture` is told as layer_architectures, one name a layer.
constexpr HfField hf_fields[] = {{"vocab_size", "vocab_size"},
                                 {"hidden_size", "hidden_size"},
                                 {"num_hidden_layers", "layers"},
                                 {"num_attention_heads", "attention_heads"},
                                 {"num_key_value_heads", "kv_heads"},
                                 {"max_position_embeddings", "sequence_length"},
                                 {"deep_iterations", "deep.iterations"},
                                 {"deep_intermediate_size", "deep.ffn_hidden_size"},
                                 {"deep_combine", "deep.combine"},
                                 {"deep_iteration_norm", "deep.iteration_norm"},
                                 {"deep_input_injection", "deep.input_injection"},
                                 {"wide_intermediate_size", "wide.ffn_hidden_size"},
                                 {"gate_mode", "gate.mode"},
                                 {"gate_target", "gate.target"},
                                 {"shared_attention", "shared_attention"},
                                 {"qk_norm", "qk_norm"},
                                 {"rms_norm_eps", "norm_epsilon"},
                                 {"rope_theta", "rope_theta"},
                                 {"tie_word_embeddings", "tied_embeddings"},
                                 {"initializer_range", "init_std"},
                                 {"deep_gain_init", "deep.gain_init"},
                                 {"wide_gain_init", "wide.gain_init"},
                                 {"router_bias_init", "deep.router_bias_init"}};
constexpr const char* model_type = "dualpath";

// A value in YAML as JSON: a number, true, false, or a word.
OrderedJson json_of(const std::string& yaml) {
  OrderedJson value = OrderedJson::parse(yaml, nullptr, /*allow_exceptions=*/false);
  return value.is_discarded() ? OrderedJson(yaml) : value;
}

OrderedJson end_of_text_json(const Tokenizer* tokenizer) {
  return tokenizer == nullptr ? OrderedJson() : OrderedJson(tokenizer->end_of_text());
}

std::string print(const OrderedJson& json) {
  return json.dump(2) + "\n";
}

// The model's field as an override, "deep.combine=mixture".
std::string override_of(const HfField& field, const nlohmann::json& json,
                        const std::string& source) {
  const auto value = json.find(field.hf);
  CHECK_AS(ExitCode::checkpoint, value != json.end() && value->is_primitive() && !value->is_null(),
           "{}: the field {} is missing or no number, word or truth value", source, field.hf);
  return fmt::format("{}={}", field.model,
                     value->is_string() ? value->get<std::string>() : value->dump());
}

// "architecture=[dual_path, wide]"; one name where all layers have the same.
std::string architecture_override(const nlohmann::json& json, const std::string& source) {
  const auto list = json.find("layer_architectures");
  const bool is_list_of_words =
      list != json.end() && list->is_array() && !list->empty() &&
      std::ranges::all_of(*list, [](const nlohmann::json& item) { return item.is_string(); });
  CHECK_AS(ExitCode::checkpoint, is_list_of_words,
           "{}: the field layer_architectures is missing or no list of words", source);
  auto names = list->get<std::vector<std::string>>();
  const bool is_uniform = std::ranges::count(names, names[0]) == std::ssize(names) &&
                          json["num_hidden_layers"] == names.size();
  if (is_uniform) names.resize(1);
  return fmt::format("architecture=[{}]", fmt::join(names, ", "));
}

ResolvedModelConfig read_model(const nlohmann::json& json, const std::string& source) {
  ConfigSource overrides;
  for (const HfField& field : hf_fields) overrides.add_override(override_of(field, json, source));
  overrides.add_override(architecture_override(json, source));
  ConfigProblems problems;
  const auto config = read_config<ModelConfig>(overrides, problems);
  if (problems.all().empty()) {
    validate(config, problems);
    if (config.vocab_size == 0) problems.add("model.vocab_size", "is 0");
  }
  try {
    throw_if_any(problems, overrides);
  } catch (const Error& error) {
    DUALPATH_FAIL(ExitCode::checkpoint, "{}: is of a model that cannot be built: {}", source,
                  error.what());
  }
  return resolve(config);
}

}  // namespace

std::string hf_tensor_name(std::string_view parameter) {
  if (parameter == "head") return "lm_head.weight";
  const std::size_t dot = parameter.rfind('.');
  const std::string_view leaf = parameter.substr(dot == parameter.npos ? 0 : dot + 1);
  std::string name = "model." + std::string(parameter.substr(0, parameter.size() - leaf.size()));
  if (leaf == "attention_norm") return name + "attention.norm.weight";
  if (leaf == "ffn_norm") return name + "ffn.norm.weight";
  for (const char* part : {"query", "key", "value", "query_norm", "key_norm", "output"}) {
    if (leaf == part) return fmt::format("{}attention.{}.weight", name, leaf);
  }
  for (const char* part : {"gate", "up", "down"}) {
    if (leaf == part) return fmt::format("{}ffn.{}.weight", name, leaf);
  }
  name += leaf;
  const bool is_whole = leaf == "gain" || leaf == "weight" || leaf == "bias";
  return is_whole ? name : name + ".weight";
}

std::vector<ParameterSpec> parameters_of(const ResolvedModelConfig& config) {
  ParameterStore parameters;
  (void)make_stages(config, {.training = false}, parameters);
  return {parameters.specs().begin(), parameters.specs().end()};
}

std::string print_hf_config(const ResolvedModelConfig& config, ExportType dtype,
                            const Tokenizer* tokenizer) {
  OrderedJson json = {{"architectures", {"DualPathForCausalLM"}},
                      {"auto_map",
                       {{"AutoConfig", "modeling_dualpath.DualPathConfig"},
                        {"AutoModelForCausalLM", "modeling_dualpath.DualPathForCausalLM"}}},
                      {"model_type", model_type},
                      {"torch_dtype", dtype == ExportType::bf16 ? "bfloat16" : "float32"}};
  const std::vector<ConfigField> fields = list_fields(config);
  for (const HfField& field : hf_fields) {
    const auto own = std::ranges::find(fields, field.model, &ConfigField::key);
    CHECK(own != fields.end(), "the model has no field {}", field.model);
    json[field.hf] = json_of(own->text);
  }
  json["layer_architectures"] = OrderedJson::array();
  for (std::int64_t layer = 0; layer < config.layers; ++layer)
    json["layer_architectures"].push_back(enum_name(config.architecture_of(layer)));
  const OrderedJson end = end_of_text_json(tokenizer);
  for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id"}) json[key] = end;
  json["use_cache"] = true;
  return print(json);
}

ResolvedModelConfig parse_hf_config(const std::string& text, const std::string& source) {
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  CHECK_AS(ExitCode::checkpoint, json.is_object(), "{}: is no JSON object", source);
  const std::string type = json.contains("model_type") && json["model_type"].is_string()
                               ? json["model_type"].get<std::string>()
                               : "unknown";
  CHECK_AS(ExitCode::checkpoint, type == model_type,
           "{}: the model is of the type {}; only {} can be imported, as export writes it", source,
           type, model_type);
  return read_model(json, source);
}

std::string print_generation_config(const ResolvedModelConfig& config, const Tokenizer* tokenizer) {
  OrderedJson json = {{"do_sample", false}, {"use_cache", true}};
  const OrderedJson end = end_of_text_json(tokenizer);
  for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id"}) json[key] = end;
  if (tokenizer != nullptr && tokenizer->vocab_size() < config.vocab_size) {
    OrderedJson padding = OrderedJson::array();
    for (std::int64_t id = tokenizer->vocab_size(); id < config.vocab_size; ++id)
      padding.push_back(id);
    json["suppress_tokens"] = padding;
  }
  return print(json);
}

std::string print_tokenizer_config(const ResolvedModelConfig& config, const Tokenizer& tokenizer) {
  const std::string& end = tokenizer.tokens()[tokenizer.end_of_text()];
  return print({{"tokenizer_class", "PreTrainedTokenizerFast"},
                {"bos_token", end},
                {"eos_token", end},
                {"pad_token", end},
                {"model_max_length", config.sequence_length},
                {"model_input_names", {"input_ids", "attention_mask"}},
                {"clean_up_tokenization_spaces", false}});
}

}  // namespace dualpath
