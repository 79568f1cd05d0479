#include "launcher/evaluate/load_model.h"

#include "data/checkpoints/checkpoint_folder.h"
#include "data/files/file_io.h"
#include "data/text/tokenizer_files.h"
#include "launcher/config/run_config.h"
#include "model/parameter_slices.h"
#include "model/resolve_config.h"

namespace dualpath {

ModelPlace find_model(const std::filesystem::path& path, std::int64_t step) {
  std::filesystem::path folder = absolute_path(path, ExitCode::checkpoint).lexically_normal();
  if (!folder.has_filename()) folder = folder.parent_path();  // "runs/name/"
  CHECK_AS(ExitCode::checkpoint, is_folder(folder, ExitCode::checkpoint),
           "no run folder or checkpoint {}", path.string());
  if (path_exists(folder / manifest_name, ExitCode::checkpoint)) {
    CHECK_AS(ExitCode::configuration, step == 0,
             "{} is one checkpoint; leave out step={}, or give the run's folder", path.string(),
             step);
    return {folder.parent_path().parent_path(), folder};
  }
  if (step == 0) return {path, {}};
  const std::filesystem::path chosen = path / "checkpoints" / checkpoint_name(step);
  CHECK_AS(ExitCode::checkpoint, is_folder(chosen, ExitCode::checkpoint), "{}: no such checkpoint",
           chosen.string());
  return {path, chosen};
}

namespace {

Checkpoint open_checkpoint(const ModelPlace& place, Communicator& self) {
  if (!place.checkpoint.empty()) return open_whole_checkpoint(place.checkpoint, self);
  const auto warn = [](const std::string& line) { fmt::print(stderr, "{}\n", line); };
  std::optional<Checkpoint> newest = newest_whole(place.run / "checkpoints", warn, self);
  CHECK_AS(ExitCode::checkpoint, newest.has_value(), "{} has no checkpoint", place.run.string());
  return *std::move(newest);
}

}  // namespace

LoadedModel load_model(const ModelPlace& place, const ModelOptionsOf& options, Device& device,
                       Stream& stream) {
  constexpr int max_attempts = 100;
  const auto self = make_self_communicator();
  for (int attempt = 1;; ++attempt) {
    LoadedModel loaded{open_checkpoint(place, *self), nullptr};
    const Checkpoint& checkpoint = loaded.checkpoint;
    const ResolvedModelConfig config = resolve(parse_model(checkpoint.manifest.model));
    loaded.model = std::make_unique<Model>(config, options(config), device, stream);
    try {
      load_slices(checkpoint, weights_of(loaded.model->parameters()), SliceAccess(device, stream));
      loaded.model->refresh_operands();
      return loaded;
    } catch (const Error&) {
      if (!place.checkpoint.empty() || attempt == max_attempts || !checkpoint.is_gone()) throw;
    }
  }
}

Tokenizer load_tokenizer_of(const ModelPlace& place, const Checkpoint& checkpoint) {
  const std::filesystem::path folder = place.run / "tokenizer";
  CHECK_AS(
      ExitCode::data, is_folder(folder, ExitCode::data),
      "no tokenizer {}: a checkpoint is used where its run keeps it, and a run on data.mock has "
      "none",
      folder.string());
  Tokenizer tokenizer = load_tokenizer(folder);
  CHECK_AS(ExitCode::data, tokenizer.hash() == checkpoint.manifest.tokenizer_hash,
           "{} was trained with tokenizer {}, but {} is {}", checkpoint.folder.string(),
           checkpoint.manifest.tokenizer_hash, folder.string(), tokenizer.hash());
  return tokenizer;
}

std::vector<std::string> validation_corpora(const ModelPlace& place, const char* fields) {
  const std::filesystem::path file = place.run / "config.yaml";
  std::vector<std::string> folders;
  if (path_exists(file, ExitCode::checkpoint)) {
    ConfigSource source;
    source.add_file(file.string());
    ConfigProblems problems;
    const RunConfig config = read_config<RunConfig>(source, problems);
    throw_if_any(problems, source);
    for (const CorpusConfig& corpus : config.data.validation) folders.push_back(corpus.path);
  }
  CHECK_AS(ExitCode::configuration, !folders.empty(),
           "nothing to read: the run has no data.validation; give {}", fields);
  return folders;
}

}  // namespace dualpath
