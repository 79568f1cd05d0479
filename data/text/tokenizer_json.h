// tokenizer.json, the file of Hugging Face's `tokenizers`, where it describes a byte-level BPE of
// the kind of GPT-2, Llama 3 or Qwen 2.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "data/text/tokenizer.h"

namespace dualpath {

// All but end_of_text, which the file does not tell. post_processor is passed over: it adds tokens
// around a text, which is not for us to do. Throws Error(data), with the file's name and the field,
// where anything else in it could not be reproduced exactly.
TokenizerParts parse_tokenizer_json(const nlohmann::json& json, const std::string& file);

// The file's text. `tokenizers` gives the same ids with it.
std::string to_tokenizer_json(const Tokenizer& tokenizer);

}  // namespace dualpath
