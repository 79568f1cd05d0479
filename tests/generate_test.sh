#!/usr/bin/env bash
# generate_test.sh DUALPATH: prompts in, text out, the same text again, and what is refused.
set -u
. "$(dirname "$(realpath "$0")")/program.sh"
program_test "$1"

for i in $(seq 300); do echo "Line $i: \"quoted\" [text] # number $((i * 7919 % 1000))."; done >text.txt
expect "tokenize" 0 tokens "$dualpath" tokenize text.txt output=corpus tokenizer.vocab_size=300
expect "train" 0 '' "$dualpath" train run.folder=run model.layers=1 model.hidden_size=32 model.attention_heads=2 \
  model.sequence_length=32 model.deep.iterations=2 model.deep.ffn_hidden_size=32 model.wide.ffn_hidden_size=64 \
  train.steps=60 train.global_batch_size=8 train.micro_batch_size=8 optimizer.lr=1e-2 optimizer.warmup_steps=5 \
  'data.corpora=[{path: corpus}]'

# generate FILE ARGUMENT...: the text to the file; standard error must hold the pace and nothing else.
generate() {
  local file=$1
  shift
  "$dualpath" generate run "$@" >"$file" 2>errors || fail "generate $*: exit code $?" errors
  grep -Eqx 'prompts: [0-9,]+ tokens in .* s \(.* tokens/s\); generated: [0-9,]+ tokens in .* tokens/s\)' errors &&
    [ "$(wc -l <errors)" -eq 1 ] || fail "generate $*: standard error" errors
}
same() { cmp -s "$2" "$3" || fail "$1: $2 and $3 differ" "$2" "$3"; }
other() { cmp -s "$2" "$3" && fail "$1: $2 and $3 are equal" "$2"; }

# Longer than sequence_length.
generate sampled prompt="Line 7" tokens=100
generate again prompt="Line 7" tokens=100
generate reseeded prompt="Line 7" tokens=100 seed=2
same "one seed" sampled again
other "two seeds" sampled reseeded
generate greedy prompt="Line 7" tokens=40 temperature=0
generate top_one prompt="Line 7" tokens=40 temperature=2 top_k=1
generate top_none prompt="Line 7" tokens=40 temperature=2 top_p=0
same "top_k=1" greedy top_one
same "top_p=0" greedy top_none
generate threads prompt="Line 7" tokens=1 threads=2
[ "$(head -c 6 threads)" = "Line 7" ] || fail "the prompt comes first" threads

# A prompt is taken as it is.
odd='- [a: "b" # c'
generate verbatim prompt="$odd" tokens=1
[ "$(head -c ${#odd} verbatim)" = "$odd" ] || fail "prompt that looks like YAML" verbatim

# The document's end, then the prompt: as text, or as the token that it spells.
generate spelled prompt='<|endoftext|>' tokens=1
grep -q '^prompts: 2 tokens' errors && fail "a special token where text was meant" errors
generate special prompt='<|endoftext|>' tokens=1 special_tokens=true
grep -q '^prompts: 2 tokens' errors || fail "text where a special token was meant" errors

# Several prompts: each goes on as it does alone.
printf 'Line 7\r\nLine 8, "quoted"\n\nLine 9' >prompts.txt
generate from_file prompts=prompts.txt tokens=20 temperature=0
generate from_words prompt="Line 7" prompt='Line 8, "quoted"' prompt= prompt="Line 9" tokens=20 temperature=0
generate from_stdin prompts=- tokens=20 temperature=0 <prompts.txt
same "file and words" from_file from_words
same "file and standard input" from_file from_stdin
generate seven prompt="Line 7" tokens=20 temperature=0
generate eight prompt='Line 8, "quoted"' tokens=20 temperature=0
generate nothing tokens=20 temperature=0
generate nine prompt="Line 9" tokens=20 temperature=0
for text in seven eight nothing nine; do [ $text = seven ] || echo ---; cat $text; done >joined
same "several and each" from_file joined

# A run in bf16: its weights are fp32, and so is what generate computes.
if computes_in_bf16; then
  expect "train in bf16" 0 'finished 61 steps' "$dualpath" train run/config.yaml train.steps=61 train.precision=bf16
  expect "after bf16" 0 'Line 7' "$dualpath" generate run prompt="Line 7" tokens=5
fi

generate_wrongly() { "$dualpath" generate run prompt=Line tokens=5 "$@"; }
expect "temperature" 2 'temperature: must be at least 0, found -1' generate_wrongly temperature=-1
expect "top_p" 2 'top_p: must lie between 0 and 1, found 1.5' generate_wrongly top_p=1.5
expect "top_k" 2 'top_k: must be at least 0, found -3' generate_wrongly top_k=-3
expect "tokens" 2 'tokens: must be at least 1, found 0' "$dualpath" generate run tokens=0
expect "seed" 2 'seed: .*integer.*abc' generate_wrongly seed=abc
expect "not a number" 2 'temperature: wants a number, found .nan' generate_wrongly temperature=.nan
expect "unknown key" 2 'temprature: unknown key, did you mean temperature\?' generate_wrongly temprature=1
expect "no such prompts" 3 'nowhere.txt: cannot be read' generate_wrongly prompts=nowhere.txt
expect "no prompts" 3 'standard input: no line, hence no prompt' generate_wrongly prompts=-
to_full_disk() { "$dualpath" generate run tokens=5 >/dev/full; }
expect "full disk" 3 'standard output cannot be written: No space' to_full_disk
finish
