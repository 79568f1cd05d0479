#!/usr/bin/env python3
"""plan_accuracy.py DUALPATH [STEPS]: what `dualpath plan` predicts beside what `dualpath train` takes.

Measures this machine twice (one rank of two threads, two ranks of one thread), then for ten
configurations and layouts prints the time of a step, a process's largest memory and the bytes sent,
planned and measured. To be run on a quiet machine of two cores, from any folder; not a test, for
times are no matter of passing.
"""
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile

CASES = [  # name, ranks, fields
    ("dual_path, fp32", 1, "model.layers=4 model.hidden_size=256 model.attention_heads=4 "
     "model.sequence_length=256 model.vocab_size=8192 model.deep.iterations=4 "
     "model.deep.ffn_hidden_size=512 model.wide.ffn_hidden_size=1024 train.micro_batch_size=4 "
     "train.global_batch_size=8"),
    ("the same, bf16", 1, "model.layers=4 model.hidden_size=256 model.attention_heads=4 "
     "model.sequence_length=256 model.vocab_size=8192 model.deep.iterations=4 "
     "model.deep.ffn_hidden_size=512 model.wide.ffn_hidden_size=1024 train.micro_batch_size=4 "
     "train.global_batch_size=8 train.precision=bf16"),
    ("standard, T 512, V 32000", 1, "model.architecture=standard model.layers=3 "
     "model.hidden_size=512 model.attention_heads=8 model.sequence_length=512 "
     "model.vocab_size=32000 model.wide.ffn_hidden_size=1408 train.global_batch_size=2"),
    ("looped, K 6, recompute layer", 1, "model.architecture=looped model.layers=2 "
     "model.hidden_size=384 model.attention_heads=6 model.sequence_length=256 "
     "model.vocab_size=16000 model.deep.iterations=6 model.deep.ffn_hidden_size=1024 "
     "train.micro_batch_size=2 train.global_batch_size=4 parallel.recompute=layer"),
    ("wide, bf16, T 128", 1, "model.architecture=wide model.layers=3 model.hidden_size=320 "
     "model.attention_heads=5 model.sequence_length=128 model.vocab_size=12000 "
     "model.wide.ffn_hidden_size=3072 train.micro_batch_size=8 train.global_batch_size=16 "
     "train.precision=bf16"),
    ("dual_path, data 2", 2, "model.layers=3 model.hidden_size=256 model.attention_heads=4 "
     "model.sequence_length=128 model.vocab_size=8192 model.deep.iterations=3 "
     "model.deep.ffn_hidden_size=512 model.wide.ffn_hidden_size=2048 train.micro_batch_size=4 "
     "train.global_batch_size=8"),
    ("dual_path, tensor 2, vocab sharded", 2, "model.layers=3 model.hidden_size=320 "
     "model.attention_heads=5 model.sequence_length=256 model.vocab_size=16000 "
     "model.deep.iterations=2 model.deep.ffn_hidden_size=640 model.wide.ffn_hidden_size=2560 "
     "train.micro_batch_size=2 train.global_batch_size=4 parallel.tensor=2 parallel.vocab=sharded"),
    ("dual_path, tensor 2, bf16, recompute iteration", 2, "model.layers=2 model.hidden_size=512 "
     "model.attention_heads=8 model.sequence_length=256 model.vocab_size=8192 "
     "model.deep.iterations=3 model.deep.ffn_hidden_size=1024 model.wide.ffn_hidden_size=4096 "
     "train.micro_batch_size=2 train.global_batch_size=4 parallel.tensor=2 train.precision=bf16 "
     "parallel.recompute=iteration"),
    ("standard, pipeline 2 1f1b", 2, "model.architecture=standard model.layers=4 "
     "model.hidden_size=384 model.attention_heads=6 model.sequence_length=256 "
     "model.vocab_size=4096 model.wide.ffn_hidden_size=1024 train.micro_batch_size=1 "
     "train.global_batch_size=8 parallel.pipeline=2"),
    ("dual_path, pipeline 2 interleaved, bf16", 2, "model.layers=4 model.hidden_size=256 "
     "model.attention_heads=4 model.sequence_length=256 model.vocab_size=8192 "
     "model.deep.iterations=3 model.deep.ffn_hidden_size=768 model.wide.ffn_hidden_size=1536 "
     "train.micro_batch_size=2 train.global_batch_size=16 parallel.pipeline=2 "
     "parallel.virtual_pipeline=2 train.precision=bf16"),
]


class Machine:
    def __init__(self, dualpath):
        self.dualpath = dualpath
        here = pathlib.Path(__file__).resolve().parent
        lines = subprocess.run(
            ["bash", "-c", f". {here}/../launcher/mpi_environment.sh && env -0"],
            check=True, capture_output=True).stdout.decode().split("\0")
        self.environment = dict(line.split("=", 1) for line in lines if "=" in line)

    # Returns the largest memory of a process, in MB.
    def run(self, ranks, words):
        environment = dict(self.environment, OMP_NUM_THREADS=str(2 // ranks),
                           OMP_WAIT_POLICY="active" if ranks == 1 else "passive")
        command = [self.dualpath, *words]
        if ranks > 1:
            command = ["mpirun", "-n", str(ranks), *command]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT)
        output = process.stdout.read().decode()
        _, status, usage = os.wait4(process.pid, 0)
        if status != 0:
            sys.exit(f"{' '.join(command)}\n{output}")
        return usage.ru_maxrss * 1024 / 1e6


def traffic_bytes(traffic):
    return sum(kind["bytes"] for group in traffic.values() for kind in group.values())


def planned(dualpath, machine_file, ranks, fields, folder):
    result = f"{folder}/plan.json"
    subprocess.run([dualpath, "plan", f"plan.machine={machine_file}", f"plan.ranks={ranks}",
                    f"json={result}", "data.mock=true", *fields], check=True, capture_output=True)
    plan = json.load(open(result))
    process = next(row for row in plan["memory of a rank, MB"] if row["what"] == "with the process")
    memory = max(value for key, value in process.items() if key.startswith("stage_"))
    sent = round(sum(row["mb"] * 1e6 for row in plan.get("sent by a rank in a step", [])
                     if row["stage"] == 0))
    return plan["predicted"]["step_ms"], memory, sent


def trained(machine, ranks, fields, steps, folder):
    run = f"{folder}/run"
    peak = machine.run(ranks, ["train", "data.mock=true", f"run.folder={run}",
                               f"train.steps={steps + 3}", "logging.tensorboard=false", *fields])
    rows = [json.loads(line) for line in open(f"{run}/metrics.jsonl")]
    steps_ms = [row["step_ms"] for row in rows if "step_ms" in row][3:]
    return statistics.median(steps_ms), peak, traffic_bytes(rows[0].get("traffic", {}))


def main():
    dualpath = os.path.abspath(sys.argv[1])
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else 15
    machine = Machine(dualpath)
    with tempfile.TemporaryDirectory() as folder:
        files = {ranks: f"{folder}/machine{ranks}.yaml" for ranks in (1, 2)}
        for ranks, file in files.items():
            machine.run(ranks, ["bench", "machine", f"bench.machine_file={file}", "bench.seconds=1"])
        print("| | ranks | step ms planned, measured | | memory MB planned, measured | "
              "bytes sent planned, measured |\n|---|---|---|---|---|---|", flush=True)
        for i, (name, ranks, text) in enumerate(CASES):
            work = f"{folder}/{i}"
            os.mkdir(work)
            fields = re.split(r"\s+", text.strip())
            plan_ms, plan_mb, plan_bytes = planned(dualpath, files[ranks], ranks, fields, work)
            ms, mb, sent = trained(machine, ranks, fields, steps, work)
            print(f"| {name} | {ranks} | {plan_ms:.1f}, {ms:.1f} | {100 * (plan_ms / ms - 1):+.1f} % "
                  f"| {plan_mb:.0f}, {mb:.0f} | {plan_bytes:,}, {sent:,} |", flush=True)


main()
