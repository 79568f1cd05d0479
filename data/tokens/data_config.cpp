#include "data/tokens/data_config.h"

#include <fmt/format.h>

namespace dualpath {

namespace {

void validate_mixture(const std::vector<CorpusConfig>& corpora, const std::string& key,
                      ConfigProblems& problems) {
  for (std::size_t i = 0; i < corpora.size(); ++i) {
    if (corpora[i].path.empty()) {
      problems.add(fmt::format("{}[{}].path", key, i), "names no corpus folder");
    }
    if (corpora[i].weight == 0) {
      problems.add(fmt::format("{}[{}].weight", key, i), "must be above 0; leave the corpus out");
    }
  }
}

}  // namespace

void validate(const DataConfig& config, ConfigProblems& problems) {
  if (config.corpora.empty() && !config.mock) {
    problems.add("data.corpora",
                 "nothing to train on; give data.corpora=[{path: FOLDER}] or data.mock=true");
  }
  validate_mixture(config.corpora, "data.corpora", problems);
  validate_mixture(config.validation, "data.validation", problems);
}

}  // namespace dualpath
