#!/usr/bin/env bash
# Everything that wants a machine with an NVIDIA GPU and its driver, in stages of at most ten minutes:
#
#   build    builds for this machine's GPU, where the folder holds no program yet
#   test     the kernel suite on the GPU, whole training steps against the CPU's, `dualpath bench` in small
#   train    trains on the GPU, goes on from there on the CPU and back; fp32 and bf16
#   ranks    two ranks that share the GPU, on each axis, where there is mpirun
#   bench    peaks, kernels and a step of configs/bench_dual_1b.yaml, with CUDA graphs and without
#   machine  the machine's description, and what `dualpath plan` makes of that model with it
#   eager, compiled   PyTorch's step of that model, where python3 has PyTorch with CUDA
#   report   the tables of all that has been measured
#
# usage: tests/gpu.sh [STAGE...] [BUILD_FOLDER]    all stages, in build-gpu
#        tests/gpu.sh pack [BUILD_FOLDER]          without a GPU: builds for compute capability 9.0 and
#                                                  puts the libraries of this system beside the program
# A stage that fails does not keep the others from running. What stages leave for `report` is in
# BUILD_FOLDER/gpu, so that they can run one by one. The exit code is 1 if a stage has failed. A folder that
# holds the program is used as it is: then nothing is installed or downloaded.
set -uo pipefail
cd "$(dirname "$0")/.."

all_stages=(build test train ranks bench machine eager compiled report)
stages=()
build=build-gpu
for word in "$@"; do
  if [[ " ${all_stages[*]} pack " == *" $word "* ]]; then stages+=("$word"); else build=$word; fi
done
[[ ${#stages[@]} -gt 0 ]] || stages=("${all_stages[@]}")
results=$build/gpu
model=configs/bench_dual_1b.yaml
# The same model for PyTorch: 1,514,907,792 parameters.
torch_model=(--width 2048 --layers 16 --heads 16 --kv-heads 8 --iterations 4 --deep-hidden 1024 --wide-hidden 8192
             --vocabulary 50304 --positions 2048 --batch 8)
programs=(dualpath tests/cuda_device_test tests/cuda_graph_test tests/gpu_training_test tests/bench_test)

# run PROGRAM [ARGUMENT...]: with the libraries that were packed, if any; where this system's own C library is
# too old for the program, with that one too.
run() {
  local program=$build/$1
  shift
  if [[ ! -d $build/lib ]]; then
    "$program" "$@"
  elif LD_LIBRARY_PATH=$libraries "$program" --help >"$results/loader.txt" 2>&1; then
    LD_LIBRARY_PATH=$libraries "$program" "$@"
  else
    "$build/lib/c/ld-linux-x86-64.so.2" --library-path "$build/lib/c:$libraries" "$program" "$@"
  fi
}

# Folders of CUDA's libraries: the linker's, a toolkit's, pip's.
cuda_libraries() {
  local folder
  for folder in /usr/local/cuda/lib64 /usr/local/nvidia/lib64 /usr/lib/x86_64-linux-gnu \
    $(python3 -c 'import glob, site; print(*glob.glob(site.getsitepackages()[0] + "/nvidia/*/lib"))' 2>/dev/null); do
    [[ -d $folder ]] && printf ':%s' "$folder"
  done
}

build_for() {  # COMPUTE_CAPABILITY, as 90 [CMAKE_ARGUMENT...]
  bash launcher/install_packages.sh &&
    cmake -S . -B "$build" -G Ninja -D DUALPATH_CUDA=on -D "CMAKE_CUDA_ARCHITECTURES=$1-real" "${@:2}" &&
    cmake --build "$build" --target dualpath cuda_device_test cuda_graph_test gpu_training_test bench_test
}

# One GPU wants no NCCL, without which the other machine may be.
stage_pack() {
  build_for 90 -D DUALPATH_NCCL=off || return 1
  mkdir -p "$build/lib/c"
  local library
  for library in $(cd "$build" && ldd "${programs[@]}" | awk '$3 ~ /^\// { print $3 } $1 ~ /ld-linux/ { print $1 }' | sort -u); do
    case $library in
      */libcublasLt* | */libcuda.so*) ;;  # hundreds of megabytes; the GPU's machine has them
      */ld-linux* | */libc.so* | */libm.so* | */libdl.so* | */libpthread.so* | */librt.so* | */libresolv.so*)
        cp -L "$library" "$build/lib/c/" ;;
      *) cp -L "$library" "$build/lib/" ;;
    esac
  done
  tar -C "$build" -cf - "${programs[@]}" lib | zstd -q -T0 -f -o "$build/dualpath-gpu.tar.zst" &&
    ls -l "$build/dualpath-gpu.tar.zst"
}

stage_build() {
  if [[ ! -x $build/dualpath && -e $build/dualpath-gpu.tar.zst ]]; then
    zstd -qdc "$build/dualpath-gpu.tar.zst" | tar -C "$build" -xf - || return 1
  fi
  if [[ ! -x $build/dualpath ]]; then
    build_for "$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -1 | tr -d .)" || return 1
  fi
  run dualpath --version
}

stage_test() {
  local failed=0
  run tests/cuda_device_test --gtest_brief=1 || failed=1
  run tests/cuda_graph_test --gtest_brief=1 || failed=1
  run tests/gpu_training_test --gtest_brief=1 --gtest_filter='*cuda*' || failed=1
  run tests/bench_test --gtest_brief=1 --gtest_filter='BenchCommand.*' || failed=1
  return $failed
}

stage_train() {
  local folder failed=0 last device precision graphs
  folder=$(mktemp -d)
  # From device to device: what one saves the other goes on from.
  while read -r last device; do
    run dualpath train configs/quickstart.yaml data.mock=true model.vocab_size=512 \
      train.validation_every_steps=0 "run.folder=$folder/run" "train.steps=$last" "train.device=$device" </dev/null ||
      failed=1
  done <<<$'3 cuda\n6 cpu\n9 cuda'
  # Where CUDA refuses graphs, the runs with `on` fail and say what was refused.
  while read -r precision graphs; do
    echo "-- $precision, train.cuda_graphs=$graphs"
    run dualpath train configs/bench_dual_103m.yaml data.mock=true train.steps=20 logging.every_steps=5 \
      train.device=cuda "train.precision=$precision" "train.cuda_graphs=$graphs" \
      "run.folder=$folder/$precision-$graphs" </dev/null || failed=1
  done <<<$'fp32 on\nbf16 on\nbf16 off'
  rm -rf "$folder"
  return $failed
}

stage_ranks() {
  [[ ! -d $build/lib ]] && command -v mpirun >/dev/null || return 77
  local folder axis failed=0
  folder=$(mktemp -d)
  for axis in tensor pipeline data; do
    (source launcher/mpi_environment.sh &&
      mpirun -n 2 "$build/dualpath" train configs/quickstart.yaml data.mock=true model.vocab_size=512 \
        train.validation_every_steps=0 train.steps=5 train.device=cuda "parallel.$axis=2" "run.folder=$folder/$axis") ||
      failed=1
  done
  rm -rf "$folder"
  return $failed
}

stage_bench() {
  local failed=0
  rm -f "$results"/{bench,no_graphs}.json
  run dualpath bench machine step kernels "$model" train.device=cuda "json=$results/bench.json" || failed=1
  run dualpath bench step "$model" train.device=cuda train.cuda_graphs=off "json=$results/no_graphs.json" || failed=1
  return $failed
}

stage_machine() {
  run dualpath bench machine train.device=cuda "bench.machine_file=$results/machine.yaml" &&
    run dualpath plan "$model" "plan.machine=$results/machine.yaml"
}

time_torch() {  # NAME [OPTION...]
  rm -f "$results/$1.json"
  if ! python3 -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
    echo "python3 has no PyTorch with CUDA"
    return 77
  fi
  local name=$1
  shift
  timeout 560 python3 tests/reference/bench_torch.py --device cuda --precision bf16 "${torch_model[@]}" --warmup 3 \
    "--json=$results/$name.json" "$@"
}
stage_eager() { time_torch eager; }
stage_compiled() { time_torch compiled --compile; }

stage_report() { python3 tests/gpu_report.py "$results"; }

if [[ ${stages[*]} == pack ]]; then
  stage_pack
  exit
fi
if ! nvidia-smi --query-gpu=name,driver_version,compute_cap,memory.total --format=csv 2>/dev/null; then
  echo "no GPU: skipped"
  exit 0
fi
mkdir -p "$results"
libraries=$build/lib$(cuda_libraries)

summary=()
any_failed=0
for stage in "${stages[@]}"; do
  echo "== $stage"
  begin=$SECONDS
  "stage_$stage"
  case $? in
    0) outcome=passed ;;
    77) outcome=skipped ;;
    *) outcome=FAILED any_failed=1 ;;
  esac
  summary+=("$(printf '%-10s %-8s %4d s' "$stage" $outcome $((SECONDS - begin)))")
done
printf '== summary\n'
printf '%s\n' "${summary[@]}"
exit $any_failed
