#!/usr/bin/env bash
# nccl_test.sh DUALPATH DUALPATH_ON_FAKE_GPUS MPIEXEC: which backend ranks with GPUs take and when it is
# refused; a run with each; how a job ends whose NCCL hangs or has lost a rank; CUDA graphs, on or off.
set -u
here=$(dirname "$(realpath "$0")")
. "$here/program.sh"
. "$here/../launcher/mpi_environment.sh"
plain=$(realpath "$1")
program_test "$2"
mpiexec=$3

cat >config.yaml <<'YAML'
model: {layers: 2, hidden_size: 16, attention_heads: 2, sequence_length: 8, vocab_size: 32,
        deep: {iterations: 1, ffn_hidden_size: 16}, wide: {ffn_hidden_size: 16}}
train: {steps: 3, global_batch_size: 4, micro_batch_size: 1, device: cuda}
data: {mock: true}
logging: {every_steps: 1}
YAML
train2() { "$mpiexec" --timeout 120 -n 2 "$dualpath" train config.yaml "$@"; }
hanging() { FAKE_NCCL_HANGS_AFTER=$1 train2 "${@:2}"; }
losing() { FAKE_NCCL_LOSES_A_RANK_AFTER=$1 train2 "${@:2}"; }
on_one_gpu() { FAKE_GPUS=1 train2 "$@"; }
on_cpu() { "$plain" train config.yaml "$@"; }

expect "version" 0 '^backends: cpu, mpi, cuda \(.*\), nccl \([0-9.]+\)$' "$dualpath" --version

expect "NCCL" 0 'the GPUs talk through NCCL [0-9.]+$' train2 run.name=nccl parallel.tensor=2
expect "MPI" 0 'the GPUs talk through the host and MPI$' \
  train2 run.name=mpi parallel.tensor=2 parallel.backend=mpi
same_history "NCCL and MPI" runs/nccl runs/mpi
grep -q 'backend: nccl' runs/nccl/config.yaml || fail "backend in the run folder" runs/nccl/config.yaml
grep -q 'overlap: on' runs/nccl/config.yaml || fail "overlap with NCCL" runs/nccl/config.yaml
grep -rq 'NCCL_NVLS_ENABLE=0' runs/nccl/checkpoints || fail "settings of NCCL in the checkpoint"
# Operations are phases of the host while it issues them.
expect "a profiled run" 0 'the GPUs talk through NCCL' \
  train2 run.name=profiled parallel.tensor=2 profile.start_step=2 profile.end_step=2
grep -q '"name":"all_reduce world"' runs/profiled/profile/rank-0.json || fail "NCCL in the profile"

expect "going on with another backend" 0 'changed since the last start: parallel.backend: nccl -> mpi' \
  train2 run.name=nccl parallel.tensor=2 parallel.backend=mpi train.steps=4

expect "shared GPU" 0 'the GPUs talk through the host and MPI: ranks 0 and 1 share GPU' \
  on_one_gpu run.name=shared
expect "NCCL on a shared GPU" 2 \
  'dualpath: parallel.backend = nccl, but ranks 0 and 1 share GPU .*; mpi and auto need no NCCL' \
  on_one_gpu run.name=refused parallel.backend=nccl
expect "NCCL on the CPU" 2 'parallel.backend.*: nccl moves tensors of GPUs, and train.device is cpu' \
  on_cpu run.name=refused train.device=cpu parallel.backend=nccl
[ ! -e runs/refused ] || fail "a refused run has made a folder"

expect "CUDA graphs" 0 'CUDA graphs: 2, for the passes of micro-batches 1 to 4 of a step$' \
  "$dualpath" train config.yaml run.name=graphs
expect "no CUDA graphs" 0 'no CUDA graphs: train.cuda_graphs = off$' \
  "$dualpath" train config.yaml run.name=kernels train.cuda_graphs=off
same_history "with CUDA graphs and without" runs/graphs runs/kernels
refusing() { FAKE_CUDA_REFUSES_CAPTURE=$1 "$dualpath" "${@:2}"; }
no_graphs='no CUDA graphs, from here on every kernel is issued by itself: forward could not be recorded: '
expect "a refused capture" 0 "$no_graphs" refusing 30 train config.yaml run.name=refused_capture
[ "$(grep -Ec "step 2|$no_graphs" runs/refused_capture/log.txt)" = 2 ] ||
  fail "the warning in log.txt, once, beside its step" runs/refused_capture/log.txt
same_history "with a refused capture and without graphs" runs/refused_capture runs/kernels
expect "a refused capture where graphs are wanted" 2 \
  'dualpath: train.cuda_graphs = on, but no pass can be a graph: forward could not be recorded: ' \
  refusing 30 train config.yaml run.name=wanted_graphs train.cuda_graphs=on
bench() { FAKE_GPU_MB=160 "$@" bench step config.yaml bench.repeats=1 bench.seconds=0 bench.kernel_seconds=0; }
expect "bench by graphs" 0 '^CUDA graphs: 2, for the passes of micro-batches 1 to 4 of a step$' bench "$dualpath"
# bench takes what training would choose, and says what attention is left to.
in_bf16() { "$dualpath" "$@" train.precision=bf16 json=bench.json; }
expect "bench by chosen algorithms" 0 ' algorithms of [1-9][0-9]* calls, [1-9][0-9]* measured in [0-9.]+ s$' \
  bench "$dualpath"
expect "bench without cuDNN" 0 \
  'attention bf16, .*: own kernel: libcudnn_graph.so.9 is needed for .* cannot be loaded: .*; this is slow$' bench in_bf16
grep -q '"attention bf16, .*: own kernel: libcudnn' bench.json || fail "attention in bench.json" bench.json
FAKE_CUDNN=1 expect "bench with cuDNN" 0 'attention bf16, 1 x 8 positions, 2/2 heads of 8: cuDNN$' bench in_bf16
expect "bench of a refused capture" 0 '^no CUDA graphs: forward could not be recorded: ' bench refusing 30

expect "graphs of passes that talk" 0 'no CUDA graphs: ranks of a tensor group talk within the passes$' \
  train2 run.name=tensor parallel.tensor=2 train.steps=1
expect "graphs where every micro-batch talks" 2 \
  'dualpath: train.cuda_graphs = on, but .*: the first and the last of a rank.s 2 micro-batches gather' \
  train2 run.name=data train.cuda_graphs=on
expect "graphs on the CPU" 2 'train.cuda_graphs.*: on needs a GPU, and train.device is cpu' \
  on_cpu run.name=refused train.device=cpu train.cuda_graphs=on

expect "hanging NCCL" 6 \
  '^\[rank [01][^]]*\] dualpath: step [1-9]: [a-z_]+ [a-z_]+ of [0-9]+ bytes has not ended after 1 s' \
  hanging 30 run.name=hangs fault.timeout_seconds=1
expect "lost rank" 6 \
  '^\[rank [01][^]]*\] dualpath: step [1-9]: [a-z]+: NCCL has failed: remote process exited' \
  losing 30 run.name=loses fault.timeout_seconds=0

finish
