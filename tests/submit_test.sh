#!/usr/bin/env bash
# submit_test.sh DUALPATH: what `dualpath submit` refuses, writes and hands to sbatch; no Slurm needed.
set -u
. "$(dirname "$(realpath "$0")")/program.sh"
program_test "$1"

cat >config.yaml <<'YAML'
model: {layers: 1, hidden_size: 32, attention_heads: 2, sequence_length: 32, vocab_size: 128,
        deep: {iterations: 2, ffn_hidden_size: 32}, wide: {ffn_hidden_size: 64}}
train: {steps: 4, global_batch_size: 8, micro_batch_size: 2}
data: {mock: true}
YAML
submit() { "$dualpath" submit config.yaml run.name=run "$@"; }

# An sbatch that tells how it was called.
mkdir bin
cat >bin/sbatch <<'SBATCH'
#!/usr/bin/env bash
echo "$*" >>sbatch_calls
[[ -e no_such_partition ]] && { echo "sbatch: error: invalid partition" >&2; exit 1; }
echo "4321;cluster"
SBATCH
chmod +x bin/sbatch
with_sbatch() { PATH=$PWD/bin:$PATH submit "$@"; }

# Refused as `train` refuses it on so many ranks.
expect "ranks" 2 'config.yaml:3: train.global_batch_size: 8 is no multiple .* the nearest are 6 and 12' \
  with_sbatch submit.nodes=3
expect "unknown key" 2 'submit.node: unknown key, did you mean submit.nodes\?' with_sbatch submit.node=3
expect "time limit" 2 'submit.time_limit: "soon" is no time; ' with_sbatch submit.time_limit=soon
expect "setup that is no shell" 2 'submit.setup: is no shell: .*syntax error' with_sbatch 'submit.setup=["if true"]'
expect "no MPI" 2 'submit.mpi: empty; srun' with_sbatch submit.mpi=
expect "missing corpus" 3 'nowhere' with_sbatch data.mock=false 'data.corpora=[{path: nowhere}]'
expect "no such checkpoint" 4 'step-00000007' with_sbatch checkpoint.load_step=7
expect "no sbatch" 2 'sbatch cannot be run: No such file' env PATH=/nowhere "$dualpath" submit config.yaml run.name=missing
[ -e sbatch_calls ] && fail "refused, yet submitted" sbatch_calls
[ -e runs/run ] && fail "refused, yet a run folder"

for spelling in --dry-run submit.dry_run=true; do
  expect "dry run" 0 '^#SBATCH --nodes=2$' with_sbatch submit.nodes=2 $spelling
  bash -n output || fail "a script that is none" output
done
[ -e sbatch_calls ] || [ -e runs/run ] && fail "a dry run leaves traces"

expect "submitted" 0 '^submitted job 4321: 4 ranks on 2 nodes, to stop 600 s before the time limit of 24:00:00$' \
  with_sbatch submit.nodes=2 submit.ranks_per_node=2 model.layers=2
expect "call" 0 '^--parsable runs/run/submit.sbatch$' cat sbatch_calls
expect "script" 0 '^config=\(runs/run/submit.yaml\)$' cat runs/run/submit.sbatch
expect "the configuration of the submission" 0 'finished 4 steps' "$dualpath" train runs/run/submit.yaml
expect "with its overrides" 0 'layers: 2' cat runs/run/config.yaml

expect "a finished run" 0 '^runs/run is finished; remove runs/run/DONE to train it further$' with_sbatch
[ "$(wc -l <sbatch_calls)" -eq 1 ] || fail "a finished run was submitted" sbatch_calls
rm runs/run/DONE
expect "another model than the checkpoint's" 2 'model.layers: 2 in the checkpoint, 1 now' with_sbatch
mv runs/run/checkpoints moved
expect "lost checkpoints" 4 'metrics.jsonl tells that step 4 was saved, but there is no checkpoint' with_sbatch model.layers=2
mv moved runs/run/checkpoints
echo '{"step":4,"step_ms":4000}' >runs/run/metrics.jsonl
expect "lead from the run" 0 'to stop 42 s before' with_sbatch model.layers=2 train.steps=8
expect "a program that is elsewhere" 0 'warning: submit.program=/nowhere/dualpath: no such file here' \
  with_sbatch model.layers=2 train.steps=8 submit.program=/nowhere/dualpath --dry-run
cp bin/sbatch sbatch_before
printf '%s\n' '#!/usr/bin/env bash' 'echo "Submitted batch job 5"' >bin/sbatch
expect "an answer that is no number" 2 'answers "Submitted batch job 5", which is no job' \
  with_sbatch model.layers=2 train.steps=8
mv sbatch_before bin/sbatch
touch no_such_partition
expect "refused by sbatch" 2 'sbatch has refused the job' with_sbatch model.layers=2 train.steps=8
expect "in its words" 2 'invalid partition' with_sbatch model.layers=2 train.steps=8

# A start of the job, whose ranks are `rank`; scontrol tells of RESTARTS.
printf '%s\n' '#!/usr/bin/env bash' 'while [[ $1 == --* ]]; do shift; done; exec "$@"' >bin/srun
printf '%s\n' '#!/usr/bin/env bash' 'echo "   JobState=COMPLETING Reason=${REASON-None} Dependency=(null)"' \
  'echo "   Requeue=1 Restarts=${RESTARTS-0} BatchFlag=1"; [[ $1 != requeue ]]' >bin/scontrol
printf '%s\n' '#!/usr/bin/env bash' 'echo "COMPLETING None"' >bin/squeue
printf '%s\n' '#!/usr/bin/env bash' 'env | grep ^OMPI_MCA_ | sort | tr "\n" " "; exit "$RANK_CODE"' >rank
printf '%s\n' '#!/usr/bin/env bash' "exec $(command -v sleep) 0.02" >bin/sleep  # the script looks once a second
chmod +x bin/srun bin/scontrol bin/squeue bin/sleep rank
start() {
  env SLURM_JOB_ID=7 SLURM_CPUS_PER_TASK=1 SLURM_JOB_NODELIST=here PATH="$PWD/bin:$PATH" "$@" bash start.sbatch
}
with_sbatch model.layers=2 train.steps=8 submit.program=./rank --dry-run >start.sbatch

# Trial R13: who requeued it, and whether it goes on.
expect "stopped" 75 'job 7: stopped; to go on, submit it again$' start RANK_CODE=75
expect "requeued by an administrator" 75 'job 7: stopped; requeued by Slurm, it goes on by itself$' start RANK_CODE=75 RESTARTS=1
expect "requeued and held" 75 'job 7: stopped; requeued by Slurm, it is held: `scontrol release 7` lets it go on$' \
  start RANK_CODE=75 RESTARTS=1 REASON=job_requeued_in_held_state
expect "killed and requeued" 75 'job 7: ends with exit code 137; requeued by Slurm, it goes on by itself$' \
  start RANK_CODE=137 RESTARTS=3 SLURM_RESTART_COUNT=2
expect "failed in its second start" 2 'job 7: ends with exit code 2, not to be requeued$' \
  start RANK_CODE=2 RESTARTS=1 SLURM_RESTART_COUNT=1

# Trial R14: what the user has set, in setup or before, is not undone; but what mpi_environment.sh has set.
unset "${!OMPI_MCA_@}"
yield=OMPI_MCA_mpi_yield_when_idle=1
expect "environment of one machine" 2 "^$yield [0-9]{4}-" start RANK_CODE=2 OMPI_MCA_pml=ob1 OMPI_MCA_btl=self,vader
expect "environment of the user" 2 "^OMPI_MCA_btl=self,tcp $yield OMPI_MCA_pml=ob1 " start RANK_CODE=2 OMPI_MCA_pml=ob1 OMPI_MCA_btl=self,tcp
with_sbatch model.layers=2 train.steps=8 submit.program=./rank --dry-run \
  'submit.setup=["export OMPI_MCA_pml=ob1 OMPI_MCA_btl=self,vader OMPI_MCA_mpi_yield_when_idle=0"]' >start.sbatch
expect "environment of setup" 2 '^OMPI_MCA_btl=self,vader OMPI_MCA_mpi_yield_when_idle=0 OMPI_MCA_pml=ob1 ' start RANK_CODE=2

# Trial S8: load_step is applied by the first start; those that follow go on, and so does the run that is
# submitted once more, when that checkpoint has been pruned.
rm no_such_partition
back() { with_sbatch run.name=back train.steps=6 checkpoint.every_steps=1 checkpoint.keep_last=2 "$@"; }
"$dualpath" train config.yaml run.name=back train.steps=4 checkpoint.every_steps=1 checkpoint.keep_last=0 >output 2>&1 ||
  fail "a run to go back in" output
rm runs/back/DONE
back checkpoint.load_step=2 >output 2>&1 || fail "load_step, submitted" output
cp runs/back/submit.sbatch start.sbatch
touch runs/back/stop
expect "load_step, first start" 75 'stopped after step 3 of 6' start
expect "load_step, second start" 0 'resumed from .*step-00000003' start
rm runs/back/DONE
expect "load_step, submitted again" 0 '^submitted job' back checkpoint.load_step=2 train.steps=8

# A sweep as a job array.
cat >sweep.yaml <<'YAML'
sweep: {base: config.yaml, name: s, seeds: [1, 2, 3], parallel_runs: 2}
YAML
sweep() { PATH=$PWD/bin:$PATH "$dualpath" sweep submit sweep.yaml "$@"; }
rm sbatch_calls
expect "sweep, ranks" 2 'train.global_batch_size: 8 is no multiple .* \(run dual_path-k2-lr5e-4-s1 and 2 others\)' \
  sweep submit.nodes=3
expect "sweep, setup that is no shell" 2 'submit.setup: is no shell' sweep 'submit.setup=["}"]'
expect "sweep, no sbatch" 2 'sbatch cannot be run: No such file' env PATH=/nowhere "$dualpath" sweep submit sweep.yaml sweep.name=missing
for spelling in --dry-run submit.dry_run=true; do
  expect "sweep, dry run" 0 '^#SBATCH --array=0-2%2$' sweep submit.nodes=2 $spelling
  bash -n output || fail "a script that is none" output
done
[ -e sbatch_calls ] || [ -e sweeps/s ] && fail "a dry run of a sweep leaves traces"
expect "sweep, submitted" 0 '^submitted job array 4321: 3 of 3 runs, 4 ranks on 2 nodes each$' sweep submit.nodes=2 submit.ranks_per_node=2
expect "sweep, call" 0 '^--parsable sweeps/s/submit.sbatch$' cat sbatch_calls
expect "sweep, one finishes" 0 'finished 4 steps' "$dualpath" train sweeps/s/runs/dual_path-k2-lr5e-4-s2/planned.yaml
# What the sweep leaves out is told apart from the script.
printf '5\nsee there\n' >sweeps/s/runs/dual_path-k2-lr5e-4-s3/exit.txt
expect "sweep, one failed" 0 'lr5e-4-s3 has failed; sweep.retry=true' sweep submit.ranks_per_node=2
grep -q '^submitted job array 4321: 1 of 3 runs, 2 ranks' output || fail "sweep, one is left" output
sweep --dry-run 2>notices | head -n 1 | grep -qx '#!/usr/bin/env bash' || fail "sweep, a script on standard output" notices
grep -q 's3 has failed' notices || fail "sweep, notices of a dry run" notices
expect "sweep, infeasible" 2 'no run is left: 1 model cannot meet the budget' sweep sweep.layer_flop_budgets=1 \
  model.deep.ffn_hidden_size=0 model.wide.ffn_hidden_size=0
expect "sweep, other ranks" 2 'sweep.ranks: 4, but submit.nodes 2 \* ranks_per_node 1 makes 2 ranks' sweep sweep.ranks=4 submit.nodes=2
expect "sweep, a folder and words" 2 "sweeps/s is a sweep's folder, which sweep.nam=t cannot change" \
  "$dualpath" sweep status sweeps/s sweep.nam=t

# A task of the array: of a run that another process has, it says nothing.
run=sweeps/s/runs/dual_path-k2-lr5e-4-s1
task() {
  SLURM_JOB_ID=7 SLURM_ARRAY_JOB_ID=7 SLURM_ARRAY_TASK_ID=0 SLURM_CPUS_PER_TASK=1 SLURM_JOB_NODELIST=here \
    PATH=$PWD/bin:$PATH "$@" bash sweeps/s/submit.sbatch >>sweeps/s/slurm-7_0.out 2>&1
}
task flock $run/.lock
code=$?
[ $code -eq 4 ] || fail "a run in use: exit code $code, wanted 4" sweeps/s/slurm-7_0.out
[ -e $run/exit.txt ] && fail "a run in use: its exit.txt is written" $run/exit.txt
mv $run/planned.yaml planned
task
expect "a task that fails" 0 '^dual_path-k2-lr5e-4-s1 +failed' "$dualpath" sweep status sweeps/s
expect "its reason" 0 's1: exit code 2: see sweeps/s/slurm-7_0.out$' "$dualpath" sweep status sweeps/s
mv planned $run/planned.yaml
task || fail "a task that is done again" sweeps/s/slurm-7_0.out
[ -e $run/DONE ] && [ ! -e $run/exit.txt ] || fail "a task that finishes" sweeps/s/slurm-7_0.out
finish
