// The configuration of `dualpath train`, gathered from the sections' own structs.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "core/config/config.h"
#include "data/checkpoints/checkpoint_config.h"
#include "data/tokens/data_config.h"
#include "launcher/config/profile_config.h"
#include "launcher/config/train_config.h"
#include "model/config.h"
#include "model/optimizer_config.h"
#include "parallel/fault_config.h"
#include "parallel/parallel_config.h"

namespace dualpath {

struct RunSection {
  std::string name = "default";
  std::string folder;  // "": runs/NAME
};

struct LoggingConfig {
  std::int64_t every_steps = 10;
  bool tensorboard = true;
};

struct RunConfig {
  RunSection run;
  ModelConfig model;
  ParallelConfig parallel;
  TrainConfig train;
  OptimizerConfig optimizer;
  DataConfig data;
  CheckpointConfig checkpoint;
  LoggingConfig logging;
  FaultConfig fault;
  ProfileConfig profile;

  std::filesystem::path folder() const {
    return run.folder.empty() ? std::filesystem::path("runs") / run.name
                              : std::filesystem::path(run.folder);
  }
};

template <class Visitor>
void visit_fields(Visitor& visit, RunSection& c) {
  visit.field("name", c.name,
              {.help = "name of the run", .synonyms = "run_name wandb_run_name experiment_name"});
  visit.field("folder", c.folder,
              {.help = "folder of its log, metrics and checkpoints; empty: runs/NAME",
               .synonyms = "out_dir output_dir save_dir output"});
}

template <class Visitor>
void visit_fields(Visitor& visit, LoggingConfig& c) {
  visit.field("every_steps", c.every_steps,
              {.help = "steps from one console line to the next; a line has means over these "
                       "steps, and the last learning rate and gradient norm",
               .unit = "steps",
               .min = 1,
               .max = bounds::steps,
               .synonyms = "log_interval logging_steps log_every"});
  visit.field("tensorboard", c.tensorboard,
              {.help = "write TensorBoard event files", .synonyms = "tensorboard_dir report_to"});
}

template <class Visitor>
void visit_fields(Visitor& visit, RunConfig& c) {
  visit.section("run", c.run, "the run and its folder");
  visit.section("model", c.model, "the architecture");
  visit.section("parallel", c.parallel, "layout over ranks");
  visit.section("train", c.train, "length, batch and numerics");
  visit.section("optimizer", c.optimizer, "AdamW and its learning rate");
  visit.section("data", c.data, "what the run trains and validates on");
  visit.section("checkpoint", c.checkpoint, "saving and resuming");
  visit.section("logging", c.logging, "console and TensorBoard");
  visit.section("fault", c.fault, "what happens when ranks hang or fail");
  visit.section("profile", c.profile, "steps that are traced");
}

// Adds what cannot run on num_ranks ranks: the problems of every section and those between them.
void validate(const RunConfig& config, std::int64_t num_ranks, ConfigProblems& problems);

// A model section that print_config wrote. Throws Error(configuration) where it cannot be read.
ModelConfig parse_model(const std::string& yaml);

// Whether only the initial weights depend on the field ("model.init_std").
bool is_init_only(std::string_view key);

// What a run that goes on has changed since its checkpoint: the new values hold. Throws
// Error(configuration) naming all changed model fields, but for those that only initial weights
// depend on. Give both as the user gave them, or both resolved.
std::vector<ConfigChange> check_resume(const RunConfig& before, const RunConfig& after);

}  // namespace dualpath
