#!/usr/bin/env python3
"""The same tasks under lm-evaluation-harness by this program and by an exported model in PyTorch.

    dualpath checkpoint export RUN FOLDER
    python3 tests/reference/check_eval.py --program build/dualpath --run RUN --exported FOLDER \
        --tasks arc_easy,piqa [--include_path FOLDER_OF_TASKS] [--limit 500] [--threads 2] [--batch_sizes 1,8,32]

Prints, by task, the largest relative difference of a log-likelihood, choices that differ where the margin is
larger than that, both accuracies, and both times (PyTorch: the best of the batch sizes). Exit code 1 where a
log-likelihood differs by more than 1e-4 or an accuracy at all. Needs PyTorch, transformers, lm-eval.
"""

import argparse
import sys
import time
from pathlib import Path

import torch
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "launcher/evaluate"))
from lm_eval_dualpath import DualPathLM  # noqa: E402


def evaluate(model, task, manager, limit):
    start = time.perf_counter()
    results = simple_evaluate(model=model, tasks=[task], task_manager=manager, limit=limit, log_samples=True,
                              bootstrap_iters=0, verbosity="ERROR")
    seconds = time.perf_counter() - start
    samples = {s["doc_id"]: [r[0] if isinstance(r, (list, tuple)) else r for r in s["filtered_resps"]]
               for s in results["samples"][task]}
    scores = {k: v for k, v in results["results"][task].items() if k.startswith(("acc", "perplexity", "word_", "byte_", "bits_"))
              and "stderr" not in k}
    return samples, scores, seconds


def compare(ours, theirs):
    largest, flipped = 0.0, 0
    for doc, expected in theirs.items():
        found = [float(x) for x in ours[doc]]
        expected = [float(x) for x in expected]
        difference = max(abs(a - b) for a, b in zip(found, expected))
        largest = max(largest, max(abs(a - b) / max(1e-9, abs(b)) for a, b in zip(found, expected)))
        best = sorted(expected, reverse=True)
        margin = best[0] - best[1] if len(best) > 1 else 0
        flipped += margin > 2 * difference and found.index(max(found)) != expected.index(max(expected))
    return largest, flipped


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--run", required=True)
    parser.add_argument("--exported", required=True)
    parser.add_argument("--tasks", required=True)
    parser.add_argument("--include_path")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch_sizes", default="8")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    manager = TaskManager(include_path=arguments.include_path)
    failed, total_ours, total_theirs = False, 0.0, 0.0
    for task in arguments.tasks.split(","):
        ours = evaluate(DualPathLM(arguments.run, arguments.program, threads=arguments.threads), task, manager,
                        arguments.limit)
        theirs = None
        for size in arguments.batch_sizes.split(","):
            model = HFLM(pretrained=arguments.exported, trust_remote_code=True, dtype="float32", device="cpu",
                         batch_size=int(size))
            found = evaluate(model, task, manager, arguments.limit)
            if theirs is None or found[2] < theirs[2]:
                theirs = found
        largest, flipped = compare(ours[0], theirs[0])
        total_ours += ours[2]
        total_theirs += theirs[2]
        equal = ours[1] == theirs[1]
        print(f"{task}: {len(theirs[0])} items, largest relative difference {largest:.1e}, {flipped} choices differ beyond "
              f"it, {ours[1]} {'=' if equal else '!='} {theirs[1]}, {ours[2]:.1f} s and {theirs[2]:.1f} s: "
              f"{theirs[2] / ours[2]:.2f} x", flush=True)
        failed |= largest > 1e-4 or flipped > 0 or not equal
    print(f"all: {total_ours:.1f} s and {total_theirs:.1f} s: {total_theirs / total_ours:.2f} x")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
