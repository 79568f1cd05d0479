#!/usr/bin/env python3
"""lm-evaluation-harness (pip install lm-eval) on a dualpath model, through `dualpath eval`.

    python3 launcher/evaluate/lm_eval_dualpath.py --model dualpath \
        --model_args run=runs/NAME,program=build/dualpath --tasks arc_easy,piqa

All arguments are lm_eval's own. Model arguments: run (a run folder or a checkpoint), program, and of
`dualpath eval` threads, precision, step and batch_tokens (eval.batch_tokens). PyTorch is not needed.
"""

import json
import subprocess
import threading

from lm_eval.api.model import LM
from lm_eval.api.registry import register_model

OPTIONS = {"threads", "precision", "step", "batch_tokens"}


@register_model("dualpath")
class DualPathLM(LM):
    def __init__(self, run, program="dualpath", batch_size=None, max_batch_size=None, device=None, **options):
        super().__init__()  # lm_eval names a device unasked; the program finds its own
        unknown = set(options) - OPTIONS
        if unknown:
            raise ValueError(f"{', '.join(sorted(unknown))}: the options are {', '.join(sorted(OPTIONS))}")
        if batch_size is not None:
            # lm_eval's --batch_size counts sequences; here `batch_tokens` counts rows.
            print("batch_size is ignored: give batch_tokens among the model arguments")
        if "batch_tokens" in options:
            options["eval.batch_tokens"] = options.pop("batch_tokens")
        words = [f"{key}={value}" for key, value in options.items()]
        self._command = [program, "eval", str(run), "eval.requests=-", *words]

    def _answers(self, requests):
        """Sends all requests and yields the answers in their order."""
        process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8")

        def send():
            try:
                for request in requests:
                    process.stdin.write(json.dumps(request) + "\n")
                process.stdin.close()
            except BrokenPipeError:
                pass  # the program has told what is wrong

        sender = threading.Thread(target=send)
        sender.start()
        count = 0
        for line in process.stdout:
            count += 1
            yield json.loads(line)
        sender.join()
        if process.wait() != 0 or count != len(requests):
            raise RuntimeError(f"{' '.join(self._command)}: exit code {process.returncode}, {count} answers to {len(requests)} requests")

    def loglikelihood(self, requests, disable_tqdm=False):
        lines = [{"type": "loglikelihood", "context": r.args[0], "continuation": r.args[1]} for r in requests]
        return [(a["log_likelihood"], a["is_greedy"]) for a in self._answers(lines)]

    def loglikelihood_rolling(self, requests, disable_tqdm=False):
        lines = [{"type": "rolling", "text": r.args[0]} for r in requests]
        return [a["log_likelihood"] for a in self._answers(lines)]

    def generate_until(self, requests, disable_tqdm=False):
        lines = []
        for r in requests:
            context, settings = r.args
            if settings.get("do_sample") and settings.get("temperature", 1.0) > 0:
                raise ValueError("dualpath eval generates greedily: do_sample is not supported")
            until = settings.get("until") or []
            lines.append({"type": "generate", "context": context, "until": [until] if isinstance(until, str) else until,
                          "max_tokens": settings.get("max_gen_toks", 256)})
        return [a["text"] for a in self._answers(lines)]


if __name__ == "__main__":
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()
