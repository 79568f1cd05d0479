#!/usr/bin/env bash
# data_change_test.sh DUALPATH MPIEXEC: corpora that change under a run, differ between ranks, or are damaged.
set -u
here=$(dirname "$(realpath "$0")")
. "$here/program.sh"
. "$here/../launcher/mpi_environment.sh"
program_test "$1"
mpiexec=$2

cat >config.yaml <<'YAML'
run: {folder: run}
model: {layers: 1, hidden_size: 16, attention_heads: 2, sequence_length: 16,
        deep: {iterations: 1, ffn_hidden_size: 16}, wide: {ffn_hidden_size: 16}}
train: {steps: 4, global_batch_size: 4, micro_batch_size: 1}
data: {corpora: [{path: a}, {path: b}]}
checkpoint: {every_steps: 2, keep_last: 0}
YAML
lines() { for ((i = 0; i < 150; ++i)); do echo "$1 line $i"; done; }
lines first >a.txt
lines second >b.txt
mkdir longer && cp b.txt longer && lines third >longer/c.txt
sed 's/second/fourth/' b.txt >other.txt

expect "tokenize a" 0 documents "$dualpath" tokenize a.txt output=a tokenizer.vocab_size=300
# make FOLDER TEXT: with the tokenizer of the first.
make() {
  expect "tokenize $1" 0 documents "$dualpath" tokenize "$2" output="$1" tokenizer.load=a overwrite=true
}
make b b.txt

expect "training" 0 'finished 4 steps' "$dualpath" train config.yaml
cp -r run renamed
cp -r run damaged

# S2
make b longer
expect "a corpus that has grown" 0 "data: .*/b has grown from [0-9]+ to [0-9]+ tokens" \
  "$dualpath" train config.yaml train.steps=6
make b other.txt
expect "a corpus that was replaced" 3 "^dualpath: .*b holds other tokens than at the checkpoint.*data.replaced=true" \
  "$dualpath" train config.yaml train.steps=8
rm run/DONE
expect "submitted with it" 3 'data.replaced=true' "$dualpath" submit config.yaml train.steps=8 --dry-run
expect "a replacement that is wanted" 0 "data: .*/b was replaced" \
  "$dualpath" train config.yaml train.steps=8 data.replaced=true
expect "the replacement goes on" 0 'finished 10 steps' "$dualpath" train config.yaml train.steps=10
make d b.txt
mv a c
expect "corpora that were renamed" 0 "data: .*/c was .*/a before" \
  "$dualpath" train config.yaml run.folder=renamed train.steps=6 'data.corpora=[{path: d}, {path: c}]'
mv c a
expect "one corpus twice" 3 'hold the same tokens' \
  "$dualpath" train config.yaml run.folder=twice 'data.corpora=[{path: d}, {path: d}]'

# S4: the same paths, other tokens on one of the ranks.
mkdir w1 w2
cp -r a d w1 && cp -r a w2 && cp -r b w2/d
expect "ranks that see different corpora" 3 '^\[rank 0[^]]*\] dualpath: the ranks see different corpora: rank 0 d: ' \
  "$mpiexec" -n 1 -wdir w1 "$dualpath" train ../config.yaml run.folder=../unlike 'data.corpora=[{path: a}, {path: d}]' \
  : -n 1 -wdir w2 "$dualpath" train ../config.yaml run.folder=../unlike 'data.corpora=[{path: a}, {path: d}]'

# What both ranks find wrong is told once.
mkdir empty
for corpus in nowhere empty; do
  expect "two ranks, no corpus in $corpus" 3 "^\[rank 0[^]]*\] dualpath: .*$corpus.* is missing" \
    "$mpiexec" -n 2 "$dualpath" train config.yaml run.folder=none "data.corpora=[{path: $corpus}]"
  [ "$(grep -c 'dualpath: ' "$scratch/output")" = 1 ] ||
    fail "two ranks, no corpus in $corpus: more than one message" "$scratch/output"
done

# S9: a bit that has changed in the tokens ends the run at its first reading.
make b b.txt
size=$(stat -c %s b/tokens-00000.h5)
printf '\377' | dd of=b/tokens-00000.h5 bs=1 seek=$((size / 2)) conv=notrunc status=none
expect "damaged tokens" 3 '^dualpath: b/tokens-00000.h5: damaged ' \
  "$dualpath" train config.yaml run.folder=damaged train.steps=20
make b b.txt
sed -i 's/"id"/"iD"/; s/"model"/"modeL"/' b/tokenizer.json
rm b/tokens-00000.h5
expect "everything that is damaged" 3 '^dualpath: b/tokens-00000.h5: ' "$dualpath" data verify b
expect "a damaged tokenizer" 3 '^dualpath: b/tokenizer.json: its content has changed' "$dualpath" data verify b

finish
