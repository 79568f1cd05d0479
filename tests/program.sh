# To be sourced by the tests that run the built program: `program_test DUALPATH` first, `finish` last.
#
# A scratch folder to work in, and counting of failed expectations. Every test names what it expects.

program_test() {
  dualpath=$(realpath "$1")
  scratch=$(mktemp -d)
  trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$scratch"' EXIT
  cd "$scratch" || exit 1
  failures=0
  export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive
}

fail() {
  echo "FAILED $1"
  shift
  for file in "$@"; do sed 's/^/  /' "$file" | tail -n 15; done
  failures=$((failures + 1))
}

# expect NAME CODE PATTERN COMMAND...: the exit code, and a line of the output (both streams) that the
# extended regular expression matches.
expect() {
  local name=$1 code=$2 pattern=$3
  shift 3
  "$@" >"$scratch/output" 2>&1 </dev/null
  local found=$?
  if [ $found -ne "$code" ]; then
    fail "$name: exit code $found, wanted $code" "$scratch/output"
  elif ! grep -Eq -- "$pattern" "$scratch/output"; then
    fail "$name: no line matches '$pattern'" "$scratch/output"
  fi
}

# Whether this processor multiplies bf16.
computes_in_bf16() {
  "$dualpath" train run.folder=tried_in_bf16 model.layers=1 model.hidden_size=16 model.attention_heads=1 \
    model.sequence_length=8 model.vocab_size=16 model.deep.iterations=1 model.deep.ffn_hidden_size=8 \
    model.wide.ffn_hidden_size=8 data.mock=true train.global_batch_size=1 train.steps=1 train.precision=bf16 \
    >"$scratch/output" 2>&1 && return
  grep -q 'needs a processor with AVX-512' "$scratch/output" || fail "bf16" "$scratch/output"
  return 1
}

# loss and gradient norm of every step of a run, to the last digit.
history_of() {
  sed -nE 's/.*"step":([0-9]+),.*"loss":([^,]*),.*"grad_norm":([^,]*),.*/\1 \2 \3/p' "$1/metrics.jsonl"
}

# same_history NAME RUN RUN
same_history() {
  history_of "$2" >"$scratch/history_a"
  history_of "$3" >"$scratch/history_b"
  if [ ! -s "$scratch/history_a" ] || ! diff "$scratch/history_a" "$scratch/history_b" >"$scratch/diff"
  then
    fail "$1: histories of $2 and $3 differ" "$scratch/diff"
  fi
}

finish() {
  [ $failures -eq 0 ] && echo "all passed"
  exit $((failures != 0))
}
