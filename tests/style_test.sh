#!/usr/bin/env bash
# style_test.sh TOOLS [ROOT]: the code's format and the size of its functions. TOOLS has
# clang-format and lizard, in the versions of tests/run.sh; ROOT is the repository. Without ROOT the
# check itself is tested too, on planted breaches.
set -euo pipefail
tools=$1
here=$(cd "$(dirname "$0")" && pwd)

# Imitations of C interfaces, whose functions have as many parameters as these.
interfaces=(fake_cuda/blaslt.cpp fake_driver/fake_driver.c fake_nccl/fake_nccl.cpp)

# Prints what is wrong with the sources below the folder $1, a line each.
breaches() {
  local files=() name checked=()
  cd "$1"
  mapfile -t files < <(find core parallel model data launcher tests \
    \( -name '*.h' -o -name '*.cpp' -o -name '*.c' -o -name '*.cu' -o -name '*.cuh' \) 2>/dev/null | sort)
  "$tools/clang-format" --style="file:$here/../.clang-format" --dry-run "${files[@]}" 2>&1 |
    sed -nE 's/^([^:]*):([0-9]+):.*clang-format-violations.*/\1:\2: is not as clang-format wants it/p'
  for name in "${files[@]}"; do
    for interface in "${interfaces[@]}"; do
      [[ $name == tests/"$interface" ]] && continue 2
    done
    checked+=("$name")
  done
  "$tools/lizard" -l cpp -w -C 1000 -L 60 -a 6 "${checked[@]}" |
    sed -E 's/^([^:]*:[0-9]+): warning: (\S+) has .*, ([0-9]+) PARAM, ([0-9]+) length.*/\1: \2 has \4 lines and \3 parameters; 60 and 6 are the most/' ||
    true
}

for tool in clang-format lizard; do
  [[ -x $tools/$tool ]] || { echo "$tools/$tool is missing; bash tests/run.sh installs it"; exit 1; }
done

found=$(breaches "${2:-$here/..}")
if [[ -n $found ]]; then
  echo "$found"
  exit 1
fi
[[ $# -gt 1 ]] && exit 0

planted=$(mktemp -d)
trap 'rm -rf "$planted"' EXIT
mkdir -p "$planted/core" "$planted/tests/fake_cuda"
echo 'int  f( );' >"$planted/core/format.h"
printf '%s\n' 'int f(int a, int b, int c, int d, int e, int f, int g) {' '  return a + b + c + d + e + f + g;' '}' \
  >"$planted/core/parameters.cpp"
cp "$planted/core/parameters.cpp" "$planted/tests/fake_cuda/blaslt.cpp"
{ echo 'void f() {'; for _ in {1..59}; do echo '  f();'; done; echo '}'; } >"$planted/core/long.cu"
told=$(breaches "$planted" | sort -u)
expected='core/format.h:1: is not as clang-format wants it
core/long.cu:1: f has 61 lines and 0 parameters; 60 and 6 are the most
core/parameters.cpp:1: f has 3 lines and 7 parameters; 60 and 6 are the most'
if [[ $told != "$expected" ]]; then
  printf 'planted breaches are told as\n%s\n' "$told"
  exit 1
fi
