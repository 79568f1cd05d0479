// The texts of a routing report, as tokens with classes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/text/tokenizer.h"
#include "launcher/routes/routes_config.h"

namespace dualpath {

// One document or sentence. Its first token is the one that ends a document, as in training.
struct RouteText {
  std::size_t corpus = 0;  // of RouteTexts::corpora
  std::vector<std::int32_t> tokens;
  std::vector<std::uint8_t> classes;  // of each token, into RouteTexts::classes
};

struct RouteTexts {
  std::vector<std::string> corpora;  // files and folders as the user gave them
  std::vector<std::string> classes;  // names
  bool has_tags = false;             // the classes are the UPOS tags of a CoNLL-U file
  std::vector<RouteText> texts;

  std::size_t num_tokens() const;
};

// Reads texts, or the CoNLL-U file, up to max_tokens. Classes of texts are those of
// token_classes(). Throws Error(data).
RouteTexts read_route_texts(const RoutesConfig& config, const std::vector<std::string>& files,
                            const Tokenizer& tokenizer);
// The documents of corpora that `dualpath tokenize` wrote.
RouteTexts read_route_corpora(const RoutesConfig& config, const std::vector<std::string>& folders,
                              const Tokenizer& tokenizer);

}  // namespace dualpath
