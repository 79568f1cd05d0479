#!/usr/bin/env bash
# eval_test.sh DUALPATH MPIEXEC: the same results whatever the batch, the ranks and the way to ask; bad input.
set -u
here=$(dirname "$(realpath "$0")")
. "$here/program.sh"
. "$here/../launcher/mpi_environment.sh"
mpiexec=$2
program_test "$1"

# Documents of many lengths, the last ones longer than a window.
for i in $(seq 40); do
  text="Line $i:"
  for j in $(seq $((i * i / 40 + 1))); do text="$text the number $((i * j * 7919 % 1000)) is [$j]."; done
  echo "{\"text\": \"$text\"}"
done >text.jsonl
expect "tokenize" 0 tokens "$dualpath" tokenize text.jsonl output=corpus tokenizer.vocab_size=300
expect "train" 0 '' "$dualpath" train run.folder=run model.layers=2 model.hidden_size=32 model.attention_heads=2 \
  model.sequence_length=32 model.deep.iterations=2 model.deep.ffn_hidden_size=32 model.wide.ffn_hidden_size=64 \
  train.steps=60 train.global_batch_size=8 optimizer.lr=1e-2 optimizer.warmup_steps=5 checkpoint.every_steps=30 \
  'data.corpora=[{path: corpus}]' 'data.validation=[{path: corpus}]'

for i in $(seq 30); do
  echo "{\"context\": \"Line $i: the number\", \"continuations\": [\" $i is\", \" $((i * 7)) is [1].\", \" [\"], \"gold\": 1, \"unconditional_context\": \"Line\"}"
done >choices.jsonl
for i in $(seq 10); do
  echo "{\"context\": \"Line $i: the number 7 \", \"continuations\": [\"is\"], \"gold\": 0}"
done >last_word.jsonl

# result NAME ARGUMENT...: results as JSON in NAME.json
result() {
  local name=$1
  shift
  expect "eval $*" 0 '' "$dualpath" eval "$@" json="$name.json" threads=1
}
# value FILE KEY: the numbers of a key, one a line
value() { sed -nE "s/^ *\"$2\": ([-0-9.e+]+),?$/\1/p" "$1.json"; }
# near NAME A B KEY TOLERANCE: the numbers of a key in two results
near() {
  paste <(value "$2" "$4") <(value "$3" "$4") >"$scratch/pairs"
  awk -v t="$5" 'NF != 2 || ($1 - $2) ^ 2 > (t * (1 + ($1 < 0 ? -$1 : $1))) ^ 2 { bad = 1 } END { exit bad || NR == 0 }' \
    "$scratch/pairs" || fail "$1: $4 of $2 and $3" "$scratch/pairs"
}
same_results() {
  for key in nats bits_per_byte perplexity accuracy accuracy_per_character accuracy_per_token accuracy_unconditional \
    greedy_accuracy; do
    near "$1" "$2" "$3" $key 1e-5
  done
}

all=(eval.texts=[text.jsonl] eval.corpora=[corpus] "eval.tasks=[choices.jsonl, last_word.jsonl]")
result whole run "${all[@]}"
result small_batch run "${all[@]}" eval.batch_tokens=32
result large_batch run "${all[@]}" eval.batch_tokens=8192
same_results "batches of other sizes" whole small_batch
same_results "batches of other sizes" whole large_batch
result checkpoint run/checkpoints/step-00000060 "${all[@]}"
same_results "a checkpoint's folder" whole checkpoint
for ranks in 2 3; do
  expect "on $ranks ranks" 0 'choices' "$mpiexec" -n $ranks "$dualpath" eval run "${all[@]}" json=ranks.json threads=1
  same_results "$ranks ranks" whole ranks
done
result earlier run "${all[@]}" step=30
[ "$(value earlier nats)" = "$(value whole nats)" ] && fail "step=30 is the newest checkpoint" earlier.json

# A text and the corpus made of it are the same.
[ "$(value whole nats | uniq | wc -l)" = 1 ] && [ "$(value whole tokens | uniq | wc -l)" = 1 ] &&
  [ "$(value whole bytes | uniq | wc -l)" = 1 ] || fail "text and corpus differ" whole.json
[ "$(value whole items | tr '\n' ' ')" = "30 10 " ] || fail "items" whole.json
# Without a wish: what the run validates on.
result default run
[ "$(value default nats)" = "$(value whole nats | head -n 1)" ] || fail "the run's validation corpora" default.json
if computes_in_bf16; then
  result bf16 run "${all[@]}" precision=bf16
  near "bf16" whole bf16 bits_per_byte 0.02
fi

# Requests: the log-likelihoods of the task and of the text, one at a time and together.
cat >requests.jsonl <<'R'
{"id": 1, "type": "loglikelihood", "context": "Line 7: the number", "continuation": " 7 is"}
{"id": "two", "type": "rolling", "text": "Line 7: the number 7 is [1]."}

{"id": [3], "type": "generate", "context": "Line 7: the", "max_tokens": 12}
{"type": "generate", "context": "Line 7: the", "max_tokens": 12, "until": [" is", "zzz"]}
{"id": 5, "type": "rolling", "text": ""}
R
expect "requests" 0 '' "$dualpath" eval run eval.requests=requests.jsonl threads=1
cp output answers
[ "$(wc -l <answers)" = 5 ] || fail "five answers" answers
sed -n 1p answers | grep -Eq '^\{"id":1,"log_likelihood":-[0-9.]+,"is_greedy":(true|false),"tokens":[0-9]+,"bytes":5\}$' ||
  fail "log-likelihood" answers
sed -n 2p answers | grep -Eq '^\{"id":"two","log_likelihood":-[0-9.]+,' || fail "rolling" answers
sed -n 3p answers | grep -Eq '^\{"id":\[3\],"text":"' || fail "generate" answers
long=$(sed -nE '3s/.*"text":"(.*)"\}/\1/p' answers) short=$(sed -nE '4s/.*"text":"(.*)"\}/\1/p' answers)
[ "$short" = "${long%% is*}" ] && [ "$short" != "$long" ] || fail "until: '$short' of '$long'" answers
sed -n 4p answers | grep -q '^{"id":null,' || fail "no id" answers
sed -n 5p answers | grep -q '"log_likelihood":0.0,"is_greedy":true,"tokens":0,"bytes":0' || fail "an empty text" answers
"$dualpath" eval run eval.requests=- threads=1 <requests.jsonl >piped 2>errors
cmp -s answers piped || fail "requests from standard input" piped errors
"$mpiexec" -n 2 "$dualpath" eval run eval.requests=- threads=1 <requests.jsonl >ranks 2>errors
cut -c 1-60 answers | sed -E 's/[0-9]{4,}.*//' >a
cut -c 1-60 ranks | sed -E 's/[0-9]{4,}.*//' >b
cmp -s a b || fail "requests on two ranks" ranks errors
# A reader that waits for each answer gets it.
coproc ASKED { "$dualpath" eval run eval.requests=- threads=1 2>errors; }
for i in 1 2 3; do
  echo '{"id": '$i', "type": "loglikelihood", "context": "Line", "continuation": " 1"}' >&"${ASKED[1]}"
  read -r -t 60 line <&"${ASKED[0]}" || fail "no answer to request $i" errors
  [[ $line == '{"id":'$i,* ]] || fail "answer to request $i: $line" errors
done
eval "exec ${ASKED[1]}>&-"
wait "$ASKED_PID" || fail "end of the requests" errors

# Interventions change the results, and these do not depend on how they are computed.
for change in gate_deep=0.3 off=deep off=wide shuffle_gates=true iterations=1 iterations=4 \
  "force_classes=[number,punctuation] intervene.force_path=wide" \
  "force_classes=[number] intervene.force_path=deep intervene.random_control=true"; do
  result changed run "${all[@]}" intervene.$change
  cmp -s <(value whole nats) <(value changed nats) && fail "intervene.$change changes nothing" changed.json
  result again run "${all[@]}" eval.batch_tokens=32 intervene.$change
  same_results "intervene.$change" changed again
done
result same run "${all[@]}" intervene.iterations=2
cmp -s <(value whole nats) <(value same nats) || fail "the model's own iterations" same.json
grep -q '"iterations": "2"' same.json || fail "an intervention is told" same.json
expect "text" 0 '' "$dualpath" generate run prompt="Line 7: the" tokens=200 temperature=1
head -n 1 output >own_text
for change in gate_deep=-1 off=none iterations=2; do
  expect "text" 0 '' "$dualpath" generate run prompt="Line 7: the" tokens=200 temperature=1 intervene.$change
  head -n 1 output | cmp -s - own_text || fail "intervene.$change is the model's own" output
done
for change in off=deep gate_wide=0.1 iterations=1; do
  expect "text" 0 '' "$dualpath" generate run prompt="Line 7: the" tokens=200 temperature=1 intervene.$change
  head -n 1 output | cmp -s - own_text && fail "intervene.$change writes the same text" output
done
expect "shuffled gates of a growing text" 2 'intervene.shuffle_gates: needs a whole text' \
  "$dualpath" generate run intervene.shuffle_gates=true
expect "half an intervention" 2 'force_classes and force_path go together' \
  "$dualpath" eval run intervene.force_path=deep

expect "no such run" 4 'no run folder or checkpoint nowhere' "$dualpath" eval nowhere
expect "a checkpoint and a step" 2 'one checkpoint' "$dualpath" eval run/checkpoints/step-00000060 step=30
expect "a file for results in no folder yet" 0 '' "$dualpath" eval run json=new/folder/results.json threads=1
[ -s new/folder/results.json ] || fail "json=new/folder/results.json"
expect "results into a folder" 3 'json=corpus is a folder' "$dualpath" eval run json=corpus
cp -r run/checkpoints/step-00000060 alone
expect "a checkpoint outside its run" 3 'no tokenizer .*where its run keeps it' "$dualpath" eval alone eval.texts=[text.jsonl]
expect "requests from a folder" 3 'corpus cannot be read: Is a directory' "$dualpath" eval run eval.requests=corpus
expect "no such text" 3 'nowhere.txt' "$dualpath" eval run eval.texts=[nowhere.txt]
expect "no such task" 3 'nowhere.jsonl' "$dualpath" eval run eval.tasks=[nowhere.jsonl]
expect "no such corpus" 3 'nowhere' "$dualpath" eval run eval.corpora=[nowhere]
expect "no such requests" 3 'nowhere' "$dualpath" eval run eval.requests=nowhere
echo '{"context": "a", "continuations": ["b", "c"], "gold": 2}' >wrong_gold.jsonl
expect "a wrong gold index" 3 'wrong_gold.jsonl:1: "gold" is 2, there are 2 continuations' \
  "$dualpath" eval run eval.tasks=[wrong_gold.jsonl]
expect "a wrong gold index, two ranks" 3 'wrong_gold.jsonl:1' "$mpiexec" -n 2 "$dualpath" eval run eval.tasks=[wrong_gold.jsonl]
[ "$(grep -c wrong_gold output)" = 1 ] || fail "one message of two ranks" output
printf '{"context": "a", "continuations": [" b", ""], "gold": 0}\n' >empty.jsonl
expect "an empty continuation" 3 'empty.jsonl:1: the continuation is empty' "$dualpath" eval run eval.tasks=[empty.jsonl]
long=$(printf 'number %.0s' $(seq 60))
echo '{"context": "a", "continuations": ["'"$long"'", " b"], "gold": 0}' >long.jsonl
expect "a continuation beyond the context" 3 "long.jsonl:1: .*the model's sequence_length is 32" \
  "$dualpath" eval run eval.tasks=[long.jsonl]
printf '{"context": "\xff", "continuations": [" b"], "gold": 0}\n' >not_utf8.jsonl
expect "not UTF-8" 3 'not_utf8.jsonl:1: not UTF-8' "$dualpath" eval run eval.tasks=[not_utf8.jsonl]
echo '{"type": "score"}' >bad_request.jsonl
expect "an unknown request" 3 'request 1: "type" is "score"' "$dualpath" eval run eval.requests=bad_request.jsonl
expect "another tokenizer's corpus" 0 '' "$dualpath" tokenize text.jsonl output=other tokenizer.vocab_size=290
expect "a corpus of another tokenizer" 3 'made with tokenizer' "$dualpath" eval run eval.corpora=[other]
cp -r run mixed && rm -r mixed/tokenizer && cp -r other mixed/tokenizer
expect "a run with another tokenizer" 3 'was trained with tokenizer' "$dualpath" eval mixed eval.texts=[text.jsonl]
expect "an unknown option" 2 'eval.text\b.*eval.texts' "$dualpath" eval run eval.text=[text.jsonl]

finish
