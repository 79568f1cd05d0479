#!/usr/bin/env bash
# Compiles all GPU kernels with the given nvcc, warnings as errors; fails where one spills registers.
set -euo pipefail
nvcc=$1
source_dir=$2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# fmt 9 takes nvcc for a compiler without constexpr.
"$nvcc" -DFMT_USE_CONSTEXPR=1 -std=c++20 -arch=sm_90 -O3 --expt-relaxed-constexpr -I"$source_dir" -Werror all-warnings \
  -Xcompiler -Wall,-Wextra -Xptxas -v -c "$source_dir/tests/gpu/compile_kernels.cu" -o /dev/null \
  >"$log" 2>&1 || { cat "$log"; exit 1; }
kernels=$(grep -c 'Used [0-9]* registers' "$log")
spilling=$(grep -cE '[1-9][0-9]* bytes spill (stores|loads)' "$log" || true)
echo "$kernels kernels, $spilling with spilled registers"
((kernels > 0 && spilling == 0))
