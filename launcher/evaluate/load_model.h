// The model of a run or of one checkpoint, for those who use it and do not train it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "data/checkpoints/checkpoint_store.h"
#include "data/text/tokenizer.h"
#include "model/model.h"

namespace dualpath {

// What a user names: a run folder or a checkpoint's.
struct ModelPlace {
  std::filesystem::path run;         // the run's folder
  std::filesystem::path checkpoint;  // one of its checkpoints; empty: the newest whole one
};
// step: of a run's checkpoint; 0: the newest whole one. Throws Error(checkpoint) where there is no
// such folder, Error(configuration) where a checkpoint is given and a step besides.
ModelPlace find_model(const std::filesystem::path& path, std::int64_t step);

struct LoadedModel {
  Checkpoint checkpoint;
  std::unique_ptr<Model> model;
};
// Checkpoints that are passed over are told on standard error. A run that is training may remove
// the newest checkpoint, once it has a newer one, before it is read: then that one is taken.
// options: of a model of this configuration.
using ModelOptionsOf = std::function<ModelOptions(const ModelConfig&)>;
LoadedModel load_model(const ModelPlace& place, const ModelOptionsOf& options, Device& device,
                       Stream& stream);

// The run's tokenizer. Throws Error(data) where the checkpoint was trained with another.
Tokenizer load_tokenizer_of(const ModelPlace& place, const Checkpoint& checkpoint);

// What the run validates on, for a user who names nothing else; `fields` are those that could.
// Throws Error(configuration) where it validates on nothing.
std::vector<std::string> validation_corpora(const ModelPlace& place, const char* fields);

}  // namespace dualpath
