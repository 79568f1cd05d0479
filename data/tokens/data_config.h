// What a run trains and validates on.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/config/field.h"

namespace dualpath {

struct CorpusConfig {
  std::string path;
  double weight = 1;
};

struct DataConfig {
  std::vector<CorpusConfig> corpora;
  std::vector<CorpusConfig> validation;
  bool replaced = false;
  bool mock = false;
  std::int64_t prefetch_batches = 2;
};

template <class Visitor>
void visit_fields(Visitor& visit, CorpusConfig& c) {
  visit.field("path", c.path,
              {.help = "folder that dualpath tokenize wrote", .synonyms = "folder file"});
  visit.field("weight", c.weight,
              {.help = "share of the samples, relative to the other weights",
               .min = 0,
               .max = 1e15,
               .synonyms = "proportion ratio"});
}

template <class Visitor>
void visit_fields(Visitor& visit, DataConfig& c) {
  visit.list("corpora", c.corpora, "corpora to train on, mixed by weight");
  visit.list("validation", c.validation, "held-out corpora, mixed by weight");
  visit.field("replaced", c.replaced,
              {.help = "let a corpus whose folder now holds other tokens begin anew; without it "
                       "the run is refused"});
  visit.field("mock", c.mock,
              {.help = "random tokens instead of corpora, to measure speed; give model.vocab_size",
               .synonyms = "mock_data synthetic"});
  visit.field("prefetch_batches", c.prefetch_batches,
              {.help = "steps whose batches are read ahead",
               .unit = "steps",
               .min = 1,
               .max = 1024,
               .synonyms = "prefetch prefetch_factor"});
}

// Adds what cannot be read, under keys that begin with "data.".
void validate(const DataConfig& config, ConfigProblems& problems);

}  // namespace dualpath
