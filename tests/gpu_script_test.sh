#!/usr/bin/env bash
# gpu_script_test.sh DUALPATH CUDA_DEVICE_TEST CUDA_GRAPH_TEST GPU_TRAINING_TEST BENCH_TEST NCCL_GPU_TEST:
# tests/gpu.sh, every stage of it, with these programs, which have fake GPUs, and models of a small size: packed,
# unpacked elsewhere and run; what happens where a program fails, finds no GPU or hangs, and where the script itself is killed.
set -u
here=$(dirname "$(realpath "$0")")
. "$here/program.sh"
program_files=$(realpath "$@")
program_test "$1"
# shellcheck disable=SC2206
program_files=($program_files)

mkdir -p tree/tests tree/configs bin
ln -s "$here"/{gpu.sh,gpu_report.py,reference} tree/tests
ln -s "$here/../launcher" tree
config() {  # NAME LAYERS SEQUENCES PRECISION
  cat >"tree/configs/$1.yaml" <<YAML
model: {layers: $2, hidden_size: 16, attention_heads: 2, sequence_length: 8, vocab_size: 32,
        deep: {iterations: 1, ffn_hidden_size: 16}, wide: {ffn_hidden_size: 16}}
train: {steps: 3, global_batch_size: $3, micro_batch_size: 1, precision: $4}
data: {mock: true}
YAML
}
config quickstart 2 2 fp32
config bench_dual_103m 1 1 fp32
config bench_dual_1b 1 2 bf16
echo 'bench: {repeats: 1, seconds: 0, kernel_seconds: 0}' >>tree/configs/bench_dual_1b.yaml

# Of this machine's own only what the stages cannot do without.
stand_in() { cat >"bin/$1" && chmod +x "bin/$1"; }
stand_in nvidia-smi <<<$'#!/bin/sh\necho fake GPU'
stand_in python3 <<SH
#!/bin/sh
case "\$*" in *torch*) exit 1 ;; esac
exec $(command -v python3 || echo false) "\$@"
SH
export PATH=$scratch/bin:$PATH FAKE_GPUS=1 FAKE_GPU_MB=160
export GTEST_FILTER='CudaDevice.*:CudaGraphTest.*:Nccl.*:Nccl/CommunicatorTest.AllReduce/*'
unset DUALPATH_GPU_RESULTS
gpu_sh() { bash tree/tests/gpu.sh "$@"; }

# has FILE PATTERN...: a line for each.
has() {
  local file=$1 pattern
  shift
  for pattern in "$@"; do grep -Eq -- "$pattern" "$file" || fail "no line matches '$pattern' in $file" "$file"; done
}

programs() {  # FOLDER
  mkdir -p "$1/tests"
  local i names=(dualpath tests/cuda_device_test tests/cuda_graph_test tests/gpu_training_test tests/bench_test
    tests/nccl_gpu_test)
  for i in "${!names[@]}"; do ln -sf "${program_files[i]}" "$1/${names[i]}"; done
}

# The description of a GPU wants larger models than such a GPU has memory for: that stage fails.
programs "$scratch/here"
expect "packing" 0 'dualpath-gpu.tar.gz$' gpu_sh pack "$scratch/here"
mkdir there
mv here/dualpath-gpu.tar.gz there
expect "all stages" 1 '^== summary$' gpu_sh "$scratch/there"
cp output all_stages
has all_stages '^build +passed' '^device +passed' '^test +passed' '^train +passed' '^bench +passed' '^ranks +passed' \
  '^machine +FAILED' '^eager +skipped' '^compiled +skipped' '^sanitize +(skipped|FAILED|passed)' \
  'PASSED  . 2 tests' 'out of memory on cuda 0' '^python3 has no PyTorch with CUDA$' \
  'the GPUs talk through the host and MPI' \
  '^CUDA graphs: 2, for' '^no CUDA graphs: train.cuda_graphs = off' 'cuda 0 .* -> cpu|finished 9 steps'
if grep -Eq '^\[ RUN|└' all_stages; then fail "tests that pass and curves are no output"; fi
has there/gpu/log.txt '^\[ RUN .*CudaDevice.IsThere' '^\[ +OK .*GpuTraining' '^machine +FAILED'
for file in bench.json no_graphs.json kernels.yaml; do
  [ -s there/gpu/$file ] || fail "no $file"
done

if [ -n "$(command -v python3)" ] && python3 -c ''; then
  has all_stages '^report +passed' '^products of f32' '^matmul nt ' '^dualpath without CUDA graphs ' '^kernels of the step'
  # As bench_torch.py writes it.
  cat >there/gpu/eager.json <<'JSON'
{"program": "PyTorch 2.11.0", "device": "NVIDIA H200", "mode": "eager", "precision": "bf16", "micro_batch": 4,
 "tokens_per_second": 5429.1, "median_ms": 47.2, "best_ms": 43.9, "peak_bytes": 779485184}
JSON
  expect "a report with PyTorch's step" 0 '^PyTorch 2.11.0, eager, 4 sequences at once +47.2 +5,429 ' \
    gpu_sh report "$scratch/there"
  rm -r there/gpu
  expect "a report of nothing" 1 'bench.json is not there' gpu_sh report "$scratch/there"
fi

# The first ten minutes: all that has run is told, whatever fails, and nothing is begun after the end.
programs quick
quick_program() { rm "quick/$1" && cat >"quick/$1" && chmod +x "quick/$1"; }
for program in cuda_graph_test gpu_training_test; do
  quick_program tests/$program <<<$'#!/bin/sh\necho "[  PASSED  ] 1 test."'
done
expect "the first ten minutes" 0 '^first +passed' gpu_sh first "$scratch/quick"
has output '^dualpath ' 'PASSED  . [1-9]' ' algorithms of [1-9][0-9]* calls' ' step: [0-9.]+ ms, '
if [ -n "$(command -v python3)" ] && python3 -c ''; then
  has output '^expected of an H200 ' '^rms_norm_backward, a call +0.29 ' '^mixture_step_backward, a call ' \
    '^gate_backward, a call ' '^qk_rope_backward, a call ' '^attention_backward, a call +1.15 ' '^step +725 ' \
    '^attention bf16, .*: own kernel: '
fi
DUALPATH_GPU_SECONDS=0 expect "no time left" 1 '^not started, there is no time left: .*/dualpath bench ' \
  gpu_sh first "$scratch/quick"

# A stage's other programs run, and so do other stages.
programs faulty
program() { rm -f "faulty/$1" && cat >"faulty/$1" && chmod +x "faulty/$1"; }
program tests/cuda_device_test <<<$'#!/bin/sh\necho "[ RUN      ] Suite.Hangs"\nexec sleep 1000'
program tests/cuda_graph_test <<<$'#!/bin/sh\necho "[ RUN      ] Suite.Dies"\nexit 139'
program tests/gpu_training_test <<<$'#!/bin/sh\necho "[  PASSED  ] 0 tests."'
program tests/bench_test <<<$'#!/bin/sh\necho "[  PASSED  ] 3 tests."; echo "[  SKIPPED ] 1 test, listed below:"'
stand_in timeout <<<$'#!/bin/sh\nshift 2\nexec '"$(command -v timeout) 1 \"\$@\""
export DUALPATH_GPU_RESULTS=$scratch/results
expect "programs that fail" 1 '^ranks ' gpu_sh test ranks "$scratch/faulty"
has output '^killed, with a limit of 240 s: .*/cuda_device_test' '/cuda_device_test has come to: .* Suite.Hangs$' \
  '/cuda_graph_test has come to: .* Suite.Dies$' '/gpu_training_test has not run every test$' \
  '/bench_test has not run every test$' '^test +FAILED'
rm bin/timeout

# Killed from outside, with all that it has started.
rm -r results
ln -sf "${program_files[1]}" faulty/tests/cuda_device_test
program tests/cuda_graph_test <<<$'#!/bin/sh\necho "[ RUN      ] Suite.Hangs"\necho $$ >hanging\nexec sleep 1000'
setsid bash tree/tests/gpu.sh device test "$scratch/faulty" >killed_output 2>&1 &
for ((i = 0; i < 600; ++i)); do
  [ -s tree/hanging ] && break
  sleep 0.1
done
kill -KILL -- -$! "$(cat tree/hanging)"
wait $! 2>/dev/null
has results/log.txt '^== device +passed' '^\[ RUN .*Suite.Hangs'

stand_in nvidia-smi <<<$'#!/bin/sh\nexit 9'
expect "no GPU" 77 '^no GPU here' gpu_sh "$scratch/there"

finish
