#!/usr/bin/env bash
# From a fresh Debian or Ubuntu machine to text from a model trained here: installs what is missing,
# builds, gets a text, tokenises it, trains on two ranks, stops after a checkpoint, goes on from
# there, and lets the model write. Minutes on two cores. All it makes is in build/ and quickstart/.
set -euo pipefail
cd "$(dirname "$0")/.."
source launcher/mpi_environment.sh
export OMPI_MCA_orte_execute_quiet=1  # that a run was stopped is no error to tell of

work=quickstart
run=$work/run  # run.folder of the configuration
train=(mpirun -n 2 build/dualpath train configs/quickstart.yaml)

say() { printf '\n=== %s [%d:%02d]\n' "$1" $((SECONDS / 60)) $((SECONDS % 60)); }
show() { printf '$'; printf ' %q' "$@"; printf '\n'; }
run() {
  show "$@"
  "$@"
}

# Writes the verses, "Ge1:1 In the beginning ...", as one file a chapter; every 20th is held out.
split_chapters() {
  mkdir -p $work/text/{train,validation}
  awk -v folder=$work/text '{
    chapter = substr($1, 1, index($1, ":") - 1)
    if (chapter != last) {
      if (last != "") close(file)
      part = ++count % 20 ? "train" : "validation"
      file = sprintf("%s/%s/%04d-%s.txt", folder, part, count, chapter)
      last = chapter
    }
    sub(/^[^ ]+ /, "")
    print >file
  }'
}

# Starts training, sends it USR1 as soon as a checkpoint is there, and expects it to save and to
# end with 75, stopped and resumable.
train_until_stopped() {
  show "${train[@]}"
  "${train[@]}" &
  local job=$! code=0
  trap "kill $job" EXIT  # an interrupted script leaves no job behind
  until compgen -G "$run/checkpoints/step-*/manifest.yaml" >/dev/null; do
    kill -0 $job 2>/dev/null || break
    sleep 0.2
  done
  show kill -USR1 $job
  kill -USR1 $job 2>/dev/null || true
  wait $job || code=$?
  trap - EXIT
  if ((code != 75)); then
    echo "training ended with exit code $code instead of 75" >&2
    exit 1
  fi
}

say "Packages"
bash launcher/install_packages.sh bible-kjv

say "Build"
cmake --preset cpu --log-level=WARNING
cmake --build --preset cpu --target dualpath

say "Text: the King James Bible"
rm -rf $work
bible -f 'Gen1:1-Rev22:21' | split_chapters
du -sh --apparent-size $work/text/train $work/text/validation

say "Tokens"
run build/dualpath tokenize $work/text/train output=$work/tokens/train tokenizer.vocab_size=4096
run build/dualpath tokenize $work/text/validation output=$work/tokens/validation \
  tokenizer.load=$work/tokens/train

say "Training on two ranks, up to the first checkpoint"
train_until_stopped

say "The same command goes on from the checkpoint"
run "${train[@]}"

say "Bits per byte of the whole validation text (training reads its first 8,192 tokens), and without the deep path"
run build/dualpath eval $run json=$run/evaluation.json
run build/dualpath eval $run intervene.off=deep

say "What gates and paths do"
run build/dualpath routes $run

say "The model writes"
run build/dualpath generate $run prompt="And the king said" tokens=150

say "The model for Hugging Face's transformers"
run build/dualpath checkpoint export $run $work/exported

say "Done: loss.svg, routes/report.html, metrics.jsonl, TensorBoard files, checkpoints and log.txt are in $run"
