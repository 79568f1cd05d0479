#!/usr/bin/env bash
# configs_test.sh DUALPATH CONFIGS: `dualpath plan` takes every configuration, on the ranks that its parallel
# section makes, and configs/README.md says of each what the plan says. A file beside a base.yaml names it,
# and giving both is the same.
# `dualpath sweep plan` takes those of sweeps/.
set -u
. "$(dirname "$0")/program.sh"
configs=$(realpath "$2")
program_test "$1"
unset OMPI_COMM_WORLD_SIZE PMI_SIZE SLURM_NTASKS

gpu_memory_mb=141000  # of an H200

plan() {  # FILE
  # The quickstart takes its vocabulary from the tokenizer that it trains.
  "$dualpath" plan "$1" $([ "$(basename "$1")" = quickstart.yaml ] && echo model.vocab_size=4096)
}

# The row of README's table, and the bytes of the rank that takes most.
read_plan() {  # NAME
  awk -v name="$1" '
    /ranks?: tensor/ { ranks = $1; layout = $4 + 0 == 1 ? "" : "tensor " $4 + 0
      if (match($0, /pipeline [0-9]+( x [0-9]+)?/) && $8 + 0 > 1)
        layout = layout (layout ? ", " : "") substr($0, RSTART, RLENGTH) }
    /^parameters:/ { gsub(",", "", $2); parameters = $2 }
    /^training FLOPs/ { flops = $5 + 0 }
    /^bubble:/ { bubble = $2 " %" }
    /^all / { gsub(",", ""); for (i = 2; i <= NF; ++i) if ($i + 0 > memory) memory = $i + 0 }
    END {
      printf "| `%s` | %.1f M | %.3g G | %s%s | %.3g GB | %s |\n", name, parameters / 1e6, flops / 1e9, ranks,
             layout ? ": " layout : "", memory / 1e3, bubble
      print memory }'
}

count=0
while read -r file; do
  name=${file#"$configs"/}
  count=$((count + 1))
  if ! plan "$file" >plan_output 2>&1; then
    fail "$name" plan_output
    continue
  fi
  { read -r row; read -r memory; } < <(read_plan "$name" <plan_output)
  grep -qF -- "$row" "$configs/README.md" || fail "README.md says otherwise than: $row"
  awk -v memory="$memory" -v most=$gpu_memory_mb 'BEGIN { exit !(memory > 0 && memory < 0.85 * most) }' ||
    fail "$name: $memory MB"
  [[ $name == paper/* ]] || continue
  millions=$(awk '/^parameters:/ { gsub(",", ""); printf "%.0f", $2 / 1e6 }' plan_output)
  grep -q "^# Published, arXiv 2605.30202: ${millions}M parameters" "$file" ||
    fail "$name: $millions million parameters are not what it says to be published" plan_output
done < <(find "$configs" -name '*.yaml' ! -name base.yaml ! -path '*/machines/*' ! -path '*/sweeps/*' | sort)
for file in "$configs"/dual_30b/1024_gpus.yaml "$configs"/paper/wide_80m.yaml; do
  "$dualpath" plan "$file" >one 2>&1
  "$dualpath" plan "$(dirname "$file")/base.yaml" "$file" >both 2>&1 && cmp -s one both || fail "with its base: $file" one both
done
[ $count -ge 21 ] || fail "$count configurations found"

# Sweeps: all their models meet the budget; those of the paper are the published ones.
cd "$configs/.." || exit 1
for file in configs/sweeps/*.yaml; do
  expect "$file" 0 '^[0-9]+ runs: ' "$dualpath" sweep plan "$file" model.vocab_size=50304
  grep -q 'cannot meet' "$scratch/output" && fail "$file" "$scratch/output"
  [ "$file" = configs/sweeps/paper.yaml ] && cp "$scratch/output" "$scratch/paper"
done
for file in configs/paper/*_80m.yaml configs/paper/*_160m.yaml; do
  millions=$(sed -nE 's/^# Published, arXiv 2605.30202: ([0-9]+)M parameters.*/\1/p' "$file")
  awk -v m="$millions" '{ gsub(",", ""); if (sprintf("%.0f", $2 / 1e6) == m) found = 1 } END { exit !found }' "$scratch/paper" ||
    fail "$file: the sweep has no model of $millions million parameters" "$scratch/paper"
done
finish
