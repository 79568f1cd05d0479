#include "launcher/slurm/submit_script.h"

#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/expect_error.h"
#include "tests/temporary_folder.h"

namespace dualpath {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

TEST(TimeLimit, IsReadAsSlurmReadsIt) {
  EXPECT_EQ(parse_time_limit("90"), 90 * 60);
  EXPECT_EQ(parse_time_limit("90:00"), 90 * 60);
  EXPECT_EQ(parse_time_limit("1:30:00"), 90 * 60);
  EXPECT_EQ(parse_time_limit("2-3"), (48 + 3) * 3600);
  EXPECT_EQ(parse_time_limit("2-3:04"), (48 + 3) * 3600 + 4 * 60);
  EXPECT_EQ(parse_time_limit("2-03:04:00"), (48 + 3) * 3600 + 4 * 60);
  EXPECT_EQ(parse_time_limit("0:01"), 60);  // whole minutes
}

TEST(TimeLimit, RefusesWhatIsNone) {
  for (const char* text : {"", "0", "0:00", "one", "1:", ":1", "1-", "-1", "1:2:3:4", "1-2-3",
                           "1:2-3", "1 ", "99999999999"}) {
    EXPECT_EQ(parse_time_limit(text), std::nullopt) << text;
  }
}

class SignalLead : public testing::Test {
 protected:
  void write_metrics(const std::string& lines) {
    std::ofstream(folder_ / "metrics.jsonl") << lines;
  }
  // The lead, or the fields that are wrong.
  std::int64_t lead() {
    ConfigProblems problems;
    const std::int64_t seconds = signal_lead_seconds(submit_, {folder_.path()}, problems);
    for (const ConfigProblem& problem : problems.all()) problems_.push_back(problem.field);
    return seconds;
  }

  SubmitSection submit_;
  std::vector<std::string> problems_;
  TemporaryFolder folder_;
};

TEST_F(SignalLead, WithoutMetricsIsTenMinutesOrAQuarterOfTheLimit) {
  EXPECT_EQ(lead(), 600);
  submit_.time_limit = "20";
  EXPECT_EQ(lead(), 300);
  write_metrics("{\"step\":1,\"save_s\":1}\ncut sho");  // no step
  EXPECT_EQ(lead(), 300);
  EXPECT_THAT(problems_, IsEmpty());
}

TEST_F(SignalLead, CoversTwoStepsAValidationAndTwoSaves) {
  write_metrics(
      "{\"step\":1,\"loss\":2,\"step_ms\":3000}\n"
      "{\"step\":2,\"loss\":2,\"step_ms\":5000}\n"
      "{\"step\":2,\"validation_loss\":2,\"validation_s\":70}\n"
      "{\"step\":2,\"save_s\":20}\n"
      "{\"step\":3,\"loss\":2,\"step_ms\":4000}\n"
      "{\"step\":3,\"save_s\":10}\n"
      "{\"step\":4,\"lo");
  EXPECT_EQ(lead(), 30 + 180);  // 1.5 * (2 * 5 + 70 + 2 * 20)
}

TEST_F(SignalLead, ForgetsOldSteps) {
  std::string lines = "{\"step\":1,\"step_ms\":60000}\n";
  for (int step = 2; step <= 101; ++step) lines += "{\"step\":2,\"step_ms\":1000}\n";
  write_metrics(lines);
  EXPECT_EQ(lead(), 30 + 3);
}

TEST_F(SignalLead, IsAsGiven) {
  write_metrics("{\"step\":1,\"loss\":2,\"step_ms\":3000}\n");
  submit_.signal_lead_seconds = 77;
  EXPECT_EQ(lead(), 77);
  EXPECT_THAT(problems_, IsEmpty());
}

TEST_F(SignalLead, MustLeaveTimeToTrain) {
  submit_.time_limit = "10";
  submit_.signal_lead_seconds = 600;
  lead();
  EXPECT_THAT(problems_, ElementsAre("submit.signal_lead_seconds"));
}

TEST_F(SignalLead, BeyondWhatSlurmTakesIsRefused) {
  write_metrics("{\"step\":1,\"loss\":2,\"step_ms\":1000}\n{\"step\":1,\"save_s\":40000}\n");
  submit_.time_limit = "7-0";
  lead();
  EXPECT_THAT(problems_, ElementsAre("submit.signal_lead_seconds"));
}

TEST_F(SignalLead, NeedsATimeLimit) {
  submit_.time_limit = "a day";
  lead();
  EXPECT_THAT(problems_, ElementsAre("submit.time_limit"));
}

SubmittedRun submitted_run() {
  return {.working_folder = "/home/me",
          .folder = "runs/a",
          .config = "runs/a/submit.yaml",
          .program = "/opt/dualpath",
          .lead_seconds = 90};
}

TEST(SubmitScript, SaysWhatIsAsked) {
  SubmitSection submit;
  submit.nodes = 4;
  submit.ranks_per_node = 8;
  submit.cores_per_rank = 16;
  submit.partition = "long";
  submit.account = "physics";
  submit.options = {"--qos=high", "--mem=0"};
  submit.setup = {"module load openmpi"};
  submit.mpi = "pmi2";
  const std::string script = submit_script(submit, submitted_run());
  for (const char* line : {"#SBATCH --job-name=a",
                           "#SBATCH --nodes=4",
                           "#SBATCH --ntasks-per-node=8",
                           "#SBATCH --cpus-per-task=16",
                           "#SBATCH --time=24:00:00",
                           "#SBATCH --signal=B:USR1@90",
                           "#SBATCH --requeue",
                           "#SBATCH --open-mode=append",
                           "#SBATCH --chdir=/home/me",
                           "#SBATCH --output=runs/a/slurm-%j.out",
                           "#SBATCH --partition=long",
                           "#SBATCH --account=physics",
                           "#SBATCH --qos=high",
                           "#SBATCH --mem=0",
                           "run=runs/a",
                           "config=(runs/a/submit.yaml)",
                           "program=/opt/dualpath",
                           "container=()",
                           "mpi=pmi2",
                           "  module load openmpi",
                           "trap '' USR1 TERM"}) {
    EXPECT_THAT(script, HasSubstr(std::string("\n") + line + "\n"));
  }
  EXPECT_THAT(script, Not(HasSubstr("exclusive")));
}

TEST(SubmitScript, TakesWholeNodesWhereNoCoresAreGiven) {
  const std::string script = submit_script({}, submitted_run());
  EXPECT_THAT(script, HasSubstr("\n#SBATCH --exclusive\n"));
  EXPECT_THAT(script, Not(HasSubstr("#SBATCH --cpus-per-task")));
}

TEST(SubmitScript, AsksForGpusAndLetsThemIntoAContainer) {
  SubmitSection submit;
  EXPECT_THAT(submit_script(submit, submitted_run()), Not(HasSubstr("gpus")));
  submit.gpus_per_node = 8;
  submit.container = "a.sif";
  const std::string script = submit_script(submit, submitted_run());
  EXPECT_THAT(script, HasSubstr("\n#SBATCH --gpus-per-node=8\n"));
  EXPECT_THAT(script, HasSubstr("\ncontainer=(apptainer exec --nv --bind"));
}

TEST(SubmitScript, NamesTheJobAfterTheFolder) {
  SubmittedRun run = submitted_run();
  run.folder = "/scratch/runs/b/";
  EXPECT_THAT(submit_script({}, run), HasSubstr("\n#SBATCH --job-name=b\n"));
}

TEST(SubmitScript, QuotesForTheShellAndForSlurm) {
  SubmittedRun run = submitted_run();
  run.folder = "runs/it's 5% $HOME";
  const std::string script = submit_script({}, run);
  EXPECT_THAT(script, HasSubstr("\nrun='runs/it'\\''s 5% $HOME'\n"));
  EXPECT_THAT(script, HasSubstr("\n#SBATCH '--output=runs/it'\\''s 5%% $HOME/slurm-%j.out'\n"));
}

TEST(SubmitScript, RunsInAContainer) {
  SubmitSection submit;
  submit.container = "a b.sif";
  submit.container_options = {"--bind=/scratch"};
  SubmittedRun run = submitted_run();
  run.folder = "/scratch/runs/a";
  EXPECT_THAT(submit_script(submit, run),
              HasSubstr("\ncontainer=(apptainer exec --bind /home/me --bind /scratch/runs/a "
                        "--bind=/scratch 'a b.sif')\n"));
}

TEST(SubmitScript, RefusesAnOptionOfTwoLines) {
  SubmitSection submit;
  submit.account = "a\nrm -rf b";
  EXPECT_THAT(error_of(ExitCode::configuration, [&] { submit_script(submit, submitted_run()); }),
              HasSubstr("--account=a"));
}

}  // namespace
}  // namespace dualpath
