#!/usr/bin/env bash
# On a machine with an NVIDIA GPU and its driver: builds for that GPU (or takes the build in the folder
# given), then runs the kernel suite on it and whole training steps against the CPU's, trains on it,
# saves, and goes on from there on the CPU and back.
# usage: tests/gpu.sh [BUILD_FOLDER]
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build-gpu}

if ! nvidia-smi --query-gpu=name,driver_version,compute_cap,memory.total --format=csv 2>/dev/null; then
  echo "no GPU: skipped"
  exit 0
fi

if [[ ! -x $build/dualpath ]]; then
  bash launcher/install_packages.sh
  capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -1 | tr -d .)
  cmake -S . -B "$build" -G Ninja -D DUALPATH_CUDA=on -D "CMAKE_CUDA_ARCHITECTURES=$capability-real"
  cmake --build "$build" --target dualpath cuda_device_test gpu_training_test
fi
"$build/dualpath" --version

"$build/tests/cuda_device_test" --gtest_brief=1
"$build/tests/gpu_training_test" --gtest_brief=1 --gtest_filter='*cuda*'

# From device to device: what one saves the other goes on from.
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
train() {  # train LAST_STEP DEVICE
  "$build/dualpath" train configs/quickstart.yaml data.mock=true model.vocab_size=512 \
    train.validation_every_steps=0 "run.folder=$folder/run" "train.steps=$1" "train.device=$2"
}
train 3 cuda
train 6 cpu
train 9 cuda
for precision in fp32 bf16; do
  "$build/dualpath" train configs/bench_dual_103m.yaml data.mock=true train.steps=20 logging.every_steps=5 \
    train.device=cuda "train.precision=$precision" "run.folder=$folder/$precision"
done
echo "passed"
