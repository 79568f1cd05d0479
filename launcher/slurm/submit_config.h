// The configuration of `dualpath submit`: that of `train`, and what is asked of Slurm.
#pragma once

#include "launcher/config/run_config.h"

namespace dualpath {

struct SubmitSection {
  std::int64_t nodes = 1;
  std::int64_t ranks_per_node = 1;
  std::int64_t gpus_per_node = 0;
  std::int64_t cores_per_rank = 0;
  std::string time_limit = "24:00:00";
  std::int64_t signal_lead_seconds = 0;
  std::string partition;
  std::string account;
  std::string name;
  std::vector<std::string> options;
  std::vector<std::string> setup;
  std::string program;
  std::string container;
  std::vector<std::string> container_options;
  std::string mpi = "pmix";
  bool dry_run = false;

  std::int64_t num_ranks() const { return nodes * ranks_per_node; }
};

struct SubmitConfig {
  SubmitSection submit;
  RunConfig run;
};

template <class Visitor>
void visit_fields(Visitor& visit, SubmitSection& c) {
  visit.field("nodes", c.nodes, {.help = "nodes of the job", .min = 1, .max = 1 << 20});
  visit.field("ranks_per_node", c.ranks_per_node, {.help = "ranks a node", .min = 1, .max = 1024});
  visit.field("gpus_per_node", c.gpus_per_node,
              {.help = "GPUs a node, which its ranks share in turn; 0: none are asked for",
               .min = 0,
               .max = 1024});
  visit.field("cores_per_rank", c.cores_per_rank,
              {.help = "cores a rank; 0: whole nodes, their cores shared among the ranks",
               .unit = "cores",
               .min = 0,
               .max = 65536});
  visit.field(
      "time_limit", c.time_limit,
      {.help = "of one start, as Slurm writes it: MINUTES, HOURS:MINUTES:SECONDS, "
               "DAYS-HOURS:MINUTES:SECONDS; the job requeues itself until the run is done"});
  visit.field(
      "signal_lead_seconds", c.signal_lead_seconds,
      {.help = "how long before the time limit the job is told to stop; 0: from the longest "
               "steps, validations and saves in the run's metrics.jsonl, or without them "
               "10 minutes, a quarter of the limit at most",
       .unit = "s",
       .min = 0,
       .max = 65535});
  visit.field("partition", c.partition, {.help = "empty: the cluster's default"});
  visit.field("account", c.account, {.help = "empty: your default"});
  visit.field("name", c.name, {.help = "of the job; empty: the name of the run's folder"});
  visit.field("options", c.options, {.help = "further options of sbatch: [--qos=long, --mem=0]"});
  visit.field("setup", c.setup,
              {.help = "shell lines before the ranks start: [module load openmpi hdf5]"});
  visit.field("program", c.program,
              {.help = "the dualpath that trains; empty: this one, in a container `dualpath`"});
  visit.field("container", c.container,
              {.help = "image for `apptainer exec`, with this folder and the run's bound; empty: "
                       "none"});
  visit.field("container_options", c.container_options,
              {.help = "of `apptainer exec`: [--bind=/scratch]"});
  visit.field("mpi", c.mpi, {.help = "how srun starts the ranks; srun --mpi=list tells the kinds"});
  visit.field("dry_run", c.dry_run,
              {.help = "print the script, write and submit nothing; also spelt --dry-run"});
}

template <class Visitor>
void visit_fields(Visitor& visit, SubmitConfig& c) {
  visit.section("submit", c.submit, "the Slurm job");
  visit_fields(visit, c.run);
}

}  // namespace dualpath
