// A model in the form that Hugging Face's transformers read: the names of its tensors, config.json
// and generation_config.json. modeling_dualpath.py is the other side of this.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "data/text/tokenizer.h"
#include "model/config.h"
#include "model/parameter_store.h"

namespace dualpath {

inline constexpr const char* hf_config_name = "config.json";
inline constexpr const char* hf_generation_config_name = "generation_config.json";
inline constexpr const char* hf_weights_name = "model.safetensors";
inline constexpr const char* hf_index_name = "model.safetensors.index.json";
inline constexpr const char* hf_modeling_name = "modeling_dualpath.py";

enum class ExportType { fp32, bf16 };
template <>
struct EnumNames<ExportType> {
  static constexpr std::pair<ExportType, const char*> values[] = {{ExportType::fp32, "fp32"},
                                                                  {ExportType::bf16, "bf16"}};
};

// "layers.0.deep.query" -> "model.layers.0.deep.attention.query.weight"
std::string hf_tensor_name(std::string_view parameter);

// All parameters of the model, in its order. REQUIRES: the config is resolved.
std::vector<ParameterSpec> parameters_of(const ResolvedModelConfig& config);

// The text of config.json. tokenizer: null where the run has none. REQUIRES: the config is
// resolved.
std::string print_hf_config(const ResolvedModelConfig& config, ExportType dtype,
                            const Tokenizer* tokenizer);
// The model of a config.json, resolved. Throws Error(checkpoint) that names `source` where it is of
// another kind of model, incomplete, or of a model that cannot be built.
ResolvedModelConfig parse_hf_config(const std::string& text, const std::string& source);

// The text of generation_config.json: greedy decoding that ends with the document; rows of the head
// that are no tokens are never drawn.
std::string print_generation_config(const ResolvedModelConfig& config, const Tokenizer* tokenizer);
// The text of tokenizer_config.json.
std::string print_tokenizer_config(const ResolvedModelConfig& config, const Tokenizer& tokenizer);

}  // namespace dualpath
