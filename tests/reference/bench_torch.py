"""Times a PyTorch training step of the model: forward, backward, clipping, AdamW.

    python3 tests/reference/bench_torch.py --layers 4 --width 256 --precision bf16

The arithmetic is that of dual_path.py, with fused projections and the fastest attention that the
installed PyTorch has; both are compared on a small model before anything is timed.
"""

import argparse
import math
import resource
import statistics
import time

import torch
import torch.nn.functional as F

from dual_path import (DeepConfig, DualPath, ModelConfig, WideConfig, is_decayed, make_optimizer,
                       parameter_shapes)


class FastDualPath(DualPath):
    """Query, key and value are one matrix `qkv`, gate and up one matrix `gate_up`."""

    rotations = {}  # (T, E, device) -> cos, sin

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
        T, E = x.shape[1], x.shape[-1]
        key = (T, E, x.device)
        if key not in self.rotations:
            frequencies = self.config.rope_theta ** (-torch.arange(0, E, 2, device=x.device) / E)
            angles = torch.arange(T, device=x.device)[:, None, None] * frequencies
            self.rotations[key] = (torch.cat([angles.cos()] * 2, -1),
                                   torch.cat([-angles.sin(), angles.sin()], -1))
        cos, sin = self.rotations[key]
        return x * cos + x.roll(E // 2, dims=-1) * sin

    def attend(self, q, k, v):
        repeats = q.shape[1] // k.shape[1]
        if repeats > 1:
            k, v = k.repeat_interleave(repeats, dim=1), v.repeat_interleave(repeats, dim=1)
        if hasattr(F, "scaled_dot_product_attention"):
            q, k = q.to(v.dtype), k.to(v.dtype)
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


def compare_with_reference(device):
    """The fast model must be the reference model: loss equal to float32 rounding."""
    config = ModelConfig(layers=2, hidden_size=32, attention_heads=4, kv_heads=2,
                         deep=DeepConfig(3, 24), wide=WideConfig(40))
    parameters = random_parameters(config, device)
    for value in parameters.values():
        value += 0.1 * torch.randn_like(value)
    ids, targets = random_batch(config, 2, device)
    fast, slow = [model.forward(ids)[0] for model in (
        FastDualPath(config, fuse(parameters)), DualPath(config, parameters))]
    error = ((fast - slow).norm() / slow.norm()).item()
    assert error < 1e-5, f"the fast model's logits differ by {error}"


def time_steps(arguments):
    """Seconds of each timed step."""
    config = ModelConfig(
        architecture=[arguments.architecture], layers=arguments.layers, hidden_size=arguments.width,
        attention_heads=arguments.heads, kv_heads=arguments.kv_heads or arguments.heads,
        sequence_length=arguments.positions, vocab_size=arguments.vocabulary,
        deep=DeepConfig(arguments.iterations, arguments.deep_hidden),
        wide=WideConfig(arguments.wide_hidden))
    device = torch.device(arguments.device)
    parameters = fuse(random_parameters(config, device))
    model = FastDualPath(config, parameters)
    forward = torch.compile(model.forward) if arguments.compile else model.forward
    optimizer = make_optimizer(parameters, lr=1e-4, decayed=is_fused_decayed, foreach=True)
    ids, targets = random_batch(config, arguments.batch, device)

    def step():
        with torch.autocast(device.type, torch.bfloat16, enabled=arguments.precision == "bf16"):
            loss = model.cross_entropy(forward(ids)[0], targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()  # waits for the device

    for _ in range(arguments.warmup):
        step()
    seconds = []
    for _ in range(arguments.steps):
        begin = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - begin)
    return seconds


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
    parser.add_argument("--warmup", type=int, default=2, help="steps before the timed ones")
    parser.add_argument("--steps", type=int, default=10, help="timed steps")
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    on_gpu = arguments.device.startswith("cuda")
    compare_with_reference(torch.device(arguments.device))
    seconds = statistics.median(time_steps(arguments))
    tokens = arguments.batch * arguments.positions
    peak = torch.cuda.max_memory_allocated() if on_gpu else (
        1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    print(f"PyTorch {torch.__version__} {arguments.device} {arguments.precision} | "
          f"{tokens / seconds:.0f} tokens/s | median step {1e3 * seconds:.1f} ms of "
          f"{arguments.steps} | peak {'device' if on_gpu else 'process'} memory {peak / 2**20:.0f} MiB"
          + ("" if on_gpu else f" | BLAS {matmul_rate():.0f} GFLOP/s fp32"))


if __name__ == "__main__":
    main()
