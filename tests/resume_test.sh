#!/usr/bin/env bash
# resume_test.sh DUALPATH MPIEXEC SIGNAL_AT_START_LIBRARY: stopping, killing and resuming runs; each must end bit-equal to the
# run that nothing happened to.
set -u
here=$(dirname "$(realpath "$0")")
. "$here/program.sh"
. "$here/../launcher/mpi_environment.sh"
program_test "$1"
mpiexec=$2
signals_at_start=$3

cat >config.yaml <<'YAML'
model: {layers: 2, hidden_size: 32, attention_heads: 2, sequence_length: 32, vocab_size: 128,
        deep: {iterations: 2, ffn_hidden_size: 32}, wide: {ffn_hidden_size: 64}}
train: {steps: 40, global_batch_size: 8, micro_batch_size: 2}
optimizer: {warmup_steps: 5, lr: 1e-2, min_lr: 1e-3}
data: {mock: true}
checkpoint: {every_steps: 5}
YAML
train() { "$dualpath" train config.yaml "$@"; }
# To be started in the background: the shell becomes the program, so that signals reach it.
start() { exec "$dualpath" train config.yaml "$@" >output 2>&1; }
train2() { "$mpiexec" -n 2 "$dualpath" train config.yaml "$@"; }

expect "whole run" 0 'finished 40 steps' train run.name=whole
expect "finished run" 0 'has all of its 40 steps already' train run.name=whole

# A new process goes on where a finished shorter run ended. A constant learning rate, since the
# schedule depends on the length.
flat="optimizer.schedule=constant"
expect "10 steps" 0 'finished 10 steps' train run.name=longer train.steps=10 $flat
expect "10 more" 0 'changed since the last start: train.steps: 10 -> 20' train run.name=longer train.steps=20 $flat
expect "20 at once" 0 'finished 20 steps' train run.name=at_once train.steps=20 $flat
same_history "10 + 10 steps" runs/at_once runs/longer

expect "2 ranks" 0 'finished 40 steps' train2 run.name=whole2

# wait_for_step RUN STEP: until the run has made that step; a run that does not is a failure.
wait_for_step() {
  for _ in $(seq 600); do
    [ "$(history_of "$1" 2>/dev/null | tail -n 1 | cut -d' ' -f1)" -ge "$2" ] 2>/dev/null && return
    sleep 0.05
  done
  fail "$1 never made step $2"
}

# Signals: the step under way is finished and saved, exit code 75, the same command goes on.
long="train.steps=1000000"
for signal in USR1 USR2 TERM INT; do
  rm -rf runs/signalled
  start run.name=signalled $long $flat &
  wait_for_step runs/signalled 3
  kill -$signal $!
  wait $!
  code=$?
  [ $code -eq 75 ] || fail "SIG$signal: exit code $code, wanted 75" output
  last=$(history_of runs/signalled | tail -n 1 | cut -d' ' -f1)
  [ -d "runs/signalled/checkpoints/step-$(printf %08d "$last")" ] || fail "SIG$signal: step $last is not saved" output
done
expect "after a signal" 0 "finished $((last + 3)) steps" train run.name=signalled train.steps=$((last + 3)) $flat
expect "unbroken" 0 finished train run.name=unbroken train.steps=$((last + 3)) $flat
same_history "signalled run" runs/unbroken runs/signalled

(exec "$mpiexec" -n 2 "$dualpath" train config.yaml run.name=signalled2 $long $flat >output 2>&1) &
wait_for_step runs/signalled2 3
kill -USR1 $!
wait $!
code=$?
[ $code -eq 75 ] || fail "USR1 to mpirun: exit code $code, wanted 75" output

# Trial R16: a run whose folder has gone ends soon.
start run.name=moved $long checkpoint.every_steps=0 &
wait_for_step runs/moved 2
mv runs/moved runs/moved_away
wait $!
code=$?
[ $code -eq 4 ] && grep -q 'runs/moved is gone' output || fail "folder gone: exit code $code, wanted 4" output

# Trial C5: a signal while the libraries start is a stop signal too.
for signal in USR1 USR2 TERM INT; do
  expect "SIG$signal at the start" 75 'stopped before step 1 of 40; the same command goes on' \
    env LD_PRELOAD="$signals_at_start" SIGNAL_AT_START="$(kill -l $signal)" "$dualpath" train config.yaml run.name=at_start
done
env LD_PRELOAD="$signals_at_start" SIGNAL_AT_START="$(kill -l TERM)" "$dualpath" --version >output
[ $? -eq $((128 + $(kill -l TERM))) ] || fail "SIGTERM does not end another verb" output

# The same by hand.
start run.name=by_hand $long checkpoint.every_steps=0 &
wait_for_step runs/by_hand 2
touch runs/by_hand/save
for _ in $(seq 600); do compgen -G "runs/by_hand/checkpoints/step-*" >/dev/null && break; sleep 0.05; done
compgen -G "runs/by_hand/checkpoints/step-*" >/dev/null || fail "a file 'save' saves nothing" output
expect "second job on the folder" 4 'in use by process [0-9]+ on host' train run.name=by_hand $long
touch runs/by_hand/stop
wait $!
code=$?
[ $code -eq 75 ] || fail "file 'stop': exit code $code, wanted 75" output

# killed PRECISION KILLS: kill -9 at random moments of start-up, steps and saves (every second step);
# then each such run is ended in peace.
killed() {
  local precision=train.precision=$1 name=killed_$1_ wanted=$2 round=1 kills=0 program run
  expect "long run in $1" 0 finished train run.name=long_$1 train.steps=300 $flat $precision
  while [ $kills -lt $wanted ] && [ $failures -eq 0 ]; do
    start run.name=$name$round train.steps=300 checkpoint.every_steps=2 $flat $precision &
    program=$!
    sleep "$((RANDOM % 2)).$((RANDOM % 10))"
    kill -9 $program 2>/dev/null
    wait $program 2>/dev/null
    case $? in
      0) round=$((round + 1)) ;;
      137) kills=$((kills + 1)) ;;
      *) fail "after $kills kills" output ;;
    esac
  done
  for run in $(seq $round); do
    expect "run $name$run goes on" 0 'finished|has all' train run.name=$name$run train.steps=300 $flat $precision
    [ -e runs/$name$run/DONE ] || fail "run $name$run leaves no DONE"
    same_history "run $name$run" runs/long_$1 runs/$name$run
  done
}
killed fp32 24

# In bf16: two starts, kills. What resumes another precision's weights rounds them anew.
if computes_in_bf16; then
  half="train.precision=bf16"
  for numbers in "$half" "$half train.residual_precision=bf16"; do
    rm -rf runs/half*
    expect "$numbers, 20 at once" 0 'finished 20 steps' train run.name=half_at_once train.steps=20 $flat $numbers
    expect "$numbers, 10 steps" 0 'finished 10 steps' train run.name=half train.steps=10 $flat $numbers
    expect "$numbers, 10 more" 0 'finished 20 steps' train run.name=half train.steps=20 $flat $numbers
    same_history "$numbers, 10 + 10 steps" runs/half_at_once runs/half
  done
  killed bf16 8

  expect "fp32 first" 0 'finished 10 steps' train run.name=changed train.steps=10 $flat
  expect "then bf16" 0 'changed since the last start: train.precision: fp32 -> bf16' \
    train run.name=changed train.steps=20 $flat $half
  history_of runs/changed | head -n 10 >fp32_steps
  history_of runs/at_once | head -n 10 | diff - fp32_steps || fail "the steps in fp32 differ"
  history_of runs/at_once | diff -q - <(history_of runs/changed) >/dev/null && fail "the steps in bf16 are in fp32"
  expect "and fp32 again" 0 'changed since the last start: train.precision: bf16 -> fp32' \
    train run.name=changed train.steps=22 $flat
fi

# A damaged checkpoint is named, and the one before it is used.
newest=$(ls -d runs/longer/checkpoints/step-* | tail -n 1)
shard=$(ls "$newest"/*.h5 | head -n 1)
printf '\xff' | dd of="$shard" bs=1 seek=$(($(stat -c %s "$shard") / 2)) conv=notrunc status=none
rm -f runs/longer/DONE
expect "flipped byte" 0 "$(basename "$newest")" train run.name=longer train.steps=20 $flat
same_history "after a damaged checkpoint" runs/at_once runs/longer

# Going back to an older checkpoint: the newer ones belong to another history.
expect "back to step 35" 0 'finished 40 steps' train run.name=whole checkpoint.load_step=35 checkpoint.keep_last=1
[ -d runs/whole/checkpoints/abandoned-step-00000040 ] || fail "newer checkpoint is not set aside"
[ -d runs/whole/checkpoints/step-00000040 ] || fail "the new history's last checkpoint is not there"

# Trial S8: load_step is applied once, and never deletes what it set aside before.
back="run.name=whole checkpoint.load_step=40 checkpoint.keep_last=0"
resumed() { grep -q "resumed from runs/whole/checkpoints/step-000000$1" "$scratch/output" || fail "$2" "$scratch/output"; }
[ -s runs/whole/metrics.jsonl.before-1 ] || fail "rows of the other history are gone"
expect "two steps more" 0 finished train run.name=whole train.steps=42 checkpoint.every_steps=1 checkpoint.keep_last=0
expect "another load_step" 0 'set aside: runs/whole/checkpoints/abandoned-step-00000042' train $back train.steps=42
stat -c %i runs/whole/checkpoints/abandoned-step-00000042 >first_set
expect "the same load_step" 0 'load_step=40 was applied by an earlier start.* remove its line in runs/whole/load_step.applied' \
  train $back train.steps=43
resumed 42 "load_step is applied again"
rm runs/whole/load_step.applied
expect "load_step once more" 0 'set aside: runs/whole/checkpoints/abandoned-step-00000042-2' train $back train.steps=41
resumed 40 "load_step is not applied"
stat -c %i runs/whole/checkpoints/abandoned-step-00000042 | cmp - first_set || fail "the first set is not what it was"
[ -d runs/whole/checkpoints/abandoned-step-00000043-2 ] || fail "a set has several numbers"

# Fewer steps than are done.
expect "fewer steps" 0 'runs/whole is at step 41 already; the configuration asks for 30' train run.name=whole train.steps=30
grep -qx '41 steps' runs/whole/DONE || fail "DONE tells other steps" runs/whole/DONE

# Trial S6: a run whose checkpoints are gone does not start anew.
cp runs/whole/metrics.jsonl metrics
mv runs/whole/checkpoints elsewhere
expect "no checkpoints" 4 'file DONE, but there is no checkpoint in runs/whole/checkpoints' train run.name=whole
rm runs/whole/DONE
expect "no checkpoints, not done" 4 'step 41 was saved, but there is no checkpoint' train run.name=whole
cmp -s metrics runs/whole/metrics.jsonl || fail "metrics.jsonl is not as it was"
mv elsewhere runs/whole/checkpoints

# Trial S5: what cannot be read is neither replaced nor passed over.
for record in metrics.jsonl config.yaml log.txt load_step.applied; do
  mv runs/whole/$record kept
  mkdir runs/whole/$record
  expect "$record cannot be read" 4 "runs/whole/$record: " train $back train.steps=44
  rmdir runs/whole/$record
  mv kept runs/whole/$record
done
echo '{' >runs/whole/config.yaml
expect "malformed config.yaml" 4 'config.yaml is what this run was last started with' train run.name=whole train.steps=42

# Without ever having saved a run starts anew by itself; another run's rows are kept.
expect "5 steps" 0 finished train run.name=anew train.steps=5 checkpoint.every_steps=0
sed -i /save_s/d runs/anew/metrics.jsonl
sed -i '/ saved /d' runs/anew/log.txt
rm -r runs/anew/checkpoints runs/anew/DONE
cp runs/anew/metrics.jsonl metrics
expect "never saved" 0 finished train run.name=anew train.steps=5 checkpoint.every_steps=0
[ ! -e runs/anew/metrics.jsonl.before-1 ] || fail "rows made again are kept"
sed -i /save_s/d runs/anew/metrics.jsonl
sed -i '/ saved /d' runs/anew/log.txt
rm -r runs/anew/checkpoints runs/anew/DONE
cp runs/anew/metrics.jsonl metrics
expect "another seed" 0 'kept in runs/anew/metrics.jsonl.before-1' train run.name=anew train.steps=5 train.seed=9
cmp -s metrics runs/anew/metrics.jsonl.before-1 || fail "the other run's rows are not kept"
grep -q 'seed: 1' runs/anew/config.yaml.before-1 || fail "the other run's configuration is not kept"

# Trial S11: the validation that a stop leaves out is made by the next start, in its place.
validating="run.name=validating train.validation_every_steps=1 train.validation_sequences=2"
mkdir -p runs/validating
touch runs/validating/stop
expect "stopped at a validation" 75 'stopped after step 1' train $validating
expect "its validation is made up" 0 'validation at step 1 ' train $validating train.steps=2
[ "$(grep -o '"step":[0-9]*\|validation_loss' runs/validating/metrics.jsonl | tr '\n' ' ')" = \
  '"step":1 "step":1 "step":1 validation_loss "step":2 "step":2 validation_loss "step":2 ' ] ||
  fail "rows out of order" runs/validating/metrics.jsonl
finish
