// What a run reads: its corpora or random tokens, held-out text, and the tokenizer of both.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/checkpoints/checkpoint_manifest.h"
#include "data/text/tokenizer.h"
#include "data/tokens/sample_source.h"
#include "data/tokens/token_stream.h"
#include "launcher/config/run_config.h"
#include "parallel/communicator.h"

namespace dualpath {

struct ValidationCorpus {
  std::unique_ptr<SampleSource> samples;
  std::int64_t num_samples;
  double weight;
  std::string content = {};  // of the corpus, for describe_content()
};

struct TrainingData {
  std::unique_ptr<SampleSource> training;
  TokenStream* stream = nullptr;  // training, where it is one; null with data.mock
  std::vector<ValidationCorpus> validation;
  std::optional<Tokenizer> tokenizer;  // absent with data.mock, or where the corpora have none
  std::string tokenizer_hash;          // "" with data.mock

  // Length of each token's text, by id; empty without a tokenizer.
  std::vector<std::uint32_t> bytes_of_token() const;

  // Continues from a checkpoint, which is called `name`. `report` gets a line for each change of
  // the corpora. Throws Error(data) where they have another tokenizer, or like resume_data();
  // Error(checkpoint) where the checkpoint's state of the data makes no sense.
  void resume(const CheckpointManifest& checkpoint, const std::string& name,
              const DataConfig& config, const std::function<void(const std::string&)>& report);
  // The state of the data after this many samples, for a checkpoint.
  std::string state_at(std::int64_t consumed_samples) const;
  // A line for each corpus: its folder and the checksum of its content. Ranks that read the same
  // get the same text.
  std::string describe_content() const;
};

// Fills in what the corpora decide: model.vocab_size where it is 0.
// Throws Error(configuration) where the model's vocabulary is smaller than the corpora's,
// Error(data) where a corpus is damaged or two disagree in their tokenizer.
TrainingData open_training_data(RunConfig& config);
// The same on all ranks of a job, which must see the same tokens, wherever each rank finds them. An
// error on any rank is thrown on all, as an AgreedError. Collective.
TrainingData open_training_data(RunConfig& config, Communicator& ranks);

// Whether the run's training corpora are on this machine; false with data.mock.
bool corpora_are_here(const RunConfig& config);

// The tokenizer in a corpus folder, or in the folder around it, where the training and validation
// part of one text share it; none if neither has one.
std::optional<Tokenizer> find_tokenizer(const std::filesystem::path& corpus_folder);

}  // namespace dualpath
