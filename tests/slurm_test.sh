#!/usr/bin/env bash
# slurm_test.sh DUALPATH: slurm/train.sbatch and `dualpath submit` under a real Slurm with two nodes, which
# this test starts and ends. Stopped runs must end bit-equal to the one that nothing happened to.
set -u
here=$(dirname "$(realpath "$0")")
. "$here/program.sh"
. "$here/slurm_cluster.sh"
program_test "$1"
trap 'stop_slurm; kill $(jobs -p) 2>/dev/null; rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM

if ! start_slurm "$scratch/slurm" >slurm_output 2>&1; then
  echo "FAILED: Slurm cannot be started here. It takes the packages slurm-wlm and munge."
  tail -n 5 slurm_output "$scratch"/slurm/*.log 2>/dev/null
  exit 1
fi
if ! srun --mpi=list 2>&1 | grep -q pmix; then
  echo "this Slurm has no PMIx, by which OpenMPI's ranks find each other"
  exit 1
fi

awk 'BEGIN { srand(1); for (i = 0; i < 4000; i++) print "Line", i, "says", int(1e6 * rand()), "and ends." }' >text.txt
expect "tokenize" 0 tokens "$dualpath" tokenize text.txt output=corpus tokenizer.vocab_size=300
cat >config.yaml <<'YAML'
model: {layers: 2, hidden_size: 64, attention_heads: 2, sequence_length: 64, vocab_size: 20000,
        deep: {iterations: 2, ffn_hidden_size: 64}, wide: {ffn_hidden_size: 128}}
train: {steps: 40, global_batch_size: 4, micro_batch_size: 2,
        validation_every_steps: 20, validation_sequences: 64}
optimizer: {warmup_steps: 5, lr: 1e-2}
data: {corpora: [{path: corpus}], validation: [{path: corpus}]}
checkpoint: {every_steps: 10, keep_last: 0}
YAML
# The two nodes are one host: their ranks must not meet in shared memory.
network='export OMPI_MCA_btl=self,tcp OMPI_MCA_btl_tcp_if_include=lo'

# site_script RUN [key=value...]: the shipped script with its upper part edited; prints its name.
site_script() {
  local run=$1
  shift
  sed -E -e "s|^(#SBATCH --cpus-per-task)=.*|\1=1|" -e "s|^(#SBATCH --time)=.*|\1=10|" \
    -e "s|^(#SBATCH --job-name)=.*|\1=$run|" -e "s|^(#SBATCH --signal=B:USR1)@.*|\1@60|" \
    -e "s|^run=.*|run=runs/$run|" -e "s|^program=.*|program=$dualpath|" \
    -e "s|^config=.*|config=(config.yaml run.folder=\"\$run\" $*)|" -e "s|^  : .*|  $network|" \
    "$here/../slurm/train.sbatch" >"$run.sbatch"
  echo "$run.sbatch"
}

# submit_script RUN [key=value...]: its job's number goes to job[RUN], its output to OUTPUT.
declare -A job
submit_script() {
  job[$1]=$(sbatch --parsable --output="$1.out" "$(site_script "$@")") || fail "sbatch $1"
}

# within SECONDS COMMAND...: until the command succeeds.
within() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < deadline)) || return
    sleep 0.02
  done
}

validations_of() { sed -nE 's/.*"step":([0-9]+),.*"validation_loss":([^,]*),.*/\1 \2/p' "$1/metrics.jsonl"; }
made_step() { [ "$(history_of "runs/$1" 2>/dev/null | tail -n 1 | cut -d' ' -f1)" -ge "$2" ] 2>/dev/null; }
is_validating() { made_step "$1" 20 && ! grep -q validation_loss "runs/$1/metrics.jsonl"; }
is_saving() { compgen -G "runs/$1/checkpoints/.tmp-*" >/dev/null; }
says() { grep -Eq "$2" "$1.out" 2>/dev/null; }
has_left() { [ -z "$(squeue --noheader --jobs="${job[$1]}" --states=PD,R,CG 2>/dev/null)" ]; }
state_of() { sed -nE "s/^JobId=${job[$1]} .* JobState=([A-Z]+) .*/\1/p" "$scratch/slurm/jobs.txt" | tail -n 1; }

# signal_when RUN CONDITION...: Slurm's signal to the job script, as before the time limit.
signal_when() {
  local run=$1
  shift
  within 60 "$@" || fail "$run: $* never came" "$run.out"
  scancel --batch --signal=USR1 "${job[$run]}"
}

# From the time limit itself: Slurm looks every 30 seconds, so this job is submitted first and seen to last.
"$dualpath" submit config.yaml run.folder="runs/it's 100%" submit.nodes=2 submit.cores_per_rank=1 submit.name=limit \
  "submit.setup=[\"$network\"]" train.steps=1000000 submit.time_limit=1 submit.signal_lead_seconds=50 >limit_submitted 2>&1 ||
  fail "dualpath submit" limit_submitted
job[limit]=$(sed -nE 's/^submitted job ([0-9]+): 2 ranks on 2 nodes.*/\1/p' limit_submitted)
ln -s "runs/it's 100%/slurm-${job[limit]}.out" limit.out

# A sweep as a job array: two of its runs fail. The last task, which has the array's own number, is told to stop.
cat >sweep.yaml <<YAML
sweep: {name: array, base: config.yaml, learning_rates: [1e30, 1e-2], seeds: [1, 2]}
submit: {cores_per_rank: 1, time_limit: "10", setup: ["$network"]}
YAML
"$dualpath" sweep submit sweep.yaml >array_submitted 2>&1 || fail "dualpath sweep submit" array_submitted
job[array]=$(sed -nE 's/^submitted job array ([0-9]+): 4 of 4 runs, 1 ranks on 1 nodes each/\1/p' array_submitted)
good=dual_path-k2-lr0.01
stopped=../sweeps/array/runs/$good-s2
ln -s "sweeps/array/slurm-${job[array]}_3.out" array.out
within 60 made_step "$stopped" 3 || fail "no steps in the array" array.out
scancel --batch --signal=USR1 "${job[array]}_3"

for run in unbroken step validation save early cancelled requeued; do submit_script $run; done
submit_script bad model.layers=two
signal_when early says early 'start 1 on ' &
signal_when step made_step step 3 &
signal_when validation is_validating validation &
signal_when save is_saving save &
within 60 made_step requeued 3 || fail "no steps to requeue" requeued.out
scontrol requeue "${job[requeued]}"  # by an administrator: trial R13
within 60 made_step cancelled 3 || fail "no steps to cancel" cancelled.out
scancel "${job[cancelled]}"
wait %1 %2 %3 %4

# A cancelled job saves and does not come back; submitted again, it goes on.
within 30 has_left cancelled || fail "scancel does not end the job" cancelled.out
says cancelled 'stopped after step [0-9]+ of 40, saved' || fail "scancel: not saved" cancelled.out
[ "$(state_of cancelled)" = CANCELLED ] || fail "the cancelled job is $(state_of cancelled)" cancelled.out
submit_script cancelled

# A failing job is not requeued.
within 30 has_left bad || fail "a bad configuration does not end the job" bad.out
says bad 'model.layers: .*integer' || fail "a bad configuration is not told" bad.out
says bad 'ends with exit code 2,' || fail "a bad configuration: exit code" bad.out
[ "$(state_of bad)" = FAILED ] || fail "the failing job is $(state_of bad)" bad.out

within 60 has_left unbroken || fail "the unbroken run never ends" unbroken.out
[ -e runs/unbroken/DONE ] || fail "the unbroken run leaves no DONE" unbroken.out
for run in step validation save early cancelled requeued; do
  within 60 has_left $run || fail "$run never ends" $run.out
  [ -e runs/$run/DONE ] || fail "$run leaves no DONE" $run.out
  says $run 'resumed from runs/|stopped before step 1 ' || fail "$run: was not stopped" $run.out
  same_history "$run" runs/unbroken runs/$run
  diff <(validations_of runs/unbroken) <(validations_of runs/$run) || fail "validations of $run"
done
for run in step validation save early requeued; do
  says $run "job ${job[$run]}: start 2 on " || fail "$run: was not requeued" $run.out
done

says requeued 'stopped; requeued by Slurm, it goes on by itself$' || fail "requeued: is told otherwise" requeued.out
says requeued 'submit it again' && fail "requeued: is to be submitted again" requeued.out

# The array: one task was requeued, alone; the failed ones tell why.
within 60 has_left array || fail "the array never ends" array.out
says array "job ${job[array]}_3: start 2 on " || fail "the stopped task: was not requeued" array.out
grep -l 'start 2 on' sweeps/array/slurm-*_[012].out >slurm_output && fail "others were requeued with it" slurm_output
"$dualpath" sweep status sweeps/array >slurm_output
grep -q '^4 runs, 2 finished, 2 failed$' slurm_output || fail "status of the array" slurm_output array.out
grep -q "lr1e30-s1: exit code 5: see sweeps/array/slurm-${job[array]}_0.out" slurm_output || fail "its failures" slurm_output
for seed in 1 2; do
  expect "alone, seed $seed" 0 finished "$dualpath" train config.yaml run.name=alone$seed train.seed=$seed
  same_history "array, seed $seed" runs/alone$seed sweeps/array/runs/$good-s$seed
done
expect "submitted again" 0 'no run is left to submit' "$dualpath" sweep submit sweep.yaml

# A finished run is left alone.
says step 'runs/step is finished$' || fail "the end of a run is not told" step.out
ls -lR --time-style=full-iso runs/step >before
submit_script step
within 30 has_left step || fail "a finished run's job does not end" step.out
says step 'runs/step is finished; remove' || fail "a finished run is not told of" step.out
[ "$(state_of step)" = COMPLETED ] || fail "a finished run's job is $(state_of step)" step.out
ls -lR --time-style=full-iso runs/step | diff before - || fail "a finished run's folder has changed"

within 60 says limit 'start 2 on ' || fail "the time limit: not requeued" limit.out
within 20 says limit 'resumed from runs/' || fail "the time limit: not resumed" limit.out
sbatch --partition=urgent --nodes=2 --exclusive --output=urgent.out --wrap='sleep 1' >slurm_output || fail "urgent job" slurm_output
within 60 says limit 'start 3 on ' || fail "preempted: not requeued" limit.out
[ "$(grep -c 'stopped after step [0-9]* of 1000000, saved' limit.out)" -eq 2 ] || fail "preempted: not saved" limit.out
finish
