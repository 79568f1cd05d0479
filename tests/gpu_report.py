"""The tables of tests/gpu.sh: a GPU's peaks, the kernels of a training step held against them, and the step
beside PyTorch's.

    python3 tests/gpu_report.py FOLDER    of bench.json (dualpath bench), eager.json and compiled.json
                                          (tests/reference/bench_torch.py), no_graphs.json (dualpath bench
                                          with train.cuda_graphs=off); what is not there, in whole or
                                          in part, is left out
"""

import json
import pathlib
import sys


def read(folder, name):
    file = folder / f"{name}.json"
    return json.loads(file.read_text()) if file.exists() else None


def table(rows, right):
    """Lines of columns; those whose number is in `right` are set to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [cell.rjust(width) if i in right else cell.ljust(width)
                 for i, (cell, width) in enumerate(zip(row, widths))]
        print("  ".join(cells).rstrip())
    print()


def percent(share):
    return f"{100 * share:.1f} %"


def rate(row):
    """GFLOP/s, GB/s of a row, in T from 1000 on."""
    value, unit = row["rate" if "rate" in row else "value"], row["unit"]
    return (f"{value / 1000:.3g}", unit.replace("G", "T", 1)) if value >= 1000 else (f"{value:.3g}", unit)


def print_peaks(bench):
    rows = [("peak", "best", "")]
    rows += [(row["what"], *rate(row)) for row in bench["machine"]]
    table(rows, right={1})


def print_kernels(bench):
    rows = [("kernel", "calls", "ms a step", "of step", "achieved", "", "of peak", "ms alone", "of peak")]
    for row in bench["kernels"]:
        alone_share = row["share_of_peak"] * row["step_over_alone"]
        rows.append((row["kernel"], f"{row['calls']:.0f}", f"{row['step_ms']:.3g}", percent(row["share_of_step"]),
                     *rate(row), percent(row["share_of_peak"]), f"{row['alone_ms']:.3g}", percent(alone_share)))
    table(rows, right={1, 2, 3, 4, 6, 7, 8})


# Of a call on an H200, for configs/bench_dual_1b.yaml, in ms: reckoned from memory traffic and launches
# before anything had run.
EXPECTED = {
    "rms_norm_backward": 0.29,
    "mixture_step_backward": 0.52,
    "gate_backward": 1.0,
    "qk_rope_backward": 0.43,
    "attention_backward": 1.15,
}
EXPECTED_STEP = 725


def print_expected(bench):
    rows = [("expected of an H200", "ms", "measured", "ratio")]

    def add(what, expected, measured):
        rows.append((what, f"{expected:.4g}", f"{measured:.4g}", f"{measured / expected:.2f}"))

    for row in bench.get("kernels", []):
        if row["kernel"] in EXPECTED:
            add(f"{row['kernel']}, a call", EXPECTED[row["kernel"]], row["step_ms"] / row["calls"])
    if "step" in bench:
        add("step", EXPECTED_STEP, figures(bench)["step"]["median_ms"])
    if len(rows) > 1:
        table(rows, right={1, 2, 3})


def figures(bench):
    """By name, the rows of the step."""
    return {row["what"]: row for row in bench["step"]}


def print_steps(bench, no_graphs, torch):
    print(bench["graphs"])
    step = figures(bench)
    flops = next(row for what, row in step.items() if what.startswith("model FLOPs"))
    gigaflops_a_token = flops["value"] / step["step"]["value"]
    product_peak = flops["value"] / flops["share_of_peak"]
    data_sheet = step.get("MFU, of the data sheet's bf16 peak", {}).get("value")

    def line(name, milliseconds, tokens, gigabytes):
        gigaflops = tokens * gigaflops_a_token
        return (name, f"{milliseconds:.1f}", f"{tokens:,.0f}", f"{gigaflops / 1e3:.0f}",
                percent(gigaflops / data_sheet) if data_sheet else "", percent(gigaflops / product_peak),
                f"{gigabytes:.1f}", f"{step['step']['value'] / tokens:.2f}")

    def own_line(name, own):
        memory = own.get("GPU memory, of all its processes", {}).get("value", float("nan"))
        return line(name, own["step"]["median_ms"], own["step"]["value"], memory)

    rows = [("step", "ms", "tokens/s", "TFLOP/s", "MFU", "of product peak", "GB", "ours beside it")]
    rows.append(own_line("dualpath", step))
    if no_graphs:
        rows.append(own_line("dualpath without CUDA graphs", figures(no_graphs)))
    for t in torch:
        name = f"{t['program']}, {t['mode']}, {t['micro_batch']} sequences at once"
        rows.append(line(name, t["median_ms"], t["tokens_per_second"], t["peak_bytes"] / 1e9))
    table(rows, right=set(range(1, 8)))
    kernels, alone = step["its kernels"]["median_ms"], step["its kernels alone"]["median_ms"]
    print(f"kernels of the step {kernels:.1f} ms, alone {alone:.1f} ms; between kernels "
          f"{step['step']['median_ms'] - kernels:.1f} ms")


def main():
    folder = pathlib.Path(sys.argv[1])
    bench = read(folder, "bench")
    if bench is None:
        sys.exit(f"{folder}/bench.json is not there: tests/gpu.sh bench makes it")
    print(f"{bench['device']}, {bench['program'].splitlines()[0]}\n")
    if "machine" in bench:
        print_peaks(bench)
    if "kernels" in bench:
        print_kernels(bench)
    print_expected(bench)
    for line in bench.get("attention", []):
        print(line)
    if "step" in bench:
        no_graphs = read(folder, "no_graphs")
        print_steps(bench, no_graphs if no_graphs and "step" in no_graphs else None,
                    [t for t in (read(folder, "eager"), read(folder, "compiled")) if t])


if __name__ == "__main__":
    main()
