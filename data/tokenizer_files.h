// Tokenizers on disk, as GPT-2 has them: vocab.json (token -> id) and merges.txt (by rank).
#pragma once

#include <filesystem>

#include "data/tokenizer.h"

namespace dualpath {

// path: a folder with vocab.json and merges.txt, or a vocabulary file with merges.txt beside it.
// The vocabulary must hold <|endoftext|> and ids 0..n-1 once each. Throws Error(data).
Tokenizer load_tokenizer(const std::filesystem::path& path);

// Writes folder/vocab.json and folder/merges.txt; the folder exists. Throws Error(data).
void save_tokenizer(const Tokenizer& tokenizer, const std::filesystem::path& folder);

}  // namespace dualpath
