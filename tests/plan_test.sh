#!/usr/bin/env bash
# plan_test.sh DUALPATH: what `dualpath plan` says, and refuses.
set -u
. "$(dirname "$0")/program.sh"
program_test "$1"
unset OMPI_COMM_WORLD_SIZE PMI_SIZE SLURM_NTASKS

cat >model.yaml <<'EOF'
model:
  layers: 8
  hidden_size: 64
  attention_heads: 4
  sequence_length: 32
  vocab_size: 256
  deep: {iterations: 3, ffn_hidden_size: 64}
  wide: {ffn_hidden_size: 256}
train: {steps: 2, global_batch_size: 8}
data: {mock: true}
EOF
plan() { "$dualpath" plan model.yaml "$@"; }

expect "one rank" 0 '^1 rank: tensor 1, data 1, pipeline 1, ' plan
expect "two ranks" 0 'replicated +0 +reduce_scatter' plan plan.ranks=2
expect "as many ranks as the layout makes" 0 '^12 ranks: tensor 2, data 2, pipeline 3 ' \
  plan parallel.tensor=2 parallel.pipeline=3 parallel.data=2
expect "a data axis that does not fit" 2 'the job has 8; data 4 fits' \
  plan parallel.tensor=2 parallel.data=2 plan.ranks=8
layout="plan.ranks=8 parallel.tensor=2 parallel.pipeline=2"
expect "layout" 0 '^8 ranks: tensor 2, data 2, pipeline 2 \(1f1b\), zero 1,' plan $layout
expect "stages" 0 '^stages +stage 0 +stage 1$' plan $layout
expect "messages" 0 '^pipeline +1 +exchange ' plan $layout
expect "bubble" 0 '^bubble: [0-9.]+ % ' plan $layout
expect "no time without a rate" 0 '^all +[0-9.,]+ +[0-9.,]+$' plan $layout
grep -q '^predicted' "$scratch/output" && fail "no time without a rate" "$scratch/output"
expect "time" 0 '^predicted: [0-9.,]+ ms a step, [0-9.,]+ tokens/s$' \
  plan $layout plan.gflops=100 plan.link_gbytes=1

# Memory as `train` then says it.
"$dualpath" train model.yaml run.folder=run train.steps=1 >train_output 2>&1 || fail "train" train_output
plan >plan_output 2>&1
for name in gradients moments; do
  planned=$(awk -v name=$name '$1 == name { printf "%.3f", $2 / 1e3 }' plan_output)
  grep -q "memory a rank:.* | $name $planned GB" train_output || fail "$name: $planned" train_output plan_output
done

# The same refusals as of `train`, and what could be instead.
expect "ranks" 2 'tensor 3 \* pipeline 1 does not divide' plan plan.ranks=8 parallel.tensor=3
expect "nearest ranks" 2 'the nearest that can: .*8 ranks with parallel.tensor=' \
  plan plan.ranks=8 parallel.tensor=3
expect "layers" 2 'parallel.pipeline=8' plan plan.ranks=16 parallel.pipeline=16
expect "batch" 2 'nearest that can: 16 ranks with parallel.tensor=1 parallel.pipeline=2' plan plan.ranks=16
expect "hidden units" 2 '3 are the most' \
  plan plan.ranks=4 parallel.tensor=4 model.wide.ffn_hidden_size=3
expect "unknown key" 2 'did you mean' plan paralel.tensor=2
expect "corpora elsewhere" 2 'nowhere is not there to take it from; give one' \
  plan model.vocab_size=0 data.mock=false 'data.corpora=[{path: nowhere}]'
expect "corpora elsewhere, vocabulary known" 0 '^parameters' \
  plan data.mock=false 'data.corpora=[{path: nowhere}]'
finish
