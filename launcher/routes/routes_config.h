// What a routing report reads, and where it goes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/config/config.h"

namespace dualpath {

struct RoutesConfig {
  std::vector<std::string> texts;
  std::string conllu;
  std::string folder;
  std::string text_field = "text";
  std::int64_t max_tokens = 20000;
};

template <class Visitor>
void visit_fields(Visitor& visit, RoutesConfig& c) {
  visit.field("texts", c.texts,
              {.help = "text files, JSON lines or folders of them, also compressed; without them "
                       "and without conllu: the run's data.validation",
               .synonyms = "text files corpora"});
  visit.field(
      "conllu", c.conllu,
      {.help = "a CoNLL-U file: its sentences are read, and a token has the UPOS tag of its "
               "word as its class"});
  visit.field("folder", c.folder,
              {.help = "where routes.h5, summary.json and report.html go; empty: RUN/routes",
               .synonyms = "output out"});
  visit.field("text_field", c.text_field,
              {.help = "the field of JSON lines that holds the text", .synonyms = "field"});
  visit.field("max_tokens", c.max_tokens,
              {.help = "tokens that are read, shared evenly among the texts",
               .unit = "tokens",
               .min = 1,
               .max = 1e7,
               .synonyms = "tokens limit"});
}

}  // namespace dualpath
