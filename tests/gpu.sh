#!/usr/bin/env bash
# Everything that wants a machine with an NVIDIA GPU and its driver, in stages, what tells most first. With
# the time that each takes at the most, its programs being killed at limits of their own:
#
#   build              unpacks what `pack` made or else builds for this machine's GPU (which has no limit)
#   device    1 min    the GPU is found; memory, copies, streams
#   test      8 min    the kernel suite on the GPU, CUDA graphs, whole training steps against the CPU's,
#                      `dualpath bench` in small
#   train     6 min    trains on the GPU, goes on from there on the CPU and back; fp32 and bf16
#   bench     6 min    peaks, kernels and a step of configs/bench_dual_1b.yaml, with CUDA graphs and without
#   ranks     5 min    two ranks, which share the GPU where there is one: NCCL, and training on each axis; where
#                      `pack` found mpirun or one is here
#   machine   6 min    the machine's description, and what `dualpath plan` makes of that model with it
#   eager     3 min    PyTorch's step of that model, where python3 has PyTorch with CUDA
#   compiled  6 min    the same by torch.compile
#   sanitize  8 min    the kernel suite under compute-sanitizer, where that is installed
#   report             the tables of all that has been measured
#
#   first    10 min    alone, with the unpacking: what of device, test and bench tells most, and the report beside what
#                      was expected. Its programs end within DUALPATH_GPU_SECONDS of the script, 575 if not set
#
# usage: tests/gpu.sh [STAGE...] [BUILD_FOLDER]    all stages, in build-gpu; `build` before others if need be
#        tests/gpu.sh pack [BUILD_FOLDER]          without a GPU: builds for compute capability 9.0 and makes
#                                                  BUILD_FOLDER/dualpath-gpu.tar.gz of the programs and this
#                                                  system's libraries, for BUILD_FOLDER elsewhere
#
# A stage that fails does not keep the others from running. What they print and measure is written as it comes, to
# DUALPATH_GPU_RESULTS or BUILD_FOLDER/gpu; log.txt there is longer than the output. The exit code is 1 if a stage has
# failed, 77 if there is no GPU. A folder that holds programs which were not built in it is used as it is.
set -uo pipefail
cd "$(dirname "$0")/.."

all_stages=(build device test train bench ranks machine eager compiled sanitize report)
other_stages=(first pack)
stages=()
build=build-gpu
for word in "$@"; do
  if [[ " ${all_stages[*]} ${other_stages[*]} " == *" $word "* ]]; then stages+=("$word"); else build=$word; fi
done
[[ ${#stages[@]} -gt 0 ]] || stages=("${all_stages[@]}")
build=$(realpath -m "$build")
archive=$build/dualpath-gpu.tar.gz
results=${DUALPATH_GPU_RESULTS:-$build/gpu}
model=configs/bench_dual_1b.yaml
# The same model for PyTorch: 1,514,907,792 parameters.
torch_model=(--width 2048 --layers 16 --heads 16 --kv-heads 8 --iterations 4 --deep-hidden 1024 --wide-hidden 8192
             --vocabulary 50304 --positions 2048 --batch 8)
export GTEST_COLOR=no  # under mpirun, too
programs=(dualpath tests/cuda_device_test tests/cuda_graph_test tests/gpu_training_test tests/bench_test
          tests/nccl_gpu_test)
end=  # of the time for all programs, in seconds after the script's start; none

# Folders of CUDA's libraries: the linker's, a toolkit's, pip's.
cuda_libraries() {
  local folder
  for folder in /usr/local/cuda/lib64 /usr/local/nvidia/lib64 /usr/lib/x86_64-linux-gnu \
    $(python3 -c 'import glob, site; print(*(f for s in site.getsitepackages() for f in glob.glob(s + "/nvidia/*/lib")))' \
      2>/dev/null); do
    [[ -d $folder ]] && printf ':%s' "$folder"
  done
}

# start: how a program starts: by itself; with the libraries that were packed, if any; where this system's own C
# library is too old for it, with that one too.
choose_start() {
  start=()
  [[ -d $build/lib ]] || return 0
  local libraries
  libraries=$build/lib$(cuda_libraries)
  start=(env "LD_LIBRARY_PATH=$libraries")
  "${start[@]}" "$build/dualpath" --version >/dev/null 2>&1 ||
    start=("$build/lib/c/ld-linux-x86-64.so.2" --library-path "$build/lib/c:$libraries")
}

# mpirun: the command, packed or this system's; empty where there is none.
choose_mpirun() {
  mpirun=()
  if [[ -x $build/mpi/bin/orterun ]]; then
    mpirun=(env "OPAL_PREFIX=$build/mpi" "PMIX_INSTALL_PREFIX=$build/mpi"
            OMPI_MCA_plm=isolated OMPI_MCA_oob_tcp_if_include=lo
            "OMPI_MCA_mca_base_component_path=$build/mpi/lib/openmpi"
            "PMIX_MCA_mca_base_component_path=$build/mpi/lib/pmix" "${start[@]}" "$build/mpi/bin/orterun")
  elif command -v mpirun; then
    mpirun=(mpirun)
  fi
}

limit() {  # SECONDS COMMAND [ARGUMENT...]
  local seconds=$1 code
  if [[ -n $end && $((end - SECONDS)) -lt $seconds ]]; then seconds=$((end - SECONDS)); fi
  if [[ $seconds -le 0 ]]; then
    echo "not started, there is no time left: ${*:2}"
    return 124
  fi
  timeout --kill-after=10 "$seconds" "${@:2}" </dev/null
  code=$?
  [[ $code -ne 124 && $code -ne 137 ]] || echo "killed, with a limit of $seconds s: ${*:2}"
  return $code
}
starter=()  # the command that starts programs, as mpirun
run() { limit "$1" "${starter[@]}" "${start[@]}" "$build/$2" "${@:3}"; }  # SECONDS PROGRAM [ARGUMENT...]

# run_test SECONDS PROGRAM [ARGUMENT...]: what a test skips it does for want of a GPU, which is a failure here.
run_test() {
  local code output=$results/test.txt
  run "$@" 2>&1 | tee "$output"
  code=${PIPESTATUS[0]}
  if ! grep -Eq '^\[  (PASSED|FAILED) ' "$output"; then
    echo "$2 has come to: $(grep '^\[ RUN' "$output" | tail -n 1)"
    code=1
  elif ! grep -Eq '^\[  PASSED  \] [1-9]' "$output" || grep -q '^\[  SKIPPED' "$output"; then
    echo "$2 has not run every test"
    code=1
  fi
  rm "$output"
  return "$code"
}

build_for() {  # COMPUTE_CAPABILITY, as 90 [CMAKE_ARGUMENT...]
  bash launcher/install_packages.sh &&
    cmake -S . -B "$build" -G Ninja -D DUALPATH_CUDA=on -D "CMAKE_CUDA_ARCHITECTURES=$1-real" "${@:2}" &&
    cmake --build "$build" --target "${programs[@]##*/}"
}
is_built_here() { [[ -e $build/build.ninja || ! -x $build/dualpath ]]; }
has_news() { [[ ! -e $build/build.ninja && $archive -nt $build/unpacked ]]; }

# OpenMPI's mpirun and what it loads, into $build/mpi, without what is for networks and batch systems.
pack_mpi() {
  local program plugins pmix
  local networks='[a-z]+_(ucx|ofi|openib|psm2?|slurm|flux|jsm|gridengine|monitoring)'
  local shmem='(spml|scoll|memheap|sshmem|atomic)_[a-z_]+'
  program=$(command -v orterun) && plugins=$(ompi_info --parsable --path pkglibdir | cut -d: -f3) || {
    echo "there is no orterun of OpenMPI 4 here: none is packed"
    return 0
  }
  mkdir -p "$build"/mpi/{bin,lib/openmpi,lib/pmix,share/openmpi}
  cp -L "$program" "$build/mpi/bin/orterun"
  find -L "$plugins" -name 'mca_*.so' -print0 |
    grep -zEv "/mca_($networks|$shmem)\.so$" | xargs -0 cp -L -t "$build/mpi/lib/openmpi"
  pmix=$(dirname "$(ldd "$build/mpi/lib/openmpi/mca_pmix_ext3x.so" | awk '/libpmix/ { print $3 }' | xargs readlink -f)")
  find -L "$pmix/pmix" -name '*mca_*.so' ! -name '*slurm*' -exec cp -L -t "$build/mpi/lib/pmix" {} + 2>/dev/null
  cp "$(ompi_info --parsable --path pkgdatadir | cut -d: -f3)"/help-*.txt "$build/mpi/share/openmpi/"
}

# cuBLASLt, cuDNN and NCCL, hundreds of megabytes, are loaded where they are called: the other machine's.
stage_pack() {
  ! is_built_here || build_for 90 -D DUALPATH_NCCL=on || return 1
  rm -rf "$build"/{lib,mpi}
  mkdir -p "$build/lib/c"
  pack_mpi || return 1
  local library packed=("${programs[@]}" lib)
  [[ ! -d $build/mpi ]] || packed+=(mpi)
  for library in $(cd "$build" && ldd "${programs[@]}" $(find mpi -type f ! -name '*.txt' 2>/dev/null) |
    awk '$3 ~ /^\// { print $3 } $1 ~ /ld-linux/ { print $1 }' | sort -u); do
    case $library in
      */ld-linux* | */libc.so* | */libm.so* | */libmvec.so* | */libdl.so* | */libpthread.so* | */librt.so* | */libresolv.so*)
        cp -L "$library" "$build/lib/c/" ;;
      *) cp -L "$library" "$build/lib/" ;;
    esac
  done
  tar -C "$build" -czhf "$archive" "${packed[@]}" && rm -rf "$build"/{lib,mpi} && ls -l "$archive"
}

stage_build() {
  if [[ -e $archive && ! -e $build/build.ninja ]]; then
    tar -C "$build" -xzf "$archive" && touch "$build/unpacked" || return 1
  elif is_built_here; then
    build_for "$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -1 | tr -d .)" || return 1
  fi
  choose_start
  run 30 dualpath --version
}

stage_device() { run_test 60 tests/cuda_device_test '--gtest_filter=CudaDevice.*'; }

stage_test() {
  local failed=0
  run_test 240 tests/cuda_device_test || failed=1
  run_test 80 tests/cuda_graph_test || failed=1
  run_test 80 tests/gpu_training_test '--gtest_filter=*cuda*' || failed=1
  run_test 80 tests/bench_test '--gtest_filter=BenchCommand.*' || failed=1
  return $failed
}

stage_train() {
  local folder failed=0 last device precision graphs
  folder=$(mktemp -d)
  # From device to device: what one saves the other goes on from.
  while read -r last device; do
    run 50 dualpath train configs/quickstart.yaml data.mock=true model.vocab_size=512 \
      train.validation_every_steps=0 "run.folder=$folder/run" "train.steps=$last" "train.device=$device" || failed=1
  done <<<$'3 cuda\n6 cpu\n9 cuda'
  # Where CUDA refuses graphs, the runs with `on` fail and say what was refused.
  while read -r precision graphs; do
    echo "-- $precision, train.cuda_graphs=$graphs"
    run 70 dualpath train configs/bench_dual_103m.yaml data.mock=true train.steps=20 logging.every_steps=5 \
      train.device=cuda "train.precision=$precision" "train.cuda_graphs=$graphs" \
      "run.folder=$folder/$precision-$graphs" || failed=1
  done <<<$'fp32 on\nbf16 on\nbf16 off'
  cp "$folder/bf16-on/kernels.yaml" "$results/" || failed=1
  rm -rf "$folder"
  return $failed
}

stage_bench() {
  local failed=0
  rm -f "$results"/{bench,no_graphs}.json
  run 240 dualpath bench machine step kernels "$model" train.device=cuda "json=$results/bench.json" || failed=1
  run 120 dualpath bench step "$model" train.device=cuda train.cuda_graphs=off "json=$results/no_graphs.json" || failed=1
  return $failed
}

# Ranks that share a GPU NCCL takes for those of two hosts.
nccl_test() {
  local host=() starter
  if ! "${start[@]}" "$build/dualpath" --version | grep -q ', nccl ('; then
    echo "NCCL is not in this program, or not on this machine: not tried"
    return 0
  fi
  [[ $(nvidia-smi -L | wc -l) -ge 2 ]] ||
    host=(env NCCL_SOCKET_IFNAME=lo NCCL_IB_DISABLE=1 sh -c 'NCCL_HOSTID=$OMPI_COMM_WORLD_RANK exec "$@"' sh)
  starter=("${mpirun[@]}" -n 2 "${host[@]}")
  run_test 100 tests/nccl_gpu_test
}

stage_ranks() {
  choose_mpirun
  if [[ ${#mpirun[@]} -eq 0 ]]; then
    echo "there is no mpirun here"
    return 77
  fi
  local folder axis failed=0
  folder=$(mktemp -d)
  (source launcher/mpi_environment.sh && nccl_test) || failed=1
  for axis in tensor pipeline data; do
    (source launcher/mpi_environment.sh &&
      limit 60 "${mpirun[@]}" -n 2 "${start[@]}" "$build/dualpath" train configs/quickstart.yaml data.mock=true \
        model.vocab_size=512 train.validation_every_steps=0 train.micro_batch_size=1 train.steps=5 train.device=cuda \
        "parallel.$axis=2" "run.folder=$folder/$axis") || failed=1
  done
  rm -rf "$folder"
  return $failed
}

stage_machine() {
  run 330 dualpath bench machine train.device=cuda "bench.machine_file=$results/machine.yaml" &&
    run 20 dualpath plan "$model" "plan.machine=$results/machine.yaml"
}

time_torch() {  # SECONDS NAME [OPTION...]
  rm -f "$results/$2.json"
  if ! python3 -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
    echo "python3 has no PyTorch with CUDA"
    return 77
  fi
  limit "$1" python3 tests/reference/bench_torch.py --device cuda --precision bf16 "${torch_model[@]}" --warmup 3 \
    "--json=$results/$2.json" "${@:3}"
}
stage_eager() { time_torch 170 eager; }
stage_compiled() { time_torch 350 compiled --compile; }

stage_sanitize() {
  if ! command -v compute-sanitizer; then
    echo "there is no compute-sanitizer here"
    return 77
  fi
  local tool failed=0
  for tool in memcheck racecheck; do
    limit 230 compute-sanitizer --tool "$tool" --error-exitcode 1 --print-limit 20 \
      "${start[@]}" "$build/tests/cuda_device_test" '--gtest_filter=*KernelSuite*' || failed=1
  done
  return $failed
}

# What tells most first, within the ten minutes that a call may have.
stage_first() {
  local failed=0 kernels='*KernelSuite.Attention/*:*KernelSuite.Matmul/*:*KernelSuite.RmsNorm/*'
  end=${DUALPATH_GPU_SECONDS:-575}
  rm -f "$results"/{bench,no_graphs}.json
  run 20 dualpath --version || failed=1
  run_test 30 tests/cuda_device_test '--gtest_filter=CudaDevice.*' || failed=1
  GTEST_FILTER=${GTEST_FILTER:-$kernels} run_test 100 tests/cuda_device_test || failed=1
  run_test 70 tests/gpu_training_test '--gtest_filter=*cuda*' || failed=1
  run_test 60 tests/cuda_graph_test || failed=1
  run 250 dualpath bench step kernels "$model" train.device=cuda "json=$results/bench.json" || failed=1
  end=
  stage_report || failed=1
  return $failed
}

stage_report() { python3 tests/gpu_report.py "$results"; }

run_stages() {
  local stage outcome begin summary=() any_failed=0
  nvidia-smi --query-gpu=name,driver_version,compute_cap,memory.total --format=csv
  choose_start
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
    echo "== ${summary[-1]}"
  done
  printf '== summary\n'
  printf '%s\n' "${summary[@]}"
  return $any_failed
}

if [[ ${stages[*]} == pack ]]; then
  stage_pack
  exit
fi
PATH=$PATH:/usr/local/nvidia/bin:/usr/local/cuda/bin
if ! nvidia-smi >/dev/null 2>&1; then
  echo "no GPU here that nvidia-smi finds: skipped"
  exit 77
fi
if [[ ! -x $build/dualpath ]] || has_news; then
  [[ " ${stages[*]} " == *" build "* ]] || stages=(build "${stages[@]}")
fi
mkdir -p "$results"
run_stages 2>&1 | tee -a "$results/log.txt" | grep --line-buffered -Ev '^\[ +(RUN|OK) |│|┤|└'  # no curves
exit "${PIPESTATUS[0]}"
