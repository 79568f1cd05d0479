// Tokenizers on disk: tokenizer.json (data/text/tokenizer_json.h) with tokenizer_config.json, which
// names the token that ends a document; or, as GPT-2 has them, vocab.json (token -> id) and
// merges.txt (by rank).
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "data/text/tokenizer.h"

namespace dualpath {

// Whether the folder holds a tokenizer of either kind.
bool has_tokenizer(const std::filesystem::path& folder);

// path: tokenizer.json, a vocabulary file with merges.txt beside it, or a folder of either.
// end_of_text: the special token that ends a document. Empty: eos_token of tokenizer_config.json;
// without that file <|endoftext|>, or <|end_of_text|>, or the only special token there is.
// Throws Error(data).
Tokenizer load_tokenizer(const std::filesystem::path& path, const std::string& end_of_text = "");

// Writes folder/tokenizer.json and folder/tokenizer_config.json and returns their names; the folder
// exists. Throws Error(code).
std::vector<std::string> save_tokenizer(const Tokenizer& tokenizer,
                                        const std::filesystem::path& folder,
                                        ExitCode code = ExitCode::data);

}  // namespace dualpath
