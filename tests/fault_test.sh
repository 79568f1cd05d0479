#!/usr/bin/env bash
# fault_test.sh DUALPATH LIBRARY [full[/K] [SCENARIO...] | one SCENARIO OPERATION N KIND]
#
# Every call on files that the program makes fails once, as on a bad disk or a full one, by LIBRARY
# (tests/fault/). A case is: in SCENARIO, the N-th OPERATION fails as KIND says (a + after it: and every
# later one). Each time: no crash, no hang; exit code 0 only with the right result, else the code of
# that file with one message; what was called saved holds the reference's bytes; and the same command,
# with nothing failing, ends as if nothing had happened.
#
# Without a third word: a few cases of each operation and each file. full: all cases, some ten
# thousand; full/K: each K-th of them.
# one: one case, with what the program said; its folder is kept and named.
set -u
here=$(dirname "$(realpath "$0")")
. "$here/program.sh"
. "$here/../launcher/mpi_environment.sh"
library=$(realpath "$2")
mode=${3:-some}
chosen=("${@:4}")
mpiexec=${MPIEXEC:-mpirun}
program_test "$1"
scratch=$(realpath "$scratch")
export FAULT_CLOCK=1000000000  # equal contents are equal files
[ "$mode" = one ] && trap - EXIT

# ---- what is run: in $scratch/case, a fresh copy of $scratch/start for those that write

mkdir start start/text start/out start/tokens case reference
for i in $(seq 12); do echo "Line $i of a text, number $((i * 7919 % 1000))."; done >start/text/one.txt
for i in $(seq 13 24); do echo "{\"text\": \"Line $i of a text.\"}"; done >start/text/two.jsonl
cat >start/config.yaml <<'YAML'
model:
  layers: 1
  hidden_size: 32
  attention_heads: 2
  sequence_length: 32
  deep: {iterations: 2, ffn_hidden_size: 32}
  wide: {ffn_hidden_size: 32}
train: {steps: 4, global_batch_size: 2, micro_batch_size: 1}
optimizer: {schedule: constant}
data: {corpora: [{path: corpus}]}
checkpoint: {every_steps: 2, keep_last: 2}
YAML

tokenize="tokenize text output=out/corpus tokenizer.vocab_size=264 threads=1"
train="train config.yaml run.folder=run"
declare -A command root codes kind rank
# scenario NAME KIND ROOT CODES COMMAND [RANK]: files below ROOT fail (of two ranks, on RANK); the codes
# that it may end with then.
scenarios=()
scenario() {
  scenarios+=("$1")
  kind[$1]=$2 root[$1]=$scratch/case/$3 codes[$1]=$4 command[$1]=$5 rank[$1]=${6:-}
}
scenario train train run 4 "$train"
scenario resume train run 4 "$train"
scenario train_corpus train corpus 3 "$train"
scenario train_config train config.yaml 2 "$train"
scenario tokenize tokenize out 3 "$tokenize"
scenario tokenize_text tokenize text 3 "$tokenize"
scenario overwrite tokenize out 3 "$tokenize overwrite=true"
scenario data_info reader corpus 3 "data info corpus"
scenario data_verify reader corpus 3 "data verify corpus"
scenario checkpoint_list reader run 4 "checkpoint list run"
scenario checkpoint_verify reader run 4 "checkpoint verify run"
scenario generate reader run "3|4" "generate run prompt=Line tokens=12 temperature=0"
scenario rank_0_of_2 train run 4 "$train" 0
scenario rank_1_of_2 train run 4 "$train" 1

# prepare SCENARIO: what the command finds.
prepare() {
  rm -rf case/run case/out
  case $1 in
    train* | rank*) ;;
    resume | checkpoint_*) cp -r start/run case/run ;;
    tokenize*) mkdir case/out ;;
    overwrite) mkdir case/out && cp -r start/other case/out/corpus ;;
    generate)
      mkdir case/run
      cp -r reference/one/{config.yaml,tokenizer} case/run
      mkdir case/run/checkpoints
      cp -r reference/one/checkpoints/step-00000004 case/run/checkpoints
      ;;
  esac
}

# start RANK WORD...: the program in the case's folder, two of it if a rank is given; both streams in files.
start() {
  local ranks=()
  [ -n "$1" ] && ranks=("$mpiexec" -n 2)
  (cd case && FAULT_RANK=$1 exec timeout -k 1 30 env LD_PRELOAD="$library" "${ranks[@]}" "$dualpath" "${@:2}") \
    >"$scratch/out" 2>"$scratch/err" </dev/null
}
# program SCENARIO: its command.
program() { start "${rank[$1]}" ${command[$1]}; }

# must RANK WORD...: a run in which nothing fails.
must() {
  start "$@" || { cat out err; echo "FAILED without faults: $*"; exit 1; }
}

references() {
  cp -r start/text start/config.yaml case
  mkdir case/out
  must "" $tokenize tokenizer.vocab_size=270
  mv case/out/corpus start/other
  must "" $tokenize
  cp -r case/out/corpus reference/corpus
  mv case/out/corpus case/corpus
  must "" $train train.steps=2 checkpoint.every_steps=1
  cp -r case/run start/run
  mkdir reference/steps_of_one reference/steps_of_two
  cp -r case/run/checkpoints/step-00000001 reference/steps_of_one
  rm -rf case/run
  must "" $train
  mv case/run reference/one
  must 0 $train
  mv case/run reference/two
  cp -r reference/one/checkpoints/* reference/steps_of_one
  cp -r reference/two/checkpoints/* reference/steps_of_two
  diff -rq {start/run,reference/one}/checkpoints/step-00000002 ||
    { echo "FAILED: equal steps are saved as other bytes"; exit 1; }
}

# ---- what must hold

problem() { problems+="${problems:+; }$*"; }

# The run folder is the reference's, but for times.
same_run() {
  [ "$(history_of case/run 2>/dev/null)" = "$(history_of "reference/$size")" ] || problem "$1, another history"
  local different passed_over=()
  # What was made after a checkpoint that could not be read is made again; its rows are kept.
  grep -q 'damaged checkpoint .* is passed over' out err && passed_over=(-x 'metrics.jsonl.before-*')
  different=$(diff -rq -x .lock -x log.txt -x metrics.jsonl -x 'events.*' -x loss.svg "${passed_over[@]}" \
    "reference/$size" case/run 2>&1 |
    sed -E '/^Only in case.run.checkpoints: step-0+1$/d; s/^Files .* and (.*) differ/\1/' | head -n 1)
  [ -z "$different" ] || problem "$1, another run folder: ${different//$scratch\//}"
  cmp -s "reference/$size/loss.svg" case/run/loss.svg ||
    grep -qE 'loss.svg|loss curve is not drawn' out err || problem "$1, another loss.svg"
}

# saved_steps: those that the output calls saved hold the reference's bytes; sets newest.
saved_steps() {
  local line step
  while IFS= read -r line; do
    [[ $line =~ saved\ .*/(step-[0-9]+)\ in ]] || continue
    step=${BASH_REMATCH[1]}
    newest=$step
    [ -d "case/run/checkpoints/$step" ] || { problem "says saved $step, which is not there"; continue; }
    diff -rq "reference/steps_of_$size/$step" "case/run/checkpoints/$step" >/dev/null 2>&1 ||
      problem "says saved $step, which holds other bytes"
  done <out
}

judge_train() {
  local newest="" size=one
  [ -n "${rank[$1]}" ] && size=two
  [ "$1" = resume ] && newest=step-00000002
  saved_steps
  if [ "$1" = resume ] && grep -q 'step 1/4' out; then problem "starts anew"; fi
  if [ "$code" -eq 0 ]; then
    same_run "exit code 0"
    return
  fi
  program "$1"
  local again=$? from=""
  [ $again -eq 0 ] || { problem "the same command again: exit code $again, $(head -n 1 err)"; return; }
  [[ $(<out) =~ resumed\ from\ [^$'\n']*/(step-[0-9]+) ]] && from=${BASH_REMATCH[1]}
  [[ ! $from < $newest ]] || problem "the same command again: resumed from ${from:-nothing}, not $newest"
  same_run "the same command again"
}

same_corpus() {
  diff -rq reference/corpus case/out/corpus >/dev/null 2>&1 || problem "$1, another corpus"
}

judge_tokenize() {
  local again=${command[$1]}
  if [ "$code" -eq 0 ]; then
    same_corpus "exit code 0"
    [ "$(ls -A case/out)" = corpus ] && return
    again="$tokenize overwrite=true"
  elif [ "$1" = overwrite ]; then
    diff -rq start/other case/out/corpus >/dev/null 2>&1 ||
      diff -rq reference/corpus case/out/corpus >/dev/null 2>&1 || problem "the old corpus is lost"
  elif [ -e case/out/corpus ]; then
    same_corpus "exit code $code"  # it is there, but perhaps not for good
    again="$tokenize overwrite=true"
  fi
  start "" $again || { problem "the same command again: exit code $?, $(head -n 1 err)"; return; }
  same_corpus "the same command again"
  # What could not be removed then is removed now.
  [ "$(ls -A case/out)" = corpus ] || problem "the same command again, leftovers: $(ls -A case/out | tr '\n' ' ')"
}

judge_reader() {
  if [ "$code" -eq 0 ]; then
    [ "$(<out)" = "$expected" ] || problem "exit code 0, another answer"
  else
    grep -q 'all well' out && problem "all well in spite of exit code $code"
  fi
}

# One message, in our own words, which names the file or its folder.
judge_message() {
  local text message count path name folder
  text=$(<err)
  count=$(grep -cE '(^|\] )dualpath: ' err)
  message=$(grep -E '(^|\] )dualpath: ' err)
  if [[ $1 == checkpoint_* && $(<out) == *damaged* ]]; then
    count=1 message=$(<out)
  fi
  # One a damaged file, one a problem of the configuration.
  if [[ $1 =~ ^(data_verify|train_config)$ && $count -gt 1 || $message == *"no checkpoint is whole"* ]]; then
    count=1
  fi
  [ "$count" -eq 1 ] || problem "$count lines of messages"
  [[ $text =~ HDF5-DIAG|buf\ =\ 0x|file\ descriptor\ =|terminate\ called ]] && problem "raw message"
  [[ $text == *"internal error"* ]] && problem "internal error"
  while read -r _ path _; do
    name=${path##*/} folder=${path%/*}
    name=${name%.partial} folder=${folder##*/}
    [[ $message == *"$name"* || $message == *"${folder#.???-}"* ]] && return
  done < <(grep ' failed$' log)
  problem "message without place"
}

number=0 num_failed=0 num_missed=0
declare -A num_cases num_bad
# run_case SCENARIO OPERATION N KIND
run_case() {
  local name=$1 operation=$2 n=$3 how=${4%+} after=0 problems="" code place=""
  [[ $4 == *+ ]] && after=1
  [[ ${kind[$name]} == reader ]] || prepare "$name"
  : >log
  FAULT_ROOT=${root[$name]} FAULT_OPERATION=$operation FAULT_AT=$n FAULT_KIND=$how FAULT_AFTER=$after \
    FAULT_LOG=$scratch/log program "$name"
  code=$?
  place=$(sed -nE "s#^[a-z]+ $scratch/case/(.*) failed\$#\1#p;T;q" log)
  [ "$mode" = one ] && cat out err && echo "exit code $code; failed first: $place"
  case $code in
    0) ;;
    124 | 137) problem "hangs or is killed" ;;
    1?? | 2??) problem "crash, exit code $code" ;;
    *)
      [[ $code =~ ^(${codes[$name]})$ ]] || problem "exit code $code, not ${codes[$name]}"
      judge_message "$name"
      ;;
  esac
  judge_"${kind[$name]}" "$name"
  number=$((number + 1))
  num_cases[$name $operation]=$((${num_cases[$name $operation]:-0} + 1))
  [ -n "$place" ] || num_missed=$((num_missed + 1))
  [ -z "$problems" ] && return
  num_bad[$name $operation]=$((${num_bad[$name $operation]:-0} + 1))
  num_failed=$((num_failed + 1))
  fail "one $name $operation $n $4 ($place): $problems"
}

# ---- which cases

allocates='^(create|write|sync|close|rename|mkdir|truncate)$'
kinds_of() {
  echo EIO EIO+
  [[ $1 =~ $allocates ]] && echo ENOSPC ENOSPC+ EDQUOT
  [[ $1 =~ ^(read|write)$ ]] && echo short short+
  [[ $1 == write ]] && echo full
}

# calls SCENARIO: a line for each call on the scenario's files when nothing fails: operation, its number
# among those of its kind, file (numbers of steps and processes left out). Sets expected.
calls() {
  prepare "$1"
  : >log
  FAULT_ROOT=${root[$1]} FAULT_LOG=$scratch/log must "${rank[$1]}" ${command[$1]}
  expected=$(<out)
  sed -E "s#$scratch/case/##; s#step-[0-9]+#step#; s#(events|partial-|replaced-)[^/]*#\1#; s#\.partial\$##" log |
    awk '{print $1, ++n[$1], $2}' >calls
}

# full K SCENARIO...: each K-th case of them.
full() {
  local name operation n file how i=0
  for name in "${@:2}"; do
    calls "$name"
    while read -r operation n file <&3; do
      for how in $(kinds_of "$operation"); do
        [ $((i++ % $1)) -eq 0 ] && run_case "$name" "$operation" "$n" "$how"
      done
    done 3<calls
    prepare "$name"
  done
}

# some SCENARIO EVERY PLACES: a case for every EVERY-th (0: none) of the files that each operation works
# on, other files for other operations, and for the places (operation and file) that the expression
# matches: the first that opens, reads or closes the file, the middle one of other calls, and of a shard's
# writes, if there are many, three.
some() {
  local name=$1 operation n file kinds i=0
  calls "$name"
  while read -r operation n file <&3; do
    kinds=($(kinds_of "$operation"))
    [[ $operation == write && $file == *.h5 ]] && kinds=(EIO ENOSPC EDQUOT)  # trial S1: a single one is lost
    [[ $operation == read && $file != *.h5 ]] && kinds=(EIO)                 # trial S5: taken for the end
    run_case "$name" "$operation" "$n" "${kinds[$((i++ % ${#kinds[@]}))]}"
  done 3< <(awk -v every="$2" -v always="$3" '
    function choose(place, parts,   words, k, chosen) {
      split(place, words, " ")
      for (k = 1; k <= parts; ++k) {
        chosen = int((2 * k - 1) * n[place] / (2 * parts)) + 1
        if (words[1] ~ /^(open|read|close)$/ && place !~ /read .*h5$/) chosen = 1
        print words[1], number[place, chosen], words[2]
      }
    }
    {
      place = $1 " " $3
      if (!(place in n)) {
        if (!($1 in files)) operations[++num_operations] = $1
        places[$1, ++files[$1]] = place
      }
      number[place, ++n[place]] = $2
    }
    END {
      for (o = 1; o <= num_operations; ++o) {
        step = files[operations[o]] < every ? files[operations[o]] : every
        for (f = 1; f <= files[operations[o]]; ++f) {
          place = places[operations[o], f]
          parts = place !~ /write .*h5$/ ? 1 : n[place] < 9 ? n[place] : 3
          if (place ~ always) choose(place, parts)
          else if (every > 0 && f % step == o % step) choose(place, 1)
        }
      }
    }' calls)
}

# ---- all of it

report() {
  local key
  echo
  printf '%-20s%-10s%8s%8s\n' scenario operation cases failed
  for key in "${!num_cases[@]}"; do
    printf '%-20s%-10s%8s%8s\n' $key "${num_cases[$key]}" "${num_bad[$key]:-0}"
  done | sort
  echo "$number cases, $num_failed failed; in $num_missed the call that was to fail did not come"
}

references
case $mode in
  one)
    calls "${chosen[0]}"
    run_case "${chosen[@]}"
    echo "the folder: $scratch/case"
    ;;
  full*)
    every=${mode#full} every=${every#/}
    [ ${#chosen[@]} -eq 0 ] && chosen=("${scenarios[@]}")
    for name in "${chosen[@]}"; do
      if [ -n "${rank[$name]}" ]; then some "$name" 1 none; else full "${every:-1}" "$name"; fi
    done
    report
    ;;
  some)
    some train 15 '(write|close) .*(h5|manifest)|write .*(metrics|log|DONE)'
    some resume 15 'read .*(config|metrics|manifest|h5)|open .*config'
    some train_corpus 6 'read .*(h5|yaml)'
    some train_config 9 read
    some tokenize 9 'write .*(h5|yaml)|close .*yaml|rename .*corpus$'
    some tokenize_text 0 'list|read'
    some overwrite 0 'rename .*corpus$|remove .*new.corpus.yaml|stat .*work-lock'
    some data_info 0 'read .*h5|stat'
    some data_verify 0 'read .*h5|map'
    some checkpoint_list 0 'read|stat .*manifest'
    some checkpoint_verify 0 'read|list|stat .*manifest'
    some generate 0 'read .*(h5|json)'
    some rank_0_of_2 0 'write .*manifest'
    some rank_1_of_2 0 'close .*h5'
    report
    ;;
esac
finish
