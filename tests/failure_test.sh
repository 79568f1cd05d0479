#!/usr/bin/env bash
# failure_test.sh DUALPATH MPIEXEC: a rank that hangs, dies or was started unlike the others ends the job.
set -u
here=$(dirname "$(realpath "$0")")
. "$here/program.sh"
. "$here/../launcher/mpi_environment.sh"
program_test "$1"
mpiexec=$2

cat >config.yaml <<'YAML'
model: {layers: 1, hidden_size: 16, attention_heads: 2, sequence_length: 16, vocab_size: 64,
        deep: {iterations: 1, ffn_hidden_size: 16}, wide: {ffn_hidden_size: 16}}
train: {steps: 10000000, global_batch_size: 4}
data: {mock: true}
checkpoint: {every_steps: 0}
YAML

# start_job RUN SETTING...: two ranks in the background, until they are at work; sets job and the last
# rank's process, last_rank. A job that does not end by itself is ended after a minute.
start_job() {
  local run=$1
  shift
  (exec "$mpiexec" --timeout 60 -n 2 "$dualpath" train config.yaml run.name="$run" "$@" >output 2>&1) &
  job=$!
  for _ in $(seq 600); do
    [ -n "$(history_of "runs/$run" 2>/dev/null)" ] && break
    sleep 0.05
  done
  last_rank=$(pgrep -P "$job" -x dualpath | tail -n 1)
  [ -n "$last_rank" ] || fail "$run never started" output
}

# ends NAME CODE PATTERN: the job's exit code, and a line of its output.
ends() {
  local name=$1 code=$2 pattern=$3
  wait "$job"
  local found=$?
  if [ $found -ne "$code" ]; then
    fail "$name: exit code $found, wanted $code" output
  elif ! grep -Eq -- "$pattern" output; then
    fail "$name: no line matches '$pattern'" output
  fi
}

start_job stopped fault.timeout_seconds=2
kill -STOP "$last_rank"
ends "a rank that hangs" 6 \
  '^\[rank 0[^]]*\] dualpath: step [1-9][0-9]*: [a-z_]+ [a-z_]+ of [0-9]+ bytes has not ended after 2 s'

start_job killed
kill -KILL "$last_rank"
ends "a rank that is killed" 137 'signal 9 \(Killed\)'

# A job that was stopped as a whole, for longer than the timeout, goes on.
start_job resumed fault.timeout_seconds=2
all=$(pgrep -P "$job" -x dualpath)
kill -STOP $all
sleep 3
kill -CONT $all
touch runs/resumed/stop
ends "a job that was suspended" 75 'the same command goes on from here'

# two WORDS WORDS: of the first rank, of the second.
two() {
  "$mpiexec" -n 2 bash -c '"$1" train config.yaml ${@:2 + OMPI_COMM_WORLD_RANK:1}' - "$dualpath" "$@"
}
expect "ranks that were given different values" 2 \
  '^\[rank 0\] dualpath:.* optimizer.lr.*0.1 on rank 0, 0.2 on rank 1' \
  two "run.name=unlike train.steps=1 optimizer.lr=0.1" "run.name=unlike train.steps=1 optimizer.lr=0.2"
expect "one rank with an unknown key" 2 '^\[rank 1\] dualpath:.*model.layer' \
  two "run.name=unlike train.steps=1" "run.name=unlike train.steps=1 model.layer=2"
expect "a step that was not saved" 4 '^\[rank [01] d[01]\] dualpath: .*step-0*999' \
  "$mpiexec" -n 2 "$dualpath" train config.yaml run.name=resumed checkpoint.load_step=999
[ "$(grep -c 'dualpath: ' "$scratch/output")" = 1 ] ||
  fail "an error that all ranks have is told once" "$scratch/output"
[ ! -e runs/unlike ] || fail "ranks that differ have made a run folder"

finish
