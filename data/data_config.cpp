#include "data/data_config.h"

#include <fmt/format.h>

namespace dualpath {

namespace {

void validate_mixture(const std::vector<CorpusConfig>& corpora, const std::string& key,
                      ConfigProblems& problems) {
  double sum = 0;
  for (std::size_t i = 0; i < corpora.size(); ++i) {
    if (corpora[i].path.empty()) {
      problems.add(fmt::format("{}[{}].path", key, i), "names no corpus folder");
    }
    sum += corpora[i].weight;
  }
  if (!corpora.empty() && sum == 0) problems.add(key, "all weights are 0");
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
