#!/usr/bin/env bash
# bad_input_test.sh DUALPATH: what is wrong, where, and the nearest right thing, with the exit code of
# interface and README: 2 configuration, 3 data, 4 checkpoint and run folder, 5 numerics.
set -u
. "$(dirname "$(realpath "$0")")/program.sh"
program_test "$1"

# A text, and two corpora of it with different tokenizers.
for i in $(seq 400); do echo "Line $i of a text that is long enough, number $((i * 7919 % 1000))."; done >text.txt
expect "tokenize" 0 tokens "$dualpath" tokenize text.txt output=corpus tokenizer.vocab_size=300
expect "tokenize otherwise" 0 tokens "$dualpath" tokenize text.txt output=other tokenizer.vocab_size=320

cat >config.yaml <<'YAML'
model:
  layers: 1
  hidden_size: 32
  attention_heads: 2
  sequence_length: 32
  deep: {iterations: 2, ffn_hidden_size: 32}
  wide: {ffn_hidden_size: 64}
train: {steps: 3, global_batch_size: 4, micro_batch_size: 2}
data: {corpora: [{path: corpus}]}
YAML
train() { "$dualpath" train config.yaml "$@"; }

expect "good input" 0 'finished 3 steps' train run.name=good

# Configuration: all problems at once, nothing written.
expect "unknown key" 2 'model.layer: unknown key, did you mean model.layers\?' train run.name=bad model.layer=2
sed 's/hidden_size: 32/hidden_sizes: 32/' config.yaml >typo.yaml
expect "unknown key with its line" 2 'typo.yaml:3: model.hidden_sizes: unknown key, did you mean model.hidden_size\?' \
  "$dualpath" train typo.yaml run.name=bad
expect "wrong type" 2 'model.layers: .*integer.*two' train run.name=bad model.layers=two
expect "unknown name" 2 'wants one of standard, looped, wide, dual_path.*did you mean dual_path' train run.name=bad model.architecture=dualpath
expect "both at once (1)" 2 'model.layers' train run.name=bad model.layers=two train.steps=-1
expect "both at once (2)" 2 'train.steps' train run.name=bad model.layers=two train.steps=-1
expect "heads" 2 '3 heads do not divide hidden_size 32' train run.name=bad model.attention_heads=3
expect "no FFN size" 2 'exactly one of ffn_hidden_size, d_ffn and layer_flop_budget' \
  train run.name=bad model.deep.ffn_hidden_size=0 model.wide.ffn_hidden_size=0
expect "sizes proposed" 2 'model.deep.ffn_hidden_size=64 model.wide.ffn_hidden_size=192 would do' \
  train run.name=bad model.deep.ffn_hidden_size=0 model.wide.ffn_hidden_size=0
expect "another tool's name" 2 'learning_rate: unknown key, did you mean optimizer.lr\?' train run.name=bad learning_rate=1
expect "batch" 2 'the nearest are 4 and 6' train run.name=bad train.global_batch_size=5
expect "ranks" 2 'parallel' train run.name=bad parallel.data=2
expect "vocabulary too small" 2 'model.vocab_size = 200 is smaller than the 300 tokens' train run.name=bad model.vocab_size=200
expect "residual stream less precise" 2 'train.residual_precision: bf16 needs train.precision = bf16' \
  train run.name=bad train.residual_precision=bf16
expect "no config file" 2 'nowhere.yaml' "$dualpath" train nowhere.yaml
expect "memory" 2 'memory' train run.name=bad model.hidden_size=262144 model.vocab_size=4194304
expect "memory in units, and advice" 2 'model: too large for this machine: a rank takes [0-9.]+ TB of memory .* this host has [0-9.]+ [GT]B.* `dualpath plan`' \
  train run.name=bad model.hidden_size=262144 model.vocab_size=4194304
# Trials C1, C3, C4: at once, whatever the size.
for threads in 0 -3 abc 100000; do
  expect "OMP_NUM_THREADS=$threads" 2 'train.threads: OMP_NUM_THREADS is' \
    env OMP_NUM_THREADS=$threads "$dualpath" train config.yaml run.name=bad
done
expect "threads" 2 'train.threads: must lie between 0 and 1024' train run.name=bad train.threads=100000
expect "layers" 2 'model.layers: must lie between' train run.name=bad model.layers=1e9
expect "batches ahead" 2 'data.prefetch_batches: must lie between' train run.name=bad data.prefetch_batches=1e12
expect "no end" 2 '/dev/zero: is larger than' timeout 20 "$dualpath" train /dev/zero
mkfifo fifo
expect "a pipe that nobody writes to" 2 'nothing to train on' timeout 20 "$dualpath" train fifo run.name=bad train.steps=1
seq -f 'key_%.0f: 1' 30000 >many.yaml
expect "very many unknown keys" 2 'and 29[0-9]{3} more' timeout 20 "$dualpath" train many.yaml
[ "$(wc -l <"$scratch/output")" -lt 30 ] || fail "too many lines"
printf '%s\n' 'train: {steps: 1}' '---' 'train: {steps: 2}' >second.yaml
expect "a second document" 2 'second.yaml:3: a second document' "$dualpath" train second.yaml
[ -e runs/bad/checkpoints ] && fail "a refused config left checkpoints"

# Allowed, and told.
expect "a warm-up longer than the run" 0 'optimizer.warmup_steps \(100\) is not below the run.s 3 steps' train run.name=short
expect "a pipe" 0 'finished 3 steps' train <(echo 'run: {name: piped}')
printf '%s\n' 'base: config.yaml' 'run: {name: based}' >based.yaml
expect "a base" 0 'finished 3 steps' "$dualpath" train based.yaml

# Data.
from_elsewhere() { (mkdir -p elsewhere && cd elsewhere && "$dualpath" train ../config.yaml run.name=bad); }
expect "from another folder" 3 "config.yaml:9: .*corpus is missing: looked for .*/elsewhere/corpus; .* start in $(realpath .)," \
  from_elsewhere
expect "missing corpus" 3 'nowhere' train run.name=bad 'data.corpora=[{path: nowhere}]'
mkdir empty
expect "empty corpus" 3 'empty' train run.name=bad 'data.corpora=[{path: empty}]'
expect "two tokenizers" 3 'different tokenizers' train run.name=bad 'data.corpora=[{path: corpus}, {path: other}]'
expect "validation of another tokenizer" 3 'tokenizer' train run.name=bad 'data.validation=[{path: other}]'
expect "other tokenizer on resume" 3 'tokenizer' train run.name=good train.steps=6 model.vocab_size=384 'data.corpora=[{path: other}]'
corpus_copy() { rm -rf damaged; cp -r corpus damaged; shard=$(find damaged -name '*.h5' | head -n 1); }
corpus_copy
truncate -s -100 "$shard"
expect "shard cut short" 3 "$(basename "$shard")" train run.name=bad 'data.corpora=[{path: damaged}]'
corpus_copy
printf '\xff\xff' | dd of="$shard" bs=1 seek=$(($(stat -c %s "$shard") - 3000)) conv=notrunc status=none
expect "flipped byte" 3 "$(basename "$shard")" "$dualpath" data verify damaged
# Trial C2: a shard that is cut short while a run reads it.
corpus_copy
("$dualpath" train config.yaml run.name=reading train.steps=10000000 'data.corpora=[{path: damaged}]' >output 2>&1; echo $? >code) &
for _ in $(seq 600); do [ -s runs/reading/metrics.jsonl ] && break; sleep 0.05; done
truncate -s 100 "$shard"
wait $!
[ "$(cat code)" = 3 ] && grep -q "dualpath: .*$(basename "$shard"): was cut short while it was read" output ||
  fail "a shard cut short while it is read: exit code $(cat code), wanted 3" output
expect "too short a text" 3 'too few' train run.name=bad model.sequence_length=1000000
# Trial C4: what is no regular file is refused at once, and not waited for.
for file in corpus.yaml tokenizer.json; do
  corpus_copy
  file=$(find damaged -name "$file")
  rm "$file"
  mkfifo "$file"
  expect "$file that is a fifo" 3 "$file: is not a regular file" timeout 60 "$dualpath" train config.yaml run.name=bad \
    'data.corpora=[{path: damaged}]'
done

# Checkpoints and the run folder.
cp -r runs/good runs/odd
rm runs/odd/config.yaml
mkfifo runs/odd/config.yaml
expect "config.yaml that is a fifo" 4 'config.yaml: is not a regular file' timeout 60 "$dualpath" train config.yaml run.name=odd train.steps=6
expect "another model" 2 'model.layers: 1 in the checkpoint, 2 now' train run.name=good train.steps=6 model.layers=2
expect "no such checkpoint" 4 'step-00000002' train run.name=good train.steps=6 checkpoint.load_step=2
expect "weights of another model" 2 'model.hidden_size: 32 there, 64 here' \
  train run.name=bad train.init_from=runs/good/checkpoints/step-00000003 model.hidden_size=64
# Trial S7: a run's folder is its newest checkpoint; another function of the weights is refused, or told.
expect "weights from a run" 0 'weights from runs/good/checkpoints/step-00000003' \
  train run.name=from_run train.init_from=runs/good
expect "weights of no run" 4 'train.init_from: runs is neither a checkpoint, .* nor a run' train run.name=bad train.init_from=runs
tied="train.init_from=runs/good model.tied_embeddings=true"
expect "another function" 2 'model.tied_embeddings: false there, true here' train run.name=bad $tied
expect "another function, knowingly" 0 'no place for parameters/head.* of runs/good/checkpoints/step-00000003' \
  train run.name=tied $tied train.init_changes=model.tied_embeddings
rm -rf runs/bad
# Of a run that lost its checkpoints and metrics.jsonl, log.txt still tells.
cp -r runs/good runs/lost
rm -r runs/lost/checkpoints runs/lost/metrics.jsonl
rm -f runs/lost/DONE
expect "checkpoints and metrics lost" 4 'its log.txt tells of a save, but there is no checkpoint' train run.name=lost train.steps=6

# Trial R17: a picture that cannot be drawn is no failure of a finished run.
mkdir -p runs/undrawn/loss.svg/x
expect "loss.svg cannot be written" 0 'warning: the loss curve is not drawn: .*loss.svg' train run.name=undrawn
[ -e runs/undrawn/DONE ] && [ ! -e runs/undrawn/loss.svg.partial ] || fail "what a picture that failed leaves"
# Trial R7.
CUDA_VISIBLE_DEVICES=0 expect "GPUs that cannot be used" 2 'CUDA_VISIBLE_DEVICES=0 says that there are GPUs, but .*train.device=cpu' \
  train run.name=bad
CUDA_VISIBLE_DEVICES=0 expect "the CPU is asked for" 0 finished train run.name=cpu train.device=cpu
CUDA_VISIBLE_DEVICES= expect "no GPU" 0 'computing on the CPU: ' train run.name=auto
grep -q 'computing on the CPU: ' runs/auto/log.txt || fail "the choice of device is not in log.txt" runs/auto/log.txt
touch file
expect "run folder cannot be made" 4 'file/run' train run.folder=file/run
expect "run folder cannot be written" 4 '/proc/dualpath' train run.folder=/proc/dualpath
# A full disk, as a limit on file size: the run ends, and what was saved before is whole.
cp -r runs/good runs/full
limited() { (trap '' XFSZ; ulimit -f 64; train run.name=full train.steps=6 logging.tensorboard=false); }
expect "full disk" 4 'step-00000006' limited
expect "after a full disk" 0 'resumed from .*step-00000003' train run.name=full train.steps=6
expect "no checkpoint to generate from" 4 'no checkpoint|no run folder' "$dualpath" generate runs/nowhere
for words in "checkpoint list runs/good" "data info corpus" "plan config.yaml"; do
  expect "lost output of $words" 3 '^dualpath: standard output cannot be written: ' bash -c "\"\$0\" $words >/dev/full" "$dualpath"
done
expect "generate" 0 'Line' "$dualpath" generate runs/good prompt=Line tokens=5

# Numerics.
expect "not a number" 5 'step [0-9]+: loss is .*nan' train run.name=diverged train.steps=50 optimizer.lr=1e30 optimizer.warmup_steps=1 \
  optimizer.clip_grad=0
finish
