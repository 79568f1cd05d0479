"""Parameter counts of the PyTorch model against closed formulas and the paper's published counts.

    python3 tests/reference/check_counts.py        exit code 1 if a count differs

Only shapes are computed; nothing is allocated.
"""

import math
import sys

from dual_path import DeepConfig, ModelConfig, WideConfig, parameter_shapes
from make_fixtures import cases


def counted(config):
    return sum(math.prod(shape) for shape in parameter_shapes(config).values())


def formula(config):
    """The same number, layer by layer, in closed form."""
    d, K = config.hidden_size, config.deep.iterations
    head_size = d // config.attention_heads
    attention = 2 * d * d + 2 * d * d * config.kv_heads // config.attention_heads
    qk_norms = 0 if config.qk_norm == "none" else 2 * head_size

    def path(hidden):
        return attention + 3 * d * hidden + 2 * d + qk_norms

    standard = path(config.wide.ffn_hidden_size)
    wide = standard + 1
    router = d + 2 if config.deep.combine == "mixture" else 0
    iteration_norms = (K - 1) * 2 * d if config.deep.iteration_norm else 0
    looped = path(config.deep.ffn_hidden_size) + router + K + iteration_norms
    gates = {"two_sigmoid": 2 * d + 2, "softmax": 2 * d + 2, "convex": d + 1, "fixed": 0}
    shared = attention + d + qk_norms if config.shared_attention else 0
    layer = {"standard": standard, "wide": wide, "looped": looped,
             "dual_path": looped + wide + gates[config.gate.mode] - shared}
    shell = config.vocab_size * d * (1 if config.tied_embeddings else 2) + d
    return shell + sum(layer[config.architecture_of(i)] for i in range(config.layers))


# (architecture, K, nominal d_ffn of the deep path, of the wide path, million parameters).
PUBLISHED = [
    ("wide", 1, 0, 24576, 719),
    ("looped", 2, 11392, 0, 398), ("looped", 3, 7104, 0, 294), ("looped", 4, 4864, 0, 238),
    ("dual_path", 2, 1600, 17920, 644), ("dual_path", 3, 576, 17920, 615),
    ("dual_path", 4, 64, 17920, 606), ("dual_path", 2, 4864, 11392, 559),
    ("dual_path", 3, 2752, 11392, 511), ("dual_path", 4, 1600, 11392, 483),
    ("dual_path", 2, 8128, 4864, 483), ("dual_path", 3, 4864, 4864, 398),
    ("dual_path", 4, 3264, 4864, 360),
    ("wide", 1, 0, 50624, 1361),
    ("looped", 2, 24448, 0, 719), ("looped", 3, 15744, 0, 502), ("looped", 4, 11392, 0, 398),
    ("dual_path", 2, 4864, 37440, 1200), ("dual_path", 3, 2752, 37440, 1153),
    ("dual_path", 4, 1600, 37440, 1125), ("dual_path", 2, 11392, 24448, 1040),
    ("dual_path", 3, 7104, 24448, 936), ("dual_path", 4, 4864, 24448, 880),
    ("dual_path", 2, 17920, 11392, 880), ("dual_path", 3, 11392, 11392, 719),
    ("dual_path", 4, 8128, 11392, 644),
]


def published_config(architecture, iterations, deep_d_ffn, wide_d_ffn):
    def hidden(d_ffn):
        return 256 * -(-(2 * d_ffn // 3) // 256)

    return ModelConfig(architecture=[architecture], layers=16, hidden_size=768, attention_heads=12,
                       kv_heads=12, vocab_size=50304, deep=DeepConfig(iterations, hidden(deep_d_ffn)),
                       wide=WideConfig(hidden(wide_d_ffn)))


def main():
    problems = []
    for name, (config, _) in cases().items():
        if counted(config) != formula(config):
            problems.append(f"{name}: {counted(config)} parameters, formula {formula(config)}")
    for *cell, millions in PUBLISHED:
        config = published_config(*cell)
        if counted(config) != formula(config):
            problems.append(f"{cell}: {counted(config)} parameters, formula {formula(config)}")
        if round(counted(config) / 1e6) != millions:
            problems.append(f"{cell}: {counted(config) / 1e6:.1f}M parameters, published {millions}M")
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{len(cases())} fixtures, {len(PUBLISHED)} published counts, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
