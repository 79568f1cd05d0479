#!/usr/bin/env bash
# routes_test.sh DUALPATH: a routing report of texts, of a corpus and of tagged sentences; bad input.
set -u
. "$(dirname "$(realpath "$0")")/program.sh"
program_test "$1"

for i in $(seq 60); do echo "{\"text\": \"Line $i: the number $((i * 7919 % 1000)) is odd, or even; perhaps.\"}"; done >text.jsonl
expect "tokenize" 0 tokens "$dualpath" tokenize text.jsonl output=corpus tokenizer.vocab_size=300
model=(model.layers=2 model.hidden_size=32 model.attention_heads=2 model.sequence_length=32 model.deep.iterations=3
  model.deep.ffn_hidden_size=32 model.wide.ffn_hidden_size=64 train.steps=30 train.global_batch_size=8 optimizer.lr=1e-2
  optimizer.warmup_steps=5 'data.corpora=[{path: corpus}]')
expect "train" 0 '' "$dualpath" train run.folder=run "${model[@]}" 'data.validation=[{path: corpus}]'

expect "the run's validation corpora" 0 'tokens, .* nats a token: run/routes/report.html' "$dualpath" routes run threads=1
for file in report.html summary.json routes.h5; do [ -s run/routes/$file ] || fail "run/routes/$file"; done
expect "a text" 0 '' "$dualpath" routes run routes.texts=[text.jsonl] routes.folder=texts threads=1
# The corpus and the text that it was made of have the same routes.
same_figures() { diff <(grep -v '"corpora"\|"checkpoint"\|jsonl\|"corpus"' "$1") <(grep -v '"corpora"\|"checkpoint"\|jsonl\|"corpus"' "$2") >diff; }
same_figures run/routes/summary.json texts/summary.json || fail "text and corpus" diff
# The nats are those of eval, up to the windows that it reads.
expect "one path off" 0 '' "$dualpath" routes run routes.folder=off intervene.off=wide threads=1
grep -q '"gate_wide": 0.0' off/summary.json || fail "intervene.off=wide" off/summary.json
grep -q '"deep_share": 1.0' off/summary.json || fail "deep share without a wide path" off/summary.json
expect "fewer iterations" 0 '' "$dualpath" routes run routes.folder=one intervene.iterations=1 threads=1
grep -q '"expected_iterations": 1.0' one/summary.json || fail "intervene.iterations=1" one/summary.json
expect "fewer tokens" 0 '^100 tokens' "$dualpath" routes run routes.folder=few routes.max_tokens=100 threads=1

printf '1\tLine\t_\tNOUN\t_\t_\t_\t_\t_\t_\n2\t7\t_\tNUM\t_\t_\t_\t_\t_\tSpaceAfter=No\n3\t:\t_\tPUNCT\t_\t_\t_\t_\t_\t_\n\n' >tags.conllu
expect "tagged sentences" 0 '' "$dualpath" routes run routes.conllu=tags.conllu routes.folder=tags threads=1
for tag in NOUN NUM PUNCT END; do grep -q "\"$tag\": {" tags/summary.json || fail "tag $tag" tags/summary.json; done

expect "looped" 0 '' "$dualpath" train run.folder=looped model.architecture=looped "${model[@]}"
expect "a model without gates" 0 '' "$dualpath" routes looped routes.texts=[text.jsonl] routes.folder=loops threads=1
grep -q '"deep_share": null' loops/summary.json || fail "no deep share" loops/summary.json
expect "wide" 0 '' "$dualpath" train run.folder=wide model.architecture=wide "${model[@]}"
expect "a model without routes" 2 'no layer is dual_path or looped' "$dualpath" routes wide routes.texts=[text.jsonl]
expect "no texts" 2 'give routes.texts or routes.conllu' "$dualpath" routes looped
expect "two kinds of texts" 2 'give one of them' "$dualpath" routes run routes.texts=[text.jsonl] routes.conllu=tags.conllu
expect "no such file" 3 'nowhere.conllu' "$dualpath" routes run routes.conllu=nowhere.conllu
expect "no such text" 3 'nowhere.txt' "$dualpath" routes run routes.texts=[nowhere.txt]
expect "no such run" 4 'nowhere' "$dualpath" routes nowhere
: >file
expect "a file where the folder should be" 4 'file' "$dualpath" routes run routes.folder=file

finish
