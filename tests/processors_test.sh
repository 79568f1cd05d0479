#!/usr/bin/env bash
# processors_test.sh DUALPATH: one program for every x86-64 processor with AVX2. An emulator plays the
# older ones; an instruction that they lack would end the program.
set -u
source "$(dirname "$0")/program.sh"
program_test "$1"

cat >run.yaml <<'END'
model: {layers: 2, hidden_size: 64, attention_heads: 2, sequence_length: 32, vocab_size: 512,
        deep: {iterations: 2, ffn_hidden_size: 64}, wide: {ffn_hidden_size: 128}}
train: {global_batch_size: 2, micro_batch_size: 2, steps: 2, threads: 1}
data: {mock: true}
logging: {every_steps: 1}
END
losses='s/.*"loss":([0-9]+\.[0-9]{4}).*/\1/p'

expect "this processor" 0 'cpu \(.*\), 1 threads' "$dualpath" train run.yaml run.folder=here
expect "AVX2" 0 'cpu \(.*avx2\), 1 threads' \
  qemu-x86_64 -cpu Haswell "$dualpath" train run.yaml run.folder=haswell
if ! diff <(sed -nE "$losses" here/metrics.jsonl) <(sed -nE "$losses" haswell/metrics.jsonl); then
  fail "the losses differ in their first four decimals"
fi
expect "bf16 without AVX-512" 2 'precision bf16 needs a processor with AVX-512' \
  qemu-x86_64 -cpu Haswell "$dualpath" train run.yaml run.folder=half train.precision=bf16
expect "no AVX2" 2 'this processor has no AVX2' \
  qemu-x86_64 -cpu Westmere "$dualpath" train run.yaml run.folder=old
finish
