#!/usr/bin/env bash
# sweep_run_test.sh DUALPATH: `dualpath sweep`: refusals, kills, stops, failures, more runs. Each run of a
# sweep that was disturbed must end bit-equal to that of the one that nothing happened to.
set -u
here=$(dirname "$(realpath "$0")")
. "$here/program.sh"
program_test "$1"

cat >sweep.yaml <<'YAML'
sweep: {name: a, architectures: [wide, looped, dual_path], iterations: [2], layer_flop_budgets: [60000],
        seeds: [1, 2], parallel_runs: 2}
model: {layers: 2, hidden_size: 32, attention_heads: 2, sequence_length: 32, vocab_size: 128, budget_multiple: 2}
train: {steps: 150, global_batch_size: 4, micro_batch_size: 4, validation_every_steps: 100}
optimizer: {schedule: constant, warmup_steps: 5}
data: {mock: true}
checkpoint: {every_steps: 10}
YAML
printf '%s\n' 'name: slow' 'kernels: [{kernel: "", precision: fp32, gflops: 0.1}]' >machine.yaml
{ sed 's/slow/tiny/' machine.yaml; echo 'memory_gb: 0.001'; } >small.yaml
runs="wide-f6e4-lr5e-4-s1 wide-f6e4-lr5e-4-s2 looped-k2-f6e4-lr5e-4-s1 looped-k2-f6e4-lr5e-4-s2
      dual_path-k2-a0.5-f6e4-lr5e-4-s1 dual_path-k2-a0.5-f6e4-lr5e-4-s2"
sweep() {
  local part=$1
  shift
  "$dualpath" sweep "$part" sweep.yaml "$@"
}
# To be started in the background: the shell becomes the program, so that signals reach it.
start() { exec "$dualpath" sweep run sweep.yaml "$@" >background 2>&1; }
state_of() { "$dualpath" sweep status "$1" | awk -v run="$2" '$1 == run { print $2 }'; }
rows() { cat sweeps/a/runs/*/metrics.jsonl 2>/dev/null | wc -l; }
number_of() { "$dualpath" sweep status "$1" | sed -nE "s/^[0-9]+ runs?.* ([0-9]+) $2.*/\1/p"; }

expect "plan" 0 '^dual_path-k2-a0.5-f6e4-lr5e-4-s2 +[0-9,]+ +2 +[0-9]+ +[0-9]+ .* 19,200 +150 ' sweep plan
expect "time" 0 '^6 runs: 115,200 tokens, .* FLOPs, [0-9]+:[0-9:]+ with 2 at once$' sweep plan sweep.machine=machine.yaml
expect "memory" 2 'run wide-f6e4-lr5e-4-s1: a rank takes [0-9.e-]+ GB, of 0.001 on tiny' sweep plan sweep.machine=small.yaml
expect "infeasible" 0 'dual_path-k9-a0.5-f6e4: .* one attention alone takes' sweep plan sweep.iterations=9
expect "from a base" 0 '^1 run:' "$dualpath" sweep plan sweep.base=sweep.yaml sweep.seeds=3 sweep.architectures=wide
mkdir -p nested/deep
printf '%s\n' 'sweep: {base: ../sweep.yaml, seeds: 3, architectures: wide}' >nested/next.yaml
expect "a base seen from its file" 0 '^1 run:' "$dualpath" sweep plan nested/next.yaml
printf '%s\n' 'sweep: {base: sweep.yaml}' >nested/lost.yaml
expect "a base seen from elsewhere" 2 'lost.yaml:1: sweep.base: nested/sweep.yaml is not there; .*: give \.\./sweep.yaml' \
  "$dualpath" sweep plan nested/lost.yaml
rm -r nested
[ -e sweeps ] && fail "a plan leaves a folder"

expect "unknown key" 2 'sweep.seed: unknown key, did you mean' sweep plan sweep.seed=3
expect "unknown architecture" 2 'wants one of standard, .*, found dual$' sweep plan sweep.architectures=dual
expect "two lengths" 2 'sweep.training_flops: train.steps or train.tokens is given' sweep plan sweep.training_flops=1e9
expect "a run that cannot be" 2 'train.global_batch_size: .*\(run wide-f6e4-lr5e-4-s1 and 5 others\)' sweep plan sweep.ranks=3
expect "no file" 2 'nowhere.yaml: cannot be read' "$dualpath" sweep plan nowhere.yaml
expect "no run" 2 'no run is left: 1 model cannot meet' sweep run sweep.architectures=looped sweep.iterations=9
expect "no part" 2 'unknown part pla, did you mean plan' "$dualpath" sweep pla
expect "no corpus" 3 nowhere sweep run data.mock=false 'data.corpora=[{path: nowhere}]'
expect "under mpirun" 2 'without mpirun' env OMPI_COMM_WORLD_SIZE=1 "$dualpath" sweep run sweep.yaml
expect "no sweep" 4 'sweeps/a: no sweep is here; `dualpath sweep run' sweep status
expect "a dry run" 2 'unknown flag --dry-run' sweep run --dry-run
expect "a dry run, spelt out" 2 'submit.dry_run: only `sweep submit` has a dry run' sweep run submit.dry_run=true
[ -e sweeps ] && fail "what is refused leaves a folder"

expect "whole sweep" 0 '6 of 6 runs have finished, 0 failed, 0 can go on' sweep run sweep.name=whole
expect "validated" 0 'dual_path.* has finished, loss [0-9.]+, validation loss [0-9.]+' cat sweeps/whole/log.txt
for run in $runs; do [ "$(state_of sweeps/whole $run)" = finished ] || fail "state of $run"; done

# A parent that ignores SIGCHLD hands that on.
expect "children are waited for" 0 '1 of 1 runs have finished' timeout 120 env --ignore-signal=CHLD \
  "$dualpath" sweep run sweep.yaml sweep.name=waited sweep.architectures=wide sweep.seeds=1 train.steps=5

# kill -9 soon after a first step, of the sweep alone and with its runs: what has finished is not touched, and no
# run is made twice.
kills=0
while [ $kills -lt 6 ]; do
  ls -l --time-style=full-iso sweeps/a/runs/*/DONE >before 2>/dev/null
  rows_before=$(rows)
  start &
  while kill -0 $! 2>/dev/null && [ "$(rows)" -le "$rows_before" ]; do sleep 0.02; done
  sleep "0.0$((RANDOM % 10))"
  if ((kills % 2)); then kill -9 $! $(cat /proc/$!/task/*/children) 2>/dev/null; else kill -9 $! 2>/dev/null; fi
  wait $! 2>/dev/null
  [ $? -eq 137 ] || break
  kills=$((kills + 1))
  grep -vxFf <(ls -l --time-style=full-iso sweeps/a/runs/*/DONE 2>/dev/null) before >changed && fail "a finished run was touched" changed
done
[ $kills -gt 0 ] || fail "never killed" background
# At once: the runs that the last one left may still be saving.
expect "after $kills kills" 0 '6 of 6 runs have finished' sweep run
grep -q 'has failed' sweeps/a/log.txt && fail "a kill fails no run" sweeps/a/log.txt
for run in $runs; do same_history "$run after kills" sweeps/whole/runs/$run sweeps/a/runs/$run; done

# Stopped: the runs save, exit code 75, the same command goes on.
start sweep.name=stopped train.steps=100000 &
for _ in $(seq 600); do
  for seed in 1 2; do history_of sweeps/stopped/runs/wide-f6e4-lr5e-4-s$seed 2>/dev/null | sed -n 3p; done >third_rows
  [ "$(wc -l <third_rows)" -eq 2 ] && break
  sleep 0.05
done
[ "$(number_of sweeps/stopped running)" = 2 ] || fail "two run" background
expect "a second one" 4 'in use by process' sweep run sweep.name=stopped train.steps=100000
kill -INT $!
wait $!
code=$?
[ $code -eq 75 ] || fail "SIGINT: exit code $code, wanted 75" background
[ "$(number_of sweeps/stopped stopped)" = 2 ] || fail "two have stopped" background
last=$(history_of sweeps/stopped/runs/wide-f6e4-lr5e-4-s1 | tail -n 1 | cut -d' ' -f1)
[ -d "sweeps/stopped/runs/wide-f6e4-lr5e-4-s1/checkpoints/step-$(printf %08d "$last")" ] || fail "step $last is not saved" background

# Failed runs are told, and started again if that is asked for.
failing="sweep.name=failing sweep.architectures=wide sweep.seeds=1 sweep.learning_rates=[1e-3,1e30] train.steps=20"
expect "a failing run" 5 'wide-f6e4-lr1e30-s1 has failed, exit code 5: .*(loss|gradient)' sweep run $failing
expect "the other finishes" 0 'wide-f6e4-lr1e-3-s1 has finished' cat sweeps/failing/log.txt
expect "failed before" 5 'lr1e30-s1 has failed before, exit code 5: .*sweep.retry' sweep run $failing
grep -q begins "$scratch/output" && fail "started again unasked" "$scratch/output"
expect "its state" 0 'wide-f6e4-lr1e30-s1: exit code 5: ' "$dualpath" sweep status sweeps/failing
expect "again" 5 'lr1e30-s1 (begins|goes on)' sweep run $failing sweep.retry=true

# More runs are added, another sweep is refused.
ls -lR --time-style=full-iso sweeps/whole/runs >before
more="sweep.name=whole sweep.seeds=[1,2,3] sweep.architectures=[wide,looped,dual_path]"
expect "another sweep" 2 'train.steps: 150 there, 20 now' sweep run $more train.steps=20
expect "a run is missing" 2 'its run wide-f6e4-lr5e-4-s2 is none of this sweep' sweep run sweep.name=whole sweep.seeds=1
expect "more seeds" 0 '3 of 9 runs to do' sweep run $more
expect "all nine" 0 '^9 runs, 9 finished$' "$dualpath" sweep status sweeps/whole
ls -lR --time-style=full-iso sweeps/whole/runs | grep -vxFf - <(sed -E '/^total|^d/d' before) && fail "finished runs have changed"

expect "report" 0 '^sweeps/whole/report.html$' sweep report $more

# Two ranks a run.
expect "two ranks" 0 '1 of 1 runs have finished' sweep run sweep.name=two sweep.ranks=2 train.micro_batch_size=2 \
  sweep.architectures=dual_path sweep.seeds=1 train.steps=10
expect "on both" 0 'threads a rank, 2 ranks' cat sweeps/two/runs/*/output.txt
finish
