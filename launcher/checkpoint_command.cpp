// dualpath checkpoint: which checkpoints there are, and whether they are whole; what differs
// between two; other files of the same state; the model for Hugging Face's transformers, and back.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <utility>
#include <vector>

#include "data/checkpoints/checkpoint_folder.h"
#include "data/files/file_io.h"
#include "launcher/commands.h"
#include "launcher/common/arguments.h"
#include "launcher/common/text_format.h"
#include "launcher/export/checkpoint_diff.h"
#include "launcher/export/checkpoint_reader.h"
#include "launcher/export/export_model.h"
#include "launcher/export/import_model.h"
#include "launcher/export/reshard.h"

namespace dualpath {

namespace {

namespace fs = std::filesystem;

constexpr const char* usage =
    "dualpath checkpoint list|verify|diff|reshard|export|import FOLDER...";

struct ExportOptions {
  ExportConfig export_config;
};

template <class Visitor>
void visit_fields(Visitor& visit, ExportOptions& c) {
  visit.section("export", c.export_config, "the exported files");
}

struct ReshardOptions {
  std::int64_t ranks = 0;
};

template <class Visitor>
void visit_fields(Visitor& visit, ReshardOptions& c) {
  visit.field("ranks", c.ranks,
              {.help = "number of shards, as that many ranks write", .min = 0, .max = 1 << 20});
}

std::string export_fields() {
  return config_help<ExportOptions>();
}

std::string checkpoint_help() {
  return fmt::format(
      R"(usage: dualpath checkpoint list|verify FOLDER...
       dualpath checkpoint diff A B
       dualpath checkpoint reshard CHECKPOINT DIR ranks=N
       dualpath checkpoint export RUN|CHECKPOINT DIR [key=value...]
       dualpath checkpoint import DIR RUN

Needs no MPI and no GPU, and may be used while a run is training. A run's folder stands for its newest whole
checkpoint, but for list and verify, which look at all. Tensors are read piece by piece: no action needs
memory for a model. What is written is a new folder, which appears when it is complete; one that exists and
is not empty is never overwritten.

  list     one line a checkpoint; reads manifests and file sizes only
  verify   reads all shards and compares them with the hashes of what was saved
           FOLDER is a run folder, its folder of checkpoints, or one checkpoint
  diff     tensors whose bits differ: how many elements, the largest difference, norms; tensors that only
           one has; what differs in model, step and tokenizer
  reshard  the whole state, moments too, in the files of N ranks; `train` needs no such step: any number of
           ranks loads what any other saved
  export   weights for Hugging Face's transformers, from 4.46 on: safetensors, config.json, tokenizer,
           the model in PyTorch and a model card. There
           AutoModelForCausalLM.from_pretrained(DIR, trust_remote_code=True) loads the model
  import   such a folder, in fp32, as a new run folder with a checkpoint of step 0: the same weights, bit
           by bit. Moments do not travel: `generate` and `eval` take the run, and training starts anew
           from it with train.init_from=RUN and another run.folder

A checkpoint that a training run removes meanwhile, after a newer save, is not damaged: the newer
one is checked.

Exit code 0: whole, equal or written. 4: a checkpoint is damaged, two differ (diff prints how), or
something cannot be read or written (the message tells what).

fields of export:
{})",
      export_fields());
}

// What lies at the path that the user gave.
struct Place {
  fs::path checkpoint;  // one checkpoint; else
  fs::path folder;      // a folder of checkpoints

  std::vector<CheckpointEntry> look() const {
    if (folder.empty()) return {look_at_checkpoint(checkpoint)};
    return list_checkpoints(folder);
  }
  std::vector<fs::path> unfinished() const {
    return folder.empty() ? std::vector<fs::path>{} : list_unfinished(folder);
  }
};

Place find_checkpoints(fs::path path) {
  if (!path.has_filename()) path = path.parent_path();  // "runs/name/"
  CHECK_AS(ExitCode::checkpoint, is_folder(path, ExitCode::checkpoint), "{}: no such folder",
           path.string());
  if (path_exists(path / manifest_name, ExitCode::checkpoint) ||
      step_of_name(path.filename().string())) {
    return {path, {}};
  }
  const fs::path inner = path / "checkpoints";
  Place place{{}, is_folder(inner, ExitCode::checkpoint) ? inner : path};
  CHECK_AS(ExitCode::checkpoint, !list_steps(place.folder).empty() || !place.unfinished().empty(),
           "{}: holds no checkpoints", path.string());
  return place;
}

double mebibytes(const CheckpointManifest& manifest) {
  return static_cast<double>(manifest.shards.bytes) / (1 << 20);
}

// The lines of `text`, indented.
void print_problem(const std::string& text) {
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    fmt::print("    {}\n", text.substr(begin, end - begin));
    begin = end + 1;
  }
}

// Both actions return the number of damaged checkpoints.

int list(const Place& place) {
  int num_damaged = 0;
  fmt::print("{:<20}{:>8}{:>14}{:>14}{:>18}  state\n", "checkpoint", "shards", "MiB", "samples",
             "tokens");
  for (const CheckpointEntry& entry : place.look()) {
    const std::string name = entry.folder.filename().string();
    if (entry.looks_whole()) {
      const CheckpointManifest& manifest = *entry.manifest;
      fmt::print("{:<20}{:>8}{:>14.2f}{:>14}{:>18}  whole\n", name, manifest.shards.count,
                 mebibytes(manifest), manifest.consumed_samples, manifest.consumed_tokens);
    } else {
      ++num_damaged;
      fmt::print("{:<74}  damaged\n", name);
      print_problem(entry.problem);
    }
  }
  for (const fs::path& path : place.unfinished()) {
    fmt::print("{:<74}  unfinished\n", path.filename().string());
  }
  return num_damaged;
}

enum class Verdict { whole, damaged, removed };

Verdict verify(const fs::path& folder) {
  const auto self = make_self_communicator();
  const FolderIdentity before = identity_of(folder);
  try {
    const Checkpoint checkpoint = open_whole_checkpoint(folder, *self);
    fmt::print("{}: whole, {:.2f} MiB read\n", folder.string(), mebibytes(checkpoint.manifest));
    return Verdict::whole;
  } catch (const Error& error) {
    if (is_gone(folder, before)) {
      fmt::print("{}: removed while it was read\n", folder.string());
      return Verdict::removed;
    }
    fmt::print("{}: damaged\n", folder.string());
    print_problem(error.what());
    return Verdict::damaged;
  }
}

int verify(const Place& place) {
  if (place.folder.empty()) return verify(place.checkpoint) != Verdict::whole;
  int num_damaged = 0;
  std::int64_t seen = -1;  // the newest step
  for (bool is_one_gone = true; std::exchange(is_one_gone, false);) {
    for (const std::int64_t step : list_steps(place.folder)) {
      if (step <= seen) continue;
      seen = step;
      const Verdict verdict = verify(place.folder / checkpoint_name(step));
      is_one_gone |= verdict == Verdict::removed;
      num_damaged += verdict == Verdict::damaged;
      std::fflush(stdout);
    }
  }
  return num_damaged;
}

ExitCode list_or_verify(const Arguments& arguments) {
  const std::string& action = arguments.positional.front();
  int num_damaged = 0;
  for (const std::string& path : std::span(arguments.positional).subspan(1)) {
    const Place place = find_checkpoints(path);
    num_damaged += action == "list" ? list(place) : verify(place);
  }
  return num_damaged == 0 ? ExitCode::success : ExitCode::checkpoint;
}

ExitCode diff(const Arguments& arguments) {
  const SourceCheckpoint a = open_source(arguments.positional[1]);
  const SourceCheckpoint b = open_source(arguments.positional[2]);
  const CheckpointDiff found = compare_checkpoints(a.checkpoint, b.checkpoint);
  fmt::print("{} | {}\n{}", a.checkpoint.folder.string(), b.checkpoint.folder.string(),
             print_diff(found));
  return found.is_equal() ? ExitCode::success : ExitCode::checkpoint;
}

ExitCode reshard(const Arguments& arguments) {
  const auto options = read_options<ReshardOptions>(arguments.overrides);
  CHECK_AS(ExitCode::configuration, options.ranks > 0, "reshard needs ranks=N\nusage: {}", usage);
  const SourceCheckpoint source = open_source(arguments.positional[1]);
  reshard_checkpoint(source.checkpoint, arguments.positional[2], static_cast<int>(options.ranks));
  fmt::print("{}: {} in {}\n", arguments.positional[2], source.checkpoint.folder.string(),
             plural(static_cast<std::size_t>(options.ranks), "shard"));
  return ExitCode::success;
}

ExitCode export_action(const Arguments& arguments) {
  const auto options = read_options<ExportOptions>(arguments.overrides);
  const SourceCheckpoint source = open_source(arguments.positional[1]);
  export_model(source, arguments.positional[2], options.export_config);
  fmt::print("{}: the weights of {} in {}\n", arguments.positional[2],
             source.checkpoint.folder.string(), enum_name(options.export_config.dtype));
  return ExitCode::success;
}

ExitCode import_action(const Arguments& arguments) {
  import_model(arguments.positional[1], arguments.positional[2]);
  fmt::print(
      "{0}: a run folder with the weights of {1}, and no moments; to train on, start a new run "
      "with train.init_from={0}\n",
      arguments.positional[2], arguments.positional[1]);
  return ExitCode::success;
}

struct Action {
  const char* name;
  ExitCode (*run)(const Arguments&);
  std::size_t max_words;  // with its own name; 0: any number
  bool has_options;
};
constexpr Action actions[] = {
    {"list", list_or_verify, 0, false}, {"verify", list_or_verify, 0, false},
    {"diff", diff, 3, false},           {"reshard", reshard, 3, true},
    {"export", export_action, 3, true}, {"import", import_action, 3, false}};

ExitCode run_checkpoint(std::span<const std::string> words) {
  const Arguments arguments = split_arguments(words, usage, 2, words.size());
  const std::string& name = arguments.positional.front();
  const auto action = std::ranges::find(actions, name, &Action::name);
  CHECK_AS(ExitCode::configuration, action != std::end(actions),
           "{} is none of list, verify, diff, reshard, export and import\nusage: {}", name, usage);
  CHECK_AS(ExitCode::configuration, action->has_options || arguments.overrides.empty(),
           "{}: {} has no options\nusage: {}", arguments.overrides.front(), name, usage);
  CHECK_AS(ExitCode::configuration,
           action->max_words == 0 || arguments.positional.size() == action->max_words,
           "{} needs two folders\nusage: {}", name, usage);
  return action->run(arguments);
}

}  // namespace

const Command checkpoint_command = {"checkpoint",
                                    "list, verify, compare, export and import checkpoints",
                                    checkpoint_help, run_checkpoint};

}  // namespace dualpath
