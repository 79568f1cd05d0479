#!/usr/bin/env bash
# export_test.sh DUALPATH: a run's model goes out and comes back, and is used.
set -u
. "$(dirname "$(realpath "$0")")/program.sh"
program_test "$1"

for i in $(seq 300); do echo "Line $i: \"quoted\" [text] # number $((i * 7919 % 1000))."; done >text.txt
expect "tokenize" 0 tokens "$dualpath" tokenize text.txt output=corpus tokenizer.vocab_size=300
train() {
  "$dualpath" train model.layers=2 model.hidden_size=32 model.attention_heads=2 model.sequence_length=32 \
    model.deep.iterations=2 model.deep.ffn_hidden_size=32 model.wide.ffn_hidden_size=64 \
    train.global_batch_size=8 train.micro_batch_size=8 optimizer.lr=1e-2 optimizer.warmup_steps=5 \
    'data.corpora=[{path: corpus}]' "$@"
}
expect "train" 0 'exported run/hf/step-00000020' train run.folder=run train.steps=20 train.save_hf=true
expect "finished already" 0 'has all of its' train run.folder=run train.steps=20 train.save_hf=true
expect "import" 0 'train.init_from=back' "$dualpath" checkpoint import run/hf/step-00000020 back
expect "nothing is overwritten" 4 'back: is not empty' "$dualpath" checkpoint import run/hf/step-00000020 back
expect "diff" 4 'tensors: .* equal, 0 with other bits' "$dualpath" checkpoint diff run back
"$dualpath" generate run prompt="Line 7" tokens=40 temperature=0 >before 2>errors
"$dualpath" generate back prompt="Line 7" tokens=40 temperature=0 >after 2>errors || fail "generate" errors
[ -s after ] && cmp -s before after || fail "the imported model writes another text" before after
expect "a new run from it" 0 'weights from back/checkpoints/step-00000000' \
  train run.folder=new train.steps=2 train.init_from=back
expect "no moments to go on with" 4 'was imported: .* train.init_from=back' train run.folder=back train.steps=2

# The same steps from a checkpoint and from its copy in three shards.
expect "a copy" 0 'in 3 shards' "$dualpath" checkpoint reshard run copy/checkpoints/step-00000020 ranks=3
expect "equal" 0 '^equal: ' "$dualpath" checkpoint diff run copy
cp run/config.yaml copy/
cp -r run/tokenizer copy/
expect "going on" 0 'step 24/24' train run.folder=run train.steps=24
expect "going on from the copy" 0 'step 24/24' train run.folder=copy train.steps=24
expect "the same steps" 0 '^equal: ' "$dualpath" checkpoint diff run copy

# Random tokens have no tokenizer.
expect "mock" 0 saved "$dualpath" train run.folder=mock model.layers=1 model.hidden_size=16 \
  model.attention_heads=1 model.sequence_length=8 model.vocab_size=16 model.deep.iterations=1 \
  model.deep.ffn_hidden_size=8 model.wide.ffn_hidden_size=8 data.mock=true train.global_batch_size=1 \
  train.steps=1
expect "export without a tokenizer" 0 'in bf16' "$dualpath" checkpoint export mock mock_hf export.dtype=bf16
[ -e mock_hf/tokenizer.json ] && fail "a tokenizer from nowhere"
expect "bf16 is not exact" 4 'only fp32 weights' "$dualpath" checkpoint import mock_hf never
[ -e never ] && fail "a refused import left a folder"
finish
