"""Times a PyTorch training step of the model: forward, backward, clipping, AdamW.

    python3 tests/reference/bench_torch.py --layers 4 --width 256 --precision bf16
    python3 tests/reference/bench_torch.py --device cuda --precision bf16 --compile ...

The arithmetic is that of dual_path.py, with fused projections, the fastest attention that the
installed PyTorch has and, on a GPU, the fused AdamW; both models are compared in a small size, on
the CPU, before anything is timed. On a GPU whose memory does not take the whole batch at once,
gradients accumulate over halves, quarters and so on.
"""

import argparse
import dataclasses
import gc
import json
import math
import resource
import statistics
import time

import torch
import torch.nn.functional as F

from dual_path import (DeepConfig, DualPath, ModelConfig, WideConfig, is_decayed, make_optimizer,
                       parameter_shapes)


def rotation_tables(config, device):
    """cos and signed sin of the rotary angles, each [T, 1, E]."""
    E = config.hidden_size // config.attention_heads
    frequencies = config.rope_theta ** (-torch.arange(0, E, 2, device=device) / E)
    angles = torch.arange(config.sequence_length, device=device)[:, None, None] * frequencies
    return torch.cat([angles.cos()] * 2, -1), torch.cat([-angles.sin(), angles.sin()], -1)


class FastDualPath(DualPath):
    """Query, key and value are one matrix `qkv`, gate and up one matrix `gate_up`."""

    def __init__(self, config, parameters, rotations):
        super().__init__(config, parameters)
        self.rotations = rotations

    def rms_norm(self, x, weight):
        if hasattr(F, "rms_norm"):
            return F.rms_norm(x.float(), weight.shape, weight, self.config.norm_epsilon)
        x = x.float()
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.config.norm_epsilon) * weight

    def project(self, normed, path):
        config = self.config
        head_size = config.hidden_size // config.attention_heads
        sizes = [heads * head_size
                 for heads in (config.attention_heads, config.kv_heads, config.kv_heads)]
        return F.linear(normed, self.parameters[path + "qkv"]).split(sizes, dim=-1)

    def rotate(self, x):
        cos, sin = self.rotations
        return x * cos + x.roll(x.shape[-1] // 2, dims=-1) * sin

    def attend(self, q, k, v):
        grouped = k.shape[1] < q.shape[1]
        if hasattr(F, "scaled_dot_product_attention"):
            q, k = q.to(v.dtype), k.to(v.dtype)
            if grouped and q.is_cuda:  # PyTorch 2.5: the kernels know groups themselves
                return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        if grouped:
            repeats = q.shape[1] // k.shape[1]
            k, v = k.repeat_interleave(repeats, dim=1), v.repeat_interleave(repeats, dim=1)
        if hasattr(F, "scaled_dot_product_attention"):
            return F.scaled_dot_product_attention(q, k, v, is_causal=True)
        T = q.shape[2]
        later = torch.full((T, T), -math.inf, device=q.device).triu(1)
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        return torch.softmax(scores + later, dim=-1) @ v

    def ffn(self, x, path, iteration):
        normed = self.rms_norm(x, self.norm_weight(path + "ffn_norm", iteration))
        gate, up = F.linear(normed, self.parameters[path + "gate_up"]).chunk(2, dim=-1)
        return (F.silu(gate) * up) @ self.parameters[path + "down"]

    def narrow_linear(self, x, weight):
        with torch.autocast(x.device.type, enabled=False):
            return F.linear(x.float(), weight)


def fuse(parameters):
    """The reference's parameters under the names and shapes of FastDualPath, as leaves."""
    parts = {"query": "qkv", "key": "qkv", "value": "qkv", "gate": "gate_up", "up": "gate_up"}
    fused = {}
    for name, value in parameters.items():
        path, _, last = name.rpartition(".")
        whole = f"{path}.{parts[last]}" if last in parts else name
        fused[whole] = torch.cat([fused[whole], value]) if whole in fused else value
    return {name: value.clone().requires_grad_() for name, value in fused.items()}


def is_fused_decayed(name):
    return is_decayed(name) or name.endswith((".qkv", ".gate_up"))


def random_parameters(config, device):
    def value(name, shape):
        if name.endswith("norm"):
            return torch.ones(shape, device=device)
        if name.endswith(("gain", "bias")):
            return torch.full(shape, 0.5, device=device)
        return 0.02 * torch.randn(shape, device=device)

    return {name: value(name, shape) for name, shape in parameter_shapes(config).items()}


def random_batch(config, batch, device):
    ids = torch.randint(config.vocab_size, (batch, config.sequence_length + 1), device=device)
    return ids[:, :-1], ids[:, 1:]


def layer_forward(config, parameters, rotations, x):
    """One layer, its parameters named as those of layer 0: all layers share what is compiled."""
    return FastDualPath(config, parameters, rotations).layer(0, x)[0]


def head_loss(config, parameters, x, targets):
    model = FastDualPath(config, parameters, None)
    logits = F.linear(model.rms_norm(x, parameters["final_norm"]), parameters["head"])
    return model.cross_entropy(logits, targets)


def make_loss(config, parameters, compiled):
    """(ids, targets) -> loss; `compiled`: each layer and the head by torch.compile."""
    wrap = torch.compile if compiled else (lambda function: function)
    one_layer = dataclasses.replace(config, layers=1)
    rotations = rotation_tables(config, parameters["embedding"].device)
    layers = []
    for i in range(config.layers):
        prefix = f"layers.{i}."
        layers.append({"layers.0." + name[len(prefix):]: value
                       for name, value in parameters.items() if name.startswith(prefix)})
    last = {name: parameters[name] for name in ("final_norm", "head")}
    run_layer, run_head = wrap(layer_forward), wrap(head_loss)

    def loss(ids, targets):
        x = parameters["embedding"][ids]
        for layer in layers:
            x = run_layer(one_layer, layer, rotations, x)
        return run_head(config, last, x, targets)

    return loss


def compare_with_reference(device):
    """The fast model must be the reference model: losses equal to float32 rounding."""
    config = ModelConfig(layers=2, hidden_size=32, attention_heads=4, kv_heads=2,
                         deep=DeepConfig(3, 24), wide=WideConfig(40))
    parameters = random_parameters(config, device)
    for value in parameters.values():
        value += 0.1 * torch.randn_like(value)
    ids, targets = random_batch(config, 2, device)
    reference = DualPath(config, parameters)
    slow = reference.cross_entropy(reference.forward(ids)[0], targets)
    fast = make_loss(config, fuse(parameters), False)(ids, targets)
    error = (fast / slow - 1).abs().item()
    assert error < 1e-5, f"the fast model's loss differs by {error}"


def time_steps(arguments, micro_batch):
    """Seconds of each timed step."""
    config = ModelConfig(
        architecture=[arguments.architecture], layers=arguments.layers, hidden_size=arguments.width,
        attention_heads=arguments.heads, kv_heads=arguments.kv_heads or arguments.heads,
        sequence_length=arguments.positions, vocab_size=arguments.vocabulary,
        deep=DeepConfig(arguments.iterations, arguments.deep_hidden),
        wide=WideConfig(arguments.wide_hidden))
    device = torch.device(arguments.device)
    on_gpu = device.type == "cuda"
    parameters = fuse(random_parameters(config, device))
    loss_of = make_loss(config, parameters, arguments.compile)
    optimizer = make_optimizer(parameters, lr=1e-4, decayed=is_fused_decayed,
                               **({"fused": True} if on_gpu else {"foreach": True}))
    ids, targets = random_batch(config, arguments.batch, device)
    parts = list(zip(ids.split(micro_batch), targets.split(micro_batch)))

    def step():
        total = 0
        for part_ids, part_targets in parts:
            with torch.autocast(device.type, torch.bfloat16, enabled=arguments.precision == "bf16"):
                loss = loss_of(part_ids, part_targets) / len(parts)
            loss.backward()
            total += loss.detach()
        torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return total.item()  # waits for the device

    for _ in range(arguments.warmup):
        step()
    if on_gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    seconds = []
    for _ in range(arguments.steps):
        begin = time.perf_counter()
        assert math.isfinite(step())
        if on_gpu:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begin)
    return seconds


def time_steps_that_fit(arguments):
    """Seconds of each timed step, and the sequences that went through the model at once."""
    micro_batch = arguments.batch
    while True:
        try:
            return time_steps(arguments, micro_batch), micro_batch
        except torch.cuda.OutOfMemoryError:
            if micro_batch == 1:
                raise
        gc.collect()
        torch.cuda.empty_cache()
        micro_batch = (micro_batch + 1) // 2


def matmul_rate():
    """GFLOP/s of an fp32 product of 1024 x 1024 matrices on the CPU; says which BLAS is at work."""
    a = torch.randn(1024, 1024)
    begin, count = time.perf_counter(), 0
    while count < 2 or time.perf_counter() - begin < 0.5:
        a @ a
        count += 1
    return 2e-9 * 1024**3 * count / (time.perf_counter() - begin)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--architecture", default="dual_path",
                        choices=["standard", "looped", "wide", "dual_path"], help="of all layers")
    parser.add_argument("--width", type=int, default=256, help="d")
    parser.add_argument("--layers", type=int, default=4, help="L")
    parser.add_argument("--heads", type=int, default=4, help="query heads")
    parser.add_argument("--kv-heads", type=int, default=0, help="key/value heads; 0: as query heads")
    parser.add_argument("--iterations", type=int, default=4, help="K")
    parser.add_argument("--deep-hidden", type=int, default=256, help="hidden units of the deep FFN")
    parser.add_argument("--wide-hidden", type=int, default=1024, help="of the wide FFN")
    parser.add_argument("--vocabulary", type=int, default=4096, help="V")
    parser.add_argument("--positions", type=int, default=256, help="T, tokens a sequence")
    parser.add_argument("--batch", type=int, default=4, help="sequences a step")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"], help="bf16: autocast")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--compile", action="store_true", help="torch.compile (PyTorch 2)")
    parser.add_argument("--json", default="", help="file for the figures; empty: none")
    parser.add_argument("--warmup", type=int, default=2, help="steps before the timed ones")
    parser.add_argument("--steps", type=int, default=10, help="timed steps")
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    on_gpu = arguments.device.startswith("cuda")
    compare_with_reference(torch.device("cpu"))
    seconds, micro_batch = time_steps_that_fit(arguments)
    median = statistics.median(seconds)
    figures = {
        "program": f"PyTorch {torch.__version__}",
        "device": torch.cuda.get_device_name() if on_gpu else "cpu",
        "mode": "compiled" if arguments.compile else "eager",
        "precision": arguments.precision,
        "micro_batch": micro_batch,
        "tokens_per_second": arguments.batch * arguments.positions / median,
        "median_ms": 1e3 * median,
        "best_ms": 1e3 * min(seconds),
        "peak_bytes": torch.cuda.max_memory_reserved() if on_gpu else (
            1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss),
    }
    print("{program} {mode} {device} {precision} | {tokens_per_second:.0f} tokens/s | median step "
          "{median_ms:.1f} ms, best {best_ms:.1f} | {micro_batch} sequences at once".format(**figures)
          + f" | peak {'device' if on_gpu else 'process'} memory {figures['peak_bytes'] / 2**20:.0f} MiB"
          + ("" if on_gpu else f" | BLAS {matmul_rate():.0f} GFLOP/s fp32"))
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(figures, file)


if __name__ == "__main__":
    main()
