"""Writes tests/reference/fixtures/*.safetensors, what the PyTorch model computes in float64.

    python3 tests/reference/make_fixtures.py            writes them
    python3 tests/reference/make_fixtures.py --check    computes them again and compares; 1 if they differ

The README beside this file lists what a fixture holds.
"""

import argparse
import math
import pathlib
import sys

import numpy
import torch

import safetensors_file
from dual_path import (DeepConfig, DualPath, GateConfig, ModelConfig, RegularizerConfig, WideConfig,
                       clip_gradients, make_optimizer, parameter_shapes, read_out, regularizers,
                       to_yaml)

FOLDER = pathlib.Path(__file__).parent / "fixtures"
STEPS, BATCH = 10, 2
BETAS, EPSILON, WEIGHT_DECAY, CLIP = (0.9, 0.95), 1e-8, 0.3, 1.0
OPTIMIZER_YAML = (f"betas: [{BETAS[0]}, {BETAS[1]}]\neps: {EPSILON}\n"
                  f"weight_decay: {WEIGHT_DECAY}\nclip_grad: {CLIP}\n")

# Between machines float64 results differ by rounding: eps times the length of sums (up to 32 terms
# in each of about 100 operations in a row) times ten steps is a few 1e-12 of an array's largest value.
CHECK_TOLERANCE = 1e-10


def standard(**fields):
    return ModelConfig(architecture=["standard"], wide=WideConfig(20), **fields)


def wide(**fields):
    return ModelConfig(architecture=["wide"], wide=WideConfig(28), **fields)


def looped(iterations, combine="mixture", iteration_norm=False, input_injection=False, **fields):
    deep = DeepConfig(iterations, 20, combine, iteration_norm, input_injection)
    return ModelConfig(architecture=["looped"], deep=deep, **fields)


def dual(iterations, combine="mixture", iteration_norm=False, input_injection=False,
         mode="two_sigmoid", target="states", **fields):
    deep = DeepConfig(iterations, 12, combine, iteration_norm, input_injection)
    return ModelConfig(**{"architecture": ["dual_path"], **fields}, deep=deep, wide=WideConfig(24),
                       gate=GateConfig(mode, target))


def cases():
    """Name -> (model, regularizers)."""
    none = RegularizerConfig()
    grouped = {"hidden_size": 24, "attention_heads": 4, "kv_heads": 2}
    one_kv = {"hidden_size": 16, "attention_heads": 4, "kv_heads": 1}
    mixed = ["looped", "dual_path", "standard"]
    return {
        "standard": (standard(layers=2), none),
        "standard_before_rope_tied": (
            standard(qk_norm="before_rope", tied_embeddings=True, sequence_length=7, **grouped), none),
        "wide": (wide(layers=2, sequence_length=13), none),
        "wide_no_qk_norm": (wide(qk_norm="none", rope_theta=100.0, **one_kv), none),
        "looped_k1": (looped(1), RegularizerConfig(ponder=0.1)),
        "looped_k2_mean": (looped(2, "mean"), RegularizerConfig(ponder=0.1)),
        "looped_k3": (looped(3, layers=2, norm_epsilon=1e-2, sequence_length=11), none),
        "looped_k3_iteration_norm": (looped(3, iteration_norm=True), none),
        "looped_k3_input_injection": (looped(3, input_injection=True), none),
        "looped_k4_final": (looped(4, "final", tied_embeddings=True), none),
        "looped_k4_ponder": (looped(4, layers=2), RegularizerConfig(ponder=0.7)),
        "dual_k4": (dual(4, layers=2), none),
        "dual_k1": (dual(1, sequence_length=3), none),
        "dual_k2_wider": (dual(2, hidden_size=20, sequence_length=10), none),
        "dual_k2_convex": (dual(2, mode="convex"), none),
        "dual_k3_softmax": (dual(3, mode="softmax"), none),
        "dual_k2_fixed": (dual(2, mode="fixed"), none),
        "dual_k2_updates": (dual(2, target="updates"), none),
        "dual_k2_convex_updates": (dual(2, mode="convex", target="updates"), none),
        "dual_k2_final": (dual(2, "final"), none),
        "dual_k3_mean": (dual(3, "mean"), none),
        "dual_k3_grouped_tied": (
            dual(3, qk_norm="before_rope", tied_embeddings=True, **grouped), none),
        "dual_k2_no_qk_norm": (dual(2, qk_norm="none", rope_theta=100.0), none),
        "dual_k3_iteration_norm_injection": (
            dual(3, iteration_norm=True, input_injection=True), none),
        "dual_k3_shared": (dual(3, shared_attention=True, layers=2), none),
        "dual_k3_shared_all": (
            dual(3, iteration_norm=True, input_injection=True, shared_attention=True,
                 target="updates", qk_norm="before_rope", **one_kv), none),
        "dual_k3_regularized": (
            dual(3, layers=2, sequence_length=9), RegularizerConfig(0.5, 0.3, 2.0)),
        "dual_k2_softmax_regularized": (
            dual(2, mode="softmax"), RegularizerConfig(0.0, 0.4, 3.0)),
        "dual_k1_convex_regularized": (
            dual(1, mode="convex", shared_attention=True), RegularizerConfig(0.6, 0.4, 3.0)),
        "mixed_k2": (dual(2, layers=3, architecture=mixed), none),
        "mixed_k3_shared_regularized": (
            dual(3, layers=3, architecture=["dual_path", "wide", "looped"], shared_attention=True),
            RegularizerConfig(0.5, 0.3, 2.0)),
    }


def initial_value(name, shape, random):
    """Far from the symmetric start, and exact in float32. numpy's RandomState stream is frozen."""
    value = random.standard_normal(shape)
    if name.endswith("norm"):
        value = 1 + 0.3 * value
    elif name.endswith("gain"):
        value = -0.5 + 0.5 * value  # softplus: about 0.5
    elif name.endswith("bias"):
        value = 0.5 * value
    elif name != "embedding":
        fan_in = shape[-2] if name.endswith(("output", "down")) else shape[-1]
        value = value / math.sqrt(fan_in)
    return value.astype(numpy.float32)


def random_batches(config, random):
    """ids and targets [steps, batch, T]; about one target in eight is -1."""
    shape = (STEPS, BATCH, config.sequence_length)
    ids = random.randint(0, config.vocab_size, shape).astype(numpy.int32)
    targets = random.randint(0, config.vocab_size, shape).astype(numpy.int32)
    targets[random.random_sample(shape) < 0.125] = -1
    targets[:, 0, 0] = 3  # never all of them
    return ids, targets


def fingerprint(value):
    """[Σ w_i cos(i+1), Σ w_i sin(i+1), ‖w‖] over the flat index i: no element can hide."""
    flat = value.flatten()
    index = torch.arange(1, flat.numel() + 1, dtype=flat.dtype)
    return torch.stack([(flat * index.cos()).sum(), (flat * index.sin()).sum(), flat.norm()])


def compute(name, config, weights):
    """All arrays of one fixture."""
    seed = sum((i + 1) * byte for i, byte in enumerate(name.encode()))
    random = numpy.random.RandomState(seed)
    initial = {n: initial_value(n, s, random) for n, s in parameter_shapes(config).items()}
    ids, targets = random_batches(config, random)
    learning_rates = [1e-2 * (1 - step / (2 * STEPS)) for step in range(STEPS)]
    arrays = {f"parameters.{n}": value for n, value in initial.items()}
    arrays.update(ids=ids, targets=targets, learning_rates=learning_rates)

    parameters = {n: torch.tensor(v, dtype=torch.float64, requires_grad=True)
                  for n, v in initial.items()}
    model = DualPath(config, parameters)
    optimizer = make_optimizer(parameters, lr=0.0, betas=BETAS, eps=EPSILON, weight_decay=WEIGHT_DECAY)
    losses, norms = [], []
    for step in range(STEPS):
        for parameter in parameters.values():  # zero, not None: unused ones are still decayed
            parameter.grad = torch.zeros_like(parameter)
        logits, routings = model.forward(torch.tensor(ids[step]).long())
        cross_entropy = model.cross_entropy(logits, torch.tensor(targets[step]))
        loss = cross_entropy + regularizers(config, routings, weights)
        loss.backward()
        if step == 0:
            arrays.update(logits=logits, loss=loss.reshape(1), cross_entropy=cross_entropy.reshape(1))
            arrays.update({f"gradients.{n}": p.grad.clone() for n, p in parameters.items()})
            arrays.update(routing_arrays(routings))
        losses.append(loss.item())
        norms.append(clip_gradients(parameters, CLIP).item())
        for group in optimizer.param_groups:
            group["lr"] = learning_rates[step]
        optimizer.step()
    arrays.update(losses=losses, gradient_norms=norms)
    arrays.update({f"trained.{n}": fingerprint(p) for n, p in parameters.items()})
    return {n: a if isinstance(a, numpy.ndarray) else numpy.asarray(
        a.detach() if torch.is_tensor(a) else a, dtype=numpy.float64) for n, a in arrays.items()}


def routing_arrays(routings):
    arrays = {}
    for layer, routing in enumerate(routings):
        if routing.expected_iterations is not None:
            arrays[f"expected_iterations.{layer}"] = routing.expected_iterations.flatten()
        if routing.gates is not None:
            arrays[f"readout.{layer}"] = read_out(routing)
    return arrays


def difference(found, stored):
    """What differs between two fixtures, as (arrays, metadata); empty when nothing does."""
    if found[1] != stored[1]:
        return "metadata"
    if found[0].keys() != stored[0].keys():
        return "names " + ", ".join(sorted(found[0].keys() ^ stored[0].keys()))
    for name, new in found[0].items():
        old = stored[0][name]
        if new.shape != old.shape or new.dtype != old.dtype:
            return f"{name}: {new.dtype}{new.shape}, stored {old.dtype}{old.shape}"
        exact = new.dtype != numpy.float64
        allowed = 0 if exact else CHECK_TOLERANCE * numpy.abs(old).max()
        error = numpy.abs(new - old).max()
        if not error <= allowed:
            return f"{name}: differs by {error}, allowed {allowed}"
    return ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare with the stored fixtures")
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    expected = {f"{name}.safetensors" for name in cases()}
    strangers = sorted({path.name for path in FOLDER.glob("*")} - expected)
    problems = [f"{name}: no such case" for name in strangers]
    for name, (config, weights) in cases().items():
        arrays = compute(name, config, weights)
        metadata = {"model": to_yaml(config), "regularizer": to_yaml(weights),
                    "optimizer": OPTIMIZER_YAML}
        path = FOLDER / f"{name}.safetensors"
        if not arguments.check:
            FOLDER.mkdir(exist_ok=True)
            safetensors_file.write(path, arrays, metadata)
        elif not path.exists():
            problems.append(f"{name}: not stored")
        else:
            found = difference((arrays, metadata), safetensors_file.read(path))
            if found:
                problems.append(f"{name}: {found}")
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{len(expected)} fixtures, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
