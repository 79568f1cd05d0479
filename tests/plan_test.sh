#!/usr/bin/env bash
# plan_test.sh DUALPATH: what `dualpath plan` says, and refuses.
set -u
. "$(dirname "$0")/program.sh"
configs=$(realpath "$(dirname "$0")/../configs")
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

# Times, on a machine that is not at hand.
cluster="plan.machine=$configs/machines/h200_cluster.yaml"
expect "time" 0 '^predicted: [0-9.,]+ ms a step, [0-9.,]+ tokens/s on cluster of H200' \
  plan $layout $cluster json=plan.json
grep -q '^predicted MFU: [0-9.]* % of the bf16 peak, 989 TFLOP/s a rank$' "$scratch/output" || fail "MFU" "$scratch/output"
grep -q '"mfu"' plan.json || fail "MFU in json" plan.json
expect "process" 0 '^with the process +30[0-9]+ +30[0-9]+$' plan $layout $cluster
expect "what a GPU's libraries take" 0 '^  kernels: products by cuBLASLt +33\.6 +33\.6$' plan $layout $cluster
grep -q cuDNN "$scratch/output" && fail "cuDNN computes in bf16 alone" "$scratch/output"
expect "cuDNN" 0 '^  kernels: attention by cuDNN +0.[0-9]+ +0.[0-9]+$' \
  plan $layout $cluster train.precision=bf16
grep -q '"step_ms"' plan.json || fail "json" plan.json
expect "no machine" 2 'nowhere.yaml' plan plan.machine=nowhere.yaml
sed 's/memory_gb: 141/memory_gb: 3.001/' "$configs/machines/h200_cluster.yaml" >little.yaml
expect "room" 0 '^free on the fullest rank: 138 of 141 GB$' plan $cluster
expect "no memory" 2 'a rank takes [0-9.]+ GB, of 3.00 on cluster' plan plan.machine=little.yaml
sed 's/gbytes/gbyte/' "$configs/machines/h200_cluster.yaml" >wrong.yaml
echo 'kernels: [{kernel: ""}]' >idle.yaml
expect "no rates" 2 'kernels\[0\]: calls would take no time' plan plan.machine=idle.yaml
expect "wrong machine" 2 'wrong.yaml.*did you mean kernels.*gbytes' plan plan.machine=wrong.yaml

# Times on this machine, as it measures itself; alone it knows no links.
expect "measuring" 0 '^matmul nt +fp32' \
  "$dualpath" bench machine bench.machine_file=own.yaml bench.repeats=1 bench.seconds=0
expect "time here" 0 '^predicted: .* on cpu' plan plan.machine=own.yaml
expect "no links" 2 'no rate of all_reduce in the network: links' plan plan.machine=own.yaml plan.ranks=2 parallel.tensor=2

# The best layouts. The first, given, takes as long.
expect "search" 0 '^10 .* parallel.tensor=' plan plan.ranks=8 $cluster plan.search=true json=search.json
best=$(awk '$1 == 1 { for (i = 6; i <= NF; ++i) if ($i ~ /=/) print $i }' "$scratch/output")
step=$(awk '$1 == 1 { print $2 }' "$scratch/output")
expect "the best, given" 0 "^predicted: $step ms a step" plan plan.ranks=8 $cluster $best
own="parallel.pipeline=2 parallel.virtual_pipeline=2 parallel.data=4 parallel.stage_layers=[2,2,2,2]"
expect "search beside a layout" 0 '^1 .* parallel.stage_layers=\[\] ' \
  plan $own plan.ranks=8 $cluster plan.search=true
best=$(awk '$1 == 1 { for (i = 6; i <= NF; ++i) if ($i ~ /=/) print $i }' "$scratch/output")
expect "the best in its place" 0 "^predicted: $step ms a step" plan $own plan.ranks=8 $cluster $best
expect "search where nothing fits" 2 \
  'no layout on 16 ranks: .* at most the layers, 1, .* train.global_batch_size, 8' \
  plan plan.ranks=16 model.layers=1 $cluster plan.search=true
# A card that the fastest layouts fill to less than 5 %: those with room come before them.
all=$("$dualpath" plan model.yaml plan.ranks=8 $cluster parallel.data=8 | awk '/^with the process/ { print $4 }')
sed "s/memory_gb: 141/memory_gb: $(awk -v mb="$all" 'BEGIN { printf "%.6f", 1.0001 * mb / 1e3 }')/" \
  "$configs/machines/h200_cluster.yaml" >full.yaml
expect "tight layouts are marked" 0 ', tight ' plan plan.ranks=8 plan.machine=full.yaml plan.search=true
grep -q 'leave less than 5 % of the .* GB free (tight): they stand last$' "$scratch/output" || fail "tight" "$scratch/output"
expect "search for less memory" 2 'no layout on 8 ranks fits .* wants least takes .* parallel.tensor=' \
  plan plan.ranks=8 plan.machine=little.yaml plan.search=true
expect "search without machine" 2 'plan.machine: plan.search wants' plan plan.search=true
expect "search with a wrong model" 2 'model.layers' plan plan.search=true $cluster model.layers=0

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
expect "sizes that no machine holds" 2 'micro_batch_size: the activations of a micro-batch would take up to' \
  plan model.sequence_length=16777216 train.micro_batch_size=16777216 train.global_batch_size=16777216
expect "a base" 0 '^1 rank: tensor 1' "$dualpath" plan <(echo "base: model.yaml")
expect "unknown key" 2 'did you mean' plan paralel.tensor=2
expect "corpora elsewhere" 2 'nowhere is not there to take it from; give one' \
  plan model.vocab_size=0 data.mock=false 'data.corpora=[{path: nowhere}]'
expect "corpora elsewhere, vocabulary known" 0 '^parameters' \
  plan data.mock=false 'data.corpora=[{path: nowhere}]'
finish
