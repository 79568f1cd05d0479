#!/usr/bin/env bash
# cli_test.sh DUALPATH: what the program itself answers, verbs aside.
set -u
dualpath=$(realpath "$1")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failures=0

# check NAME CODE STREAM PATTERN ARGUMENT...: the exit code, and that the stream has a line that the
# pattern matches while the other stream is empty.
check() {
  local name=$1 code=$2 stream=$3 pattern=$4 other=out
  shift 4
  [ "$stream" = out ] && other=err
  "$dualpath" "$@" >"$scratch/out" 2>"$scratch/err"
  local found=$?
  if [ $found -ne "$code" ] || ! grep -Eq "$pattern" "$scratch/$stream" || [ -s "$scratch/$other" ]; then
    echo "FAILED $name: exit code $found, wanted $code and '$pattern' on std$stream"
    sed 's/^/  out: /' "$scratch/out"
    sed 's/^/  err: /' "$scratch/err"
    failures=$((failures + 1))
  fi
}

unset OMPI_COMM_WORLD_SIZE PMI_SIZE SLURM_NTASKS
check "no verb" 2 err '^usage: dualpath VERB'
check "help" 0 out '^usage: dualpath VERB' --help
check "short help" 0 out '^usage: dualpath VERB' -h
check "version" 0 out '^dualpath [0-9]+\.[0-9]+\.[0-9]+, commit ' --version
check "libraries" 0 out '^libraries: HDF5 [0-9.]+, oneDNN [0-9.]+, MPI [0-9.]+$' --version
check "unknown verb" 2 err '^dualpath: unknown verb xyzzyx; dualpath --help lists the verbs$' xyzzyx
check "mistyped verb" 2 err '^dualpath: unknown verb dtaa, did you mean data\?; ' dtaa info
check "help of a verb" 0 out '^usage: dualpath data' data --help
check "unknown verb with options" 2 err '^dualpath: unknown verb xyzzyx;' xyzzyx a=b --help

# Trial: output that is lost is no success. One message.
for words in --help --version "plan --help"; do
  "$dualpath" $words >/dev/full 2>"$scratch/err"
  found=$?
  if [ $found -ne 3 ] || [ "$(wc -l <"$scratch/err")" != 1 ] ||
    ! grep -q '^dualpath: standard output cannot be written: ' "$scratch/err"; then
    echo "FAILED lost output of $words: exit code $found"
    sed 's/^/  err: /' "$scratch/err"
    failures=$((failures + 1))
  fi
done

check "no output" 2 err '^dualpath: output= is missing$' tokenize "$0"
check "no such text" 3 err '^dualpath: .*/none.txt: no such file or folder$' tokenize "$scratch/none.txt" output="$scratch/corpus"

touch "$scratch/a=b.txt"
cd "$scratch" || exit 1
check "a file that reads as an option" 2 err '^dualpath: a=b.txt is a file, but reads as an option; write ./a=b.txt$' \
  tokenize a=b.txt output=corpus

# Several ranks say which one speaks; one rank does not.
OMPI_COMM_WORLD_RANK=3 OMPI_COMM_WORLD_SIZE=4 \
  check "rank" 2 err '^\[rank 3\] dualpath: unknown verb xyzzyx' xyzzyx
OMPI_COMM_WORLD_RANK=0 OMPI_COMM_WORLD_SIZE=1 \
  check "single rank" 2 err '^dualpath: unknown verb xyzzyx' xyzzyx

[ $failures -eq 0 ] && echo "all passed"
exit $((failures > 0))
