"""Dual-path language models (arXiv 2605.30202) in plain PyTorch, the oracle of the C++ tests.

Nothing here is fast; every formula is written out and autograd does the backward. Needs PyTorch
1.13 or later and nothing else. Shapes: B sequences, T positions, d width, H query heads, G
key/value heads, E head size, K iterations, V vocabulary.

All linear maps are y = x Wᵀ with W [out, in], except `output` and `down`, which are stored as
[in, out] and used as y = x W.
"""

import dataclasses
import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F


@dataclass
class DeepConfig:
    iterations: int = 4
    ffn_hidden_size: int = 0
    combine: str = "mixture"  # mixture | final | mean
    iteration_norm: bool = False
    input_injection: bool = False


@dataclass
class WideConfig:
    ffn_hidden_size: int = 0  # also of standard layers


@dataclass
class GateConfig:
    mode: str = "two_sigmoid"  # two_sigmoid | convex | softmax | fixed
    target: str = "states"  # states | updates


@dataclass
class ModelConfig:
    architecture: list = field(default_factory=lambda: ["dual_path"])  # one, or one a layer
    layers: int = 1
    hidden_size: int = 12
    attention_heads: int = 2
    kv_heads: int = 2
    sequence_length: int = 12
    vocab_size: int = 31
    qk_norm: str = "after_rope"  # after_rope | before_rope | none
    shared_attention: bool = False
    tied_embeddings: bool = False
    rope_theta: float = 500000.0
    norm_epsilon: float = 1e-5
    deep: DeepConfig = field(default_factory=DeepConfig)
    wide: WideConfig = field(default_factory=WideConfig)
    gate: GateConfig = field(default_factory=GateConfig)

    def architecture_of(self, layer):
        return self.architecture[layer if len(self.architecture) > 1 else 0]


@dataclass
class RegularizerConfig:
    ponder: float = 0.0
    gate_entropy: float = 0.0
    gate_balance: float = 0.0


def parameter_shapes(config):
    """Name -> shape of every parameter, in the order of the model."""
    d, K = config.hidden_size, config.deep.iterations
    E = d // config.attention_heads
    shapes = {"embedding": (config.vocab_size, d)}

    def attention(path, norm_shape):
        shapes[path + "attention_norm"] = norm_shape
        shapes[path + "query"] = (config.attention_heads * E, d)
        shapes[path + "key"] = (config.kv_heads * E, d)
        shapes[path + "value"] = (config.kv_heads * E, d)
        if config.qk_norm != "none":
            shapes[path + "query_norm"] = (E,)
            shapes[path + "key_norm"] = (E,)
        shapes[path + "output"] = (config.attention_heads * E, d)

    def ffn(path, hidden, norm_shape):
        shapes[path + "ffn_norm"] = norm_shape
        for name in ("gate", "up", "down"):
            shapes[path + name] = (hidden, d)

    for layer in range(config.layers):
        prefix = f"layers.{layer}."
        architecture = config.architecture_of(layer)
        shared = architecture == "dual_path" and config.shared_attention
        deep_norm = (K, d) if config.deep.iteration_norm else (d,)
        if shared:
            attention(prefix + "shared.", deep_norm)
        if architecture == "standard":
            attention(prefix + "standard.", (d,))
            ffn(prefix + "standard.", config.wide.ffn_hidden_size, (d,))
        if architecture in ("looped", "dual_path"):
            if not shared:
                attention(prefix + "deep.", deep_norm)
            ffn(prefix + "deep.", config.deep.ffn_hidden_size, deep_norm)
            shapes[prefix + "deep.gain"] = (K,)
            if config.deep.combine == "mixture":
                shapes[prefix + "router.weight"] = (d + 1,)
                shapes[prefix + "router.bias"] = (1,)
        if architecture in ("wide", "dual_path"):
            if not shared:
                attention(prefix + "wide.", (d,))
            ffn(prefix + "wide.", config.wide.ffn_hidden_size, (d,))
            shapes[prefix + "wide.gain"] = (1,)
        if architecture == "dual_path" and config.gate.mode != "fixed":
            num_gates = 1 if config.gate.mode == "convex" else 2
            shapes[prefix + "gates.weight"] = (num_gates, d)
            shapes[prefix + "gates.bias"] = (num_gates,)
    shapes["final_norm"] = (d,)
    if not config.tied_embeddings:
        shapes["head"] = (config.vocab_size, d)
    return shapes


DECAYED = ("query", "key", "value", "output", "gate", "up", "down", "head",
           "router.weight", "gates.weight")


def is_decayed(name):
    """Weight decay: matrices of attention and FFN, untied head, router w and W_g; nothing else."""
    return any(name == decayed or name.endswith("." + decayed) for decayed in DECAYED)


@dataclass
class Routing:
    """What one layer decided, per token [B, T]; None where the layer has no such part."""

    expected_iterations: torch.Tensor = None  # Σ_k k·(weight of iteration k), k from 1
    gates: tuple = None  # (g_d, g_w)
    states: tuple = None  # (x, h_deep, h_wide), each [B, T, d]


class DualPath:
    """The model. `parameters` maps the names of parameter_shapes to tensors.

    rms_norm, project, attend and narrow_linear may be overridden by faster equivalents.
    """

    def __init__(self, config, parameters):
        self.config = config
        self.parameters = parameters

    def forward(self, ids):
        """ids [B, T] -> logits [B, T, V] and one Routing a layer."""
        x = self.parameters["embedding"][ids]
        routings = []
        for layer in range(self.config.layers):
            x, routing = self.layer(layer, x)
            routings.append(routing)
        x = self.rms_norm(x, self.parameters["final_norm"])
        head = self.parameters["embedding" if self.config.tied_embeddings else "head"]
        return F.linear(x, head), routings

    def layer(self, layer, x):
        prefix = f"layers.{layer}."
        architecture = self.config.architecture_of(layer)
        if architecture == "standard":
            path = prefix + "standard."
            return self.block(x, 1.0, path, path), Routing()
        if architecture == "looped":
            y, expected_iterations = self.deep_path(x, prefix, prefix + "deep.")
            return y, Routing(expected_iterations)
        if architecture == "wide":
            return self.wide_path(x, prefix, prefix + "wide."), Routing()
        assert architecture == "dual_path"
        if self.config.shared_attention:
            # One attention output serves iteration 1 and the wide path.
            path = prefix + "shared."
            attended = self.attention(x, path)
            h_deep, expected_iterations = self.deep_path(x, prefix, path, attended)
            h_wide = self.wide_path(x, prefix, path, attended)
        else:
            h_deep, expected_iterations = self.deep_path(x, prefix, prefix + "deep.")
            h_wide = self.wide_path(x, prefix, prefix + "wide.")
        g_d, g_w = self.gates(x, prefix)
        routing = Routing(expected_iterations, (g_d, g_w), (x, h_deep, h_wide))
        g_d, g_w = g_d.unsqueeze(-1), g_w.unsqueeze(-1)
        if self.config.gate.target == "states":
            return g_d * h_deep + g_w * h_wide, routing
        assert self.config.gate.target == "updates"
        return x + g_d * (h_deep - x) + g_w * (h_wide - x), routing

    def deep_path(self, x, prefix, attention_path, attended=None):
        """h_deep and the expected iterations (None without a router)."""
        deep, K = self.config.deep, self.config.deep.iterations
        scales = F.softplus(self.parameters[prefix + "deep.gain"])
        h = x
        states = []
        for k in range(K):
            if k > 0 and deep.input_injection:
                h = h + x
            h = self.block(h, scales[k], attention_path, prefix + "deep.", k,
                           attended if k == 0 else None)
            states.append(h)
        if deep.combine == "final":
            return states[-1], None
        if deep.combine == "mean":
            return sum(states) / K, None
        assert deep.combine == "mixture"
        weights = self.mixture_weights(states, prefix)
        h_deep = sum(weight.unsqueeze(-1) * h for weight, h in zip(weights, states))
        return h_deep, sum((k + 1) * weight for k, weight in enumerate(weights))

    def mixture_weights(self, states, prefix):
        """π_k·q_k for k < K and π_K, each [B, T]; π_k = Π_{j<k} (1 - q_j)."""
        K = len(states)
        router, bias = self.parameters[prefix + "router.weight"], self.parameters[prefix + "router.bias"]
        remaining = torch.ones_like(states[0][..., 0])
        weights = []
        for k, h in enumerate(states[:-1]):
            logit = self.narrow_linear(h, router[None, :-1])[..., 0]
            q = torch.sigmoid(logit + router[-1] * (k / max(1, K - 1)) + bias)
            weights.append(remaining * q)
            remaining = remaining * (1 - q)
        return weights + [remaining]

    def wide_path(self, x, prefix, attention_path, attended=None):
        scale = F.softplus(self.parameters[prefix + "wide.gain"])
        return self.block(x, scale, attention_path, prefix + "wide.", 0, attended)

    def gates(self, x, prefix):
        """(g_d, g_w), each [B, T], from the block's un-normalised input."""
        mode = self.config.gate.mode
        if mode == "fixed":
            half = torch.full_like(x[..., 0], 0.5)
            return half, half
        logits = self.narrow_linear(x, self.parameters[prefix + "gates.weight"])
        logits = logits + self.parameters[prefix + "gates.bias"]
        if mode == "convex":
            g_d = torch.sigmoid(logits[..., 0])
            return g_d, 1 - g_d
        if mode == "softmax":
            return torch.softmax(logits, dim=-1).unbind(-1)
        assert mode == "two_sigmoid"
        return torch.sigmoid(logits).unbind(-1)

    def block(self, x, scale, attention_path, ffn_path, iteration=0, attended=None):
        """Φ(x; s): u = x + s·Attn(RMSNorm(x)), u + s·FFN(RMSNorm(u))."""
        if attended is None:
            attended = self.attention(x, attention_path, iteration)
        u = x + scale * attended
        return u + scale * self.ffn(u, ffn_path, iteration)

    def norm_weight(self, name, iteration):
        weight = self.parameters[name]
        return weight[iteration] if weight.dim() == 2 else weight

    def attention(self, x, path, iteration=0):
        config, (B, T, _) = self.config, x.shape
        normed = self.rms_norm(x, self.norm_weight(path + "attention_norm", iteration))
        q, k, v = self.project(normed, path)
        q = q.view(B, T, config.attention_heads, -1)
        k = k.view(B, T, config.kv_heads, -1)
        v = v.view(B, T, config.kv_heads, -1)
        if config.qk_norm == "before_rope":
            q, k = self.qk_norm(q, k, path)
        q, k = self.rotate(q), self.rotate(k)
        if config.qk_norm == "after_rope":
            q, k = self.qk_norm(q, k, path)
        out = self.attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
        return out.transpose(1, 2).reshape(B, T, -1) @ self.parameters[path + "output"]

    def qk_norm(self, q, k, path):
        return (self.rms_norm(q, self.parameters[path + "query_norm"]),
                self.rms_norm(k, self.parameters[path + "key_norm"]))

    def rotate(self, x):
        """Rotary positions on [B, T, heads, E]: (x_i, x_{i+E/2}) turns by t·θ^(-2i/E)."""
        T, E = x.shape[1], x.shape[-1]
        dtype = torch.promote_types(x.dtype, torch.float32)
        exponents = torch.arange(0, E, 2, dtype=dtype, device=x.device) / E
        angles = torch.arange(T, dtype=dtype, device=x.device)[:, None] * (
            self.config.rope_theta ** -exponents)
        cos, sin = angles.cos()[:, None, :], angles.sin()[:, None, :]
        first, second = x[..., : E // 2], x[..., E // 2:]
        return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)

    def ffn(self, x, path, iteration):
        normed = self.rms_norm(x, self.norm_weight(path + "ffn_norm", iteration))
        gate = F.linear(normed, self.parameters[path + "gate"])
        up = F.linear(normed, self.parameters[path + "up"])
        return (F.silu(gate) * up) @ self.parameters[path + "down"]

    def rms_norm(self, x, weight):
        mean_square = (x * x).mean(-1, keepdim=True)
        return x / torch.sqrt(mean_square + self.config.norm_epsilon) * weight

    def project(self, normed, path):
        return tuple(F.linear(normed, self.parameters[path + name])
                     for name in ("query", "key", "value"))

    def attend(self, q, k, v):
        """Causal attention of q [B, H, T, E] to k, v [B, G, T, E]; query head i reads i // (H/G)."""
        repeats = q.shape[1] // k.shape[1]
        k, v = k.repeat_interleave(repeats, dim=1), v.repeat_interleave(repeats, dim=1)
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        T = q.shape[2]
        later = torch.ones(T, T, dtype=torch.bool, device=q.device).triu(1)
        return torch.softmax(scores.masked_fill(later, -math.inf), dim=-1) @ v

    def narrow_linear(self, x, weight):
        """x Wᵀ for the router and the gates, always in the type of x."""
        return (x.unsqueeze(-2) * weight).sum(-1)

    def cross_entropy(self, logits, targets):
        """Mean over targets that are not -1."""
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten().long(), ignore_index=-1)


def gate_entropy(gates):
    """H(p) in nats per token, p = g_d/(g_d + g_w)."""
    p = gates[0] / (gates[0] + gates[1])
    return -p * torch.log(p) - (1 - p) * torch.log(1 - p)


def regularizers(config, routings, weights):
    """The weighted sum of the auxiliary losses; 0.0 where none applies.

    ponder: (E-1)/(K-1), E the mean over tokens and layers with a router (K = 1: absent);
    gate entropy: minus the mean over tokens and dual layers of H(p);
    balance: per layer (mean_t p - 1/2)^2, mean over sequences, summed over dual layers.
    """
    total = 0.0
    expected = [r.expected_iterations for r in routings if r.expected_iterations is not None]
    gates = [r.gates for r in routings if r.gates is not None]
    if expected and config.deep.iterations > 1:
        mean = torch.stack(expected).mean()
        total = total + weights.ponder * (mean - 1) / (config.deep.iterations - 1)
    if gates:
        entropy = torch.stack([gate_entropy(g) for g in gates]).mean()
        shares = torch.stack([g_d / (g_d + g_w) for g_d, g_w in gates])  # [layers, B, T]
        balance = ((shares.mean(-1) - 0.5) ** 2).mean(-1).sum()
        total = total - weights.gate_entropy * entropy + weights.gate_balance * balance
    return total


def read_out(routing):
    """Per token [B·T, 6]: g_d, g_w, H(p), deep share ρ_d, cos(Δ_d, Δ_w), ‖x‖ of a dual layer."""
    (g_d, g_w), (x, h_deep, h_wide) = routing.gates, routing.states
    delta_d, delta_w = h_deep - x, h_wide - x
    norm_d, norm_w = delta_d.norm(dim=-1), delta_w.norm(dim=-1)
    share = g_d * norm_d / (g_d * norm_d + g_w * norm_w)
    cosine = (delta_d * delta_w).sum(-1) / (norm_d * norm_w)
    columns = (g_d, g_w, gate_entropy(routing.gates), share, cosine, x.norm(dim=-1))
    return torch.stack(columns, dim=-1).flatten(0, 1)


def make_optimizer(parameters, lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.3,
                   decayed=is_decayed, **options):
    groups = [
        {"params": [p for n, p in parameters.items() if decayed(n)], "weight_decay": weight_decay},
        {"params": [p for n, p in parameters.items() if not decayed(n)], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, betas=betas, eps=eps, **options)


def clip_gradients(parameters, max_norm):
    """Scales the gradients by min(1, max_norm/norm) and returns the norm before."""
    gradients = [p.grad for p in parameters.values()]
    norm = torch.sqrt(sum((g * g).sum() for g in gradients))
    if norm > max_norm:
        for gradient in gradients:
            gradient.mul_(max_norm / norm)
    return norm


def to_yaml(config, indent=""):
    """A config as YAML with every field that is not zero."""
    lines = []
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            inner = to_yaml(value, indent + "  ")
            if inner:
                lines.append(f"{indent}{item.name}:\n{inner}")
        elif isinstance(value, bool):
            lines.append(f"{indent}{item.name}: {str(value).lower()}\n")
        elif isinstance(value, list):
            lines.append(f"{indent}{item.name}: [{', '.join(map(str, value))}]\n")
        elif value != 0:
            lines.append(f"{indent}{item.name}: {value}\n")
    return "".join(lines)
