#!/usr/bin/env bash
# Installs what is missing, builds everything, runs every test, then the unit tests once more
# under the address and undefined-behaviour sanitizers, and those of threads under the thread
# sanitizer. The last line counts what ctest counted; skipped: tests that need a GPU, where there is none.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(slurm-wlm munge libxml2-utils python3-venv)
if [[ $(uname -m) == x86_64 ]]; then packages+=(qemu-user); fi  # plays older processors
bash launcher/install_packages.sh "${packages[@]}"
source launcher/mpi_environment.sh
export GTEST_COLOR=no

# style_test's tools, from PyPI: every distribution has another clang-format. Without them it fails.
{ [[ -x build/style/bin/lizard ]] || python3 -m venv build/style; } &&
  build/style/bin/pip install --quiet --disable-pip-version-check clang-format==14.0.6 lizard==1.17.31 ||
  echo "style_test's tools could not be installed" >&2

passed=0
failed=0
skipped=0

# Runs ctest with the given arguments and adds its summary's figures to the count.
run_ctest() {
  local log summary without
  log=$(mktemp)
  ctest -j2 --output-on-failure --no-tests=error "$@" 2>&1 | tee "$log" || true
  summary=$(sed -nE 's/.*tests passed, ([0-9]+) tests? failed out of ([0-9]+).*/\1 \2/p' "$log")
  without=$(grep -c '\*\*\*Skipped' "$log" || true)
  rm "$log"
  if [[ -z $summary ]]; then
    echo "ctest $* ended without a summary" >&2
    exit 1
  fi
  failed=$((failed + ${summary% *}))
  skipped=$((skipped + without))
  passed=$((passed + ${summary#* } - ${summary% *} - without))
}

# Of the GPU code, one architecture: to compile it is most of what a machine without a GPU can test.
cmake --preset cpu -D DUALPATH_WERROR=ON -D CMAKE_CUDA_ARCHITECTURES=90-real
cmake --build --preset cpu
run_ctest --preset cpu

cmake --preset asan -D DUALPATH_WERROR=ON
cmake --build --preset asan
run_ctest --preset asan

cmake --preset tsan -D DUALPATH_WERROR=ON
cmake --build --preset tsan
run_ctest --preset tsan

echo "$passed passed, $failed failed, $skipped skipped"
((failed == 0))
