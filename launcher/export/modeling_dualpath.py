"""Dual-path language models (arXiv 2605.30202) for Hugging Face's transformers.

Written by `dualpath checkpoint export` beside the weights; needs transformers 4.46 or later.

    AutoModelForCausalLM.from_pretrained(FOLDER, trust_remote_code=True)

A layer of the architecture `dual_path` has two paths. The deep path applies one sublayer, attention
and feed-forward network, K times; a router mixes the K states. The wide path applies a sublayer of its
own, with a larger feed-forward network, once. Two gates, read from the layer's input, add both.
`looped` layers have the deep path alone, `wide` layers the wide path alone; `standard` layers are those
of a common transformer.

Norms, rotary positions, router, gates, gains and the residual stream are computed in float32, whatever
the type of the weights: an untrained gain is 9e-4, which bfloat16 sums would lose.
"""

from dataclasses import dataclass, fields
from typing import Any, Optional

import torch
import torch.nn.functional as F
from torch import nn
from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.cache_utils import DynamicCache
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

# What the library calls the cache of keys and values in a model's output; late versions 5 renamed it.
CACHE_FIELD = "past_key_values"
if any(field.name == "cache" for field in fields(CausalLMOutputWithPast)):
    CACHE_FIELD = "cache"


class DualPathConfig(PretrainedConfig):
    """The model's options. `layer_architectures` has one name a layer: standard, looped, wide or
    dual_path. `wide_intermediate_size` is also that of standard layers."""

    model_type = "dualpath"
    keys_to_ignore_at_inference = ["past_key_values"]

    def __init__(
        self,
        vocab_size=50304,
        hidden_size=768,
        num_hidden_layers=16,
        num_attention_heads=12,
        num_key_value_heads=None,
        max_position_embeddings=4096,
        layer_architectures=None,
        deep_iterations=4,
        deep_intermediate_size=1280,
        deep_combine="mixture",
        deep_iteration_norm=False,
        deep_input_injection=False,
        wide_intermediate_size=7680,
        gate_mode="two_sigmoid",
        gate_target="states",
        shared_attention=False,
        qk_norm="after_rope",
        rms_norm_eps=1e-5,
        rope_theta=500000.0,
        initializer_range=0.02,
        deep_gain_init=-7.0,
        wide_gain_init=-7.0,
        router_bias_init=0.0,
        use_cache=True,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
        **kwargs,
    ):
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.num_key_value_heads = num_key_value_heads or num_attention_heads
        self.max_position_embeddings = max_position_embeddings
        self.layer_architectures = layer_architectures or ["dual_path"] * num_hidden_layers
        self.deep_iterations = deep_iterations
        self.deep_intermediate_size = deep_intermediate_size
        self.deep_combine = deep_combine
        self.deep_iteration_norm = deep_iteration_norm
        self.deep_input_injection = deep_input_injection
        self.wide_intermediate_size = wide_intermediate_size
        self.gate_mode = gate_mode
        self.gate_target = gate_target
        self.shared_attention = shared_attention
        self.qk_norm = qk_norm
        self.rms_norm_eps = rms_norm_eps
        self.rope_theta = rope_theta
        self.initializer_range = initializer_range
        self.deep_gain_init = deep_gain_init
        self.wide_gain_init = wide_gain_init
        self.router_bias_init = router_bias_init
        self.use_cache = use_cache
        self._check_options()
        super().__init__(
            bos_token_id=bos_token_id,
            eos_token_id=eos_token_id,
            pad_token_id=pad_token_id,
            tie_word_embeddings=tie_word_embeddings,
            **kwargs,
        )

    def _check_options(self):
        if len(self.layer_architectures) != self.num_hidden_layers:
            raise ValueError(
                f"layer_architectures has {len(self.layer_architectures)} names for "
                f"{self.num_hidden_layers} layers"
            )
        options = {
            "deep_combine": ("mixture", "final", "mean"),
            "gate_mode": ("two_sigmoid", "convex", "softmax", "fixed"),
            "gate_target": ("states", "updates"),
            "qk_norm": ("after_rope", "before_rope", "none"),
        }
        for name, values in options.items():
            if getattr(self, name) not in values:
                raise ValueError(f"{name} is {getattr(self, name)!r}, not one of {', '.join(values)}")
        for architecture in self.layer_architectures:
            if architecture not in ("standard", "looped", "wide", "dual_path"):
                raise ValueError(f"layer_architectures holds {architecture!r}")

    @property
    def head_dim(self):
        return self.hidden_size // self.num_attention_heads

    def num_attentions(self, layer):
        """How many attentions a layer computes, each with an entry of its own in the cache."""
        architecture = self.layer_architectures[layer]
        if architecture in ("standard", "wide"):
            return 1
        has_wide = architecture == "dual_path" and not self.shared_attention
        return self.deep_iterations + int(has_wide)


@dataclass
class AttentionContext:
    """What all attentions of a pass share."""

    cos: torch.Tensor  # [B, 1, T, head_dim/2], float32
    sin: torch.Tensor
    mask: Optional[torch.Tensor]  # [B, 1, T, S], True where a query may look; None: see is_causal
    is_causal: bool
    cache: Any  # of transformers; None: none
    dtype: torch.dtype  # of matrix products


def widen(x):
    """At least float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class DualPathRMSNorm(nn.Module):
    """RMSNorm in float32; a weight [K, size] has a row for each iteration of the deep path."""

    def __init__(self, shape, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(shape))
        self.eps = eps

    def forward(self, x, iteration=0):
        x = widen(x)
        weight = self.weight[iteration] if self.weight.dim() == 2 else self.weight
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * weight


class InputMajorLinear(nn.Module):
    """y = x W, with W [in, out]: as `dualpath` stores output and down projections."""

    def __init__(self, in_features, out_features):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(in_features, out_features))

    def forward(self, x):
        return x @ self.weight


class DualPathAttention(nn.Module):
    """Causal attention of the normed input: Attn(RMSNorm(x))."""

    def __init__(self, config, norm_shape):
        super().__init__()
        self.head_dim = config.head_dim
        self.groups = config.num_attention_heads // config.num_key_value_heads
        self.qk_norm = config.qk_norm
        size, width = config.hidden_size, config.num_attention_heads * config.head_dim
        kv_width = config.num_key_value_heads * config.head_dim
        self.norm = DualPathRMSNorm(norm_shape, config.rms_norm_eps)
        self.query = nn.Linear(size, width, bias=False)
        self.key = nn.Linear(size, kv_width, bias=False)
        self.value = nn.Linear(size, kv_width, bias=False)
        if config.qk_norm != "none":
            self.query_norm = DualPathRMSNorm((config.head_dim,), config.rms_norm_eps)
            self.key_norm = DualPathRMSNorm((config.head_dim,), config.rms_norm_eps)
        self.output = InputMajorLinear(width, size)

    def split_heads(self, x):
        """[B, T, heads·E] -> [B, heads, T, E]"""
        return x.view(*x.shape[:-1], -1, self.head_dim).transpose(1, 2)

    def place(self, x, norm, context):
        """Rotary positions and the per-head norm, in the order that the option gives."""
        x = widen(x)
        if self.qk_norm == "before_rope":
            x = norm(x)
        first, second = x.chunk(2, dim=-1)
        x = torch.cat(
            [first * context.cos - second * context.sin, second * context.cos + first * context.sin],
            dim=-1,
        )
        if self.qk_norm == "after_rope":
            x = norm(x)
        return x.to(context.dtype)

    def forward(self, x, context, slot, iteration=0):
        """slot: of the cache. Returns [B, T, D]."""
        normed = self.norm(x, iteration).to(context.dtype)
        q, k, v = (self.split_heads(f(normed)) for f in (self.query, self.key, self.value))
        q = self.place(q, getattr(self, "query_norm", None), context)
        k = self.place(k, getattr(self, "key_norm", None), context)
        if context.cache is not None:
            k, v = context.cache.update(k, v, slot)
        if self.groups > 1:
            k = k.repeat_interleave(self.groups, dim=1)
            v = v.repeat_interleave(self.groups, dim=1)
        out = F.scaled_dot_product_attention(
            q, k, v, attn_mask=context.mask, is_causal=context.is_causal
        )
        return self.output(out.transpose(1, 2).flatten(2))


class DualPathFeedForward(nn.Module):
    """SwiGLU of the normed input: down(silu(gate(x))·up(x)), x = RMSNorm(u)."""

    def __init__(self, config, intermediate_size, norm_shape):
        super().__init__()
        self.norm = DualPathRMSNorm(norm_shape, config.rms_norm_eps)
        self.gate = nn.Linear(config.hidden_size, intermediate_size, bias=False)
        self.up = nn.Linear(config.hidden_size, intermediate_size, bias=False)
        self.down = InputMajorLinear(intermediate_size, config.hidden_size)

    def forward(self, u, dtype, iteration=0):
        normed = self.norm(u, iteration).to(dtype)
        return self.down(F.silu(self.gate(normed)) * self.up(normed))


class DualPathPath(nn.Module):
    """The weights of one path. Any of its parts may be absent: with shared attention the paths have
    no attention of their own, and what is shared has nothing else; standard layers have no gain."""

    def __init__(self, config, norm_shape, intermediate_size=0, attention=True, num_gains=0):
        super().__init__()
        if attention:
            self.attention = DualPathAttention(config, norm_shape)
        if intermediate_size > 0:
            self.ffn = DualPathFeedForward(config, intermediate_size, norm_shape)
        if num_gains > 0:
            self.gain = nn.Parameter(torch.empty(num_gains))

    def scale(self, iteration):
        """The residual scale softplus(gain) of an iteration; 1 where there is no gain."""
        return F.softplus(widen(self.gain[iteration])) if hasattr(self, "gain") else 1.0

    def apply_to(self, x, attended, dtype, iteration=0):
        """u = x + s·attended, u + s·FFN(RMSNorm(u))"""
        scale = self.scale(iteration)
        u = x + scale * attended
        return u + scale * self.ffn(u, dtype, iteration)


class DualPathRouter(nn.Module):
    """Weights of a mixture of the K states of the deep path."""

    def __init__(self, config):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(config.hidden_size + 1))
        self.bias = nn.Parameter(torch.empty(1))

    def forward(self, states):
        """[B, T, D] each -> h_deep = Σ_{k<K} π_k q_k h_k + π_K h_K, π_k = Π_{j<k} (1 − q_j)"""
        weight, bias = widen(self.weight), widen(self.bias)
        remaining, mixed = 1.0, 0.0
        for k, h in enumerate(states[:-1]):
            step = weight[-1] * (k / max(1, len(states) - 1))
            q = torch.sigmoid((h * weight[:-1]).sum(-1, keepdim=True) + step + bias)
            mixed = mixed + remaining * q * h
            remaining = remaining * (1 - q)
        return mixed + remaining * states[-1]


class DualPathGates(nn.Module):
    """The two gates of a layer, read from its input."""

    def __init__(self, config):
        super().__init__()
        self.mode = config.gate_mode
        num_gates = 1 if config.gate_mode == "convex" else 2
        self.weight = nn.Parameter(torch.empty(num_gates, config.hidden_size))
        self.bias = nn.Parameter(torch.empty(num_gates))

    def forward(self, x):
        """[B, T, D] -> (g_deep, g_wide), each [B, T, 1]"""
        logits = F.linear(x, widen(self.weight), widen(self.bias))
        if self.mode == "convex":
            g_deep = torch.sigmoid(logits)
            return g_deep, 1 - g_deep
        gates = torch.softmax(logits, dim=-1) if self.mode == "softmax" else torch.sigmoid(logits)
        return gates[..., :1], gates[..., 1:]


class DualPathLayer(nn.Module):
    """A layer of any architecture. first_slot: of its attentions in the cache."""

    def __init__(self, config, layer, first_slot):
        super().__init__()
        self.config = config
        self.architecture = config.layer_architectures[layer]
        self.first_slot = first_slot
        size, iterations = config.hidden_size, config.deep_iterations
        deep_norm = (iterations, size) if config.deep_iteration_norm else (size,)
        is_dual = self.architecture == "dual_path"
        self.is_shared = is_dual and config.shared_attention
        if self.architecture == "standard":
            self.standard = DualPathPath(config, (size,), config.wide_intermediate_size)
        if self.is_shared:
            self.shared = DualPathPath(config, deep_norm)
        if is_dual or self.architecture == "looped":
            self.deep = DualPathPath(
                config, deep_norm, config.deep_intermediate_size, not self.is_shared, iterations
            )
            if config.deep_combine == "mixture":
                self.router = DualPathRouter(config)
        if is_dual or self.architecture == "wide":
            self.wide = DualPathPath(
                config, (size,), config.wide_intermediate_size, not self.is_shared, 1
            )
        if is_dual and config.gate_mode != "fixed":
            self.gates = DualPathGates(config)

    def deep_path(self, x, context):
        """h_deep, and the attention's output of iteration 1."""
        attention = (self.shared if self.is_shared else self.deep).attention
        states, h, first = [], x, None
        for k in range(self.config.deep_iterations):
            if k > 0 and self.config.deep_input_injection:
                h = h + x
            attended = attention(h, context, self.first_slot + k, k)
            first = attended if first is None else first
            h = self.deep.apply_to(h, attended, context.dtype, k)
            states.append(h)
        if self.config.deep_combine == "final":
            return states[-1], first
        if self.config.deep_combine == "mean":
            return sum(states) / len(states), first
        return self.router(states), first

    def wide_path(self, x, context, attended=None):
        if attended is None:
            slot = self.first_slot + (
                self.config.deep_iterations if self.architecture == "dual_path" else 0
            )
            attended = self.wide.attention(x, context, slot)
        return self.wide.apply_to(x, attended, context.dtype)

    def forward(self, x, context):
        if self.architecture == "standard":
            attended = self.standard.attention(x, context, self.first_slot)
            return self.standard.apply_to(x, attended, context.dtype)
        if self.architecture == "looped":
            return self.deep_path(x, context)[0]
        if self.architecture == "wide":
            return self.wide_path(x, context)
        h_deep, attended = self.deep_path(x, context)
        h_wide = self.wide_path(x, context, attended if self.is_shared else None)
        g_deep, g_wide = (0.5, 0.5) if self.config.gate_mode == "fixed" else self.gates(x)
        if self.config.gate_target == "updates":
            return x + g_deep * (h_deep - x) + g_wide * (h_wide - x)
        return g_deep * h_deep + g_wide * h_wide


class DualPathPreTrainedModel(PreTrainedModel):
    config_class = DualPathConfig
    base_model_prefix = "model"
    _no_split_modules = ["DualPathLayer"]
    _supports_cache_class = True
    _supports_sdpa = True
    supports_gradient_checkpointing = False

    def post_init(self):
        """All but the matrices stays float32; the names must be of parts that the model has."""
        small = ("norm", "query_norm", "key_norm", "final_norm", "router", "gates", "gain")
        names = {part for name, _ in self.named_parameters() for part in name.split(".")}
        self._keep_in_fp32_modules = [part for part in small if part in names]
        self._keep_in_fp32_modules_strict = list(self._keep_in_fp32_modules)
        super().post_init()

    @torch.no_grad()
    def _init_weights(self, module):
        std = self.config.initializer_range
        if isinstance(module, (nn.Linear, nn.Embedding)):
            module.weight.normal_(0, std)
        elif isinstance(module, InputMajorLinear):
            module.weight.normal_(0, std / (2 * self.config.num_hidden_layers) ** 0.5)
        elif isinstance(module, DualPathRMSNorm):
            module.weight.fill_(1.0)
        elif isinstance(module, DualPathRouter):
            bound = module.weight.numel() ** -0.5
            module.weight.uniform_(-bound, bound)
            module.bias.fill_(self.config.router_bias_init)
        elif isinstance(module, DualPathGates):
            module.weight.zero_()
            module.bias.zero_()
        elif isinstance(module, DualPathLayer):
            for name in ("deep", "wide"):
                if hasattr(module, name):
                    getattr(module, name).gain.fill_(getattr(self.config, f"{name}_gain_init"))


class DualPathModel(DualPathPreTrainedModel):
    """Embedding, layers and the final norm."""

    def __init__(self, config):
        super().__init__(config)
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        counts = [config.num_attentions(layer) for layer in range(config.num_hidden_layers)]
        self.num_slots = sum(counts)
        self.layers = nn.ModuleList(
            DualPathLayer(config, layer, sum(counts[:layer])) for layer in range(len(counts))
        )
        self.final_norm = DualPathRMSNorm((config.hidden_size,), config.rms_norm_eps)
        self.post_init()

    def get_input_embeddings(self):
        return self.embedding

    def set_input_embeddings(self, value):
        self.embedding = value

    def prepare_cache(self, cache):
        """A cache that has an entry for every attention. Those that transformers makes have one a
        layer; a deep path needs one an iteration."""
        if cache is None:
            cache = DynamicCache()
        layers = getattr(cache, "layers", None)
        while layers and len(layers) < self.num_slots:
            layers.append(type(layers[0])())
        return cache

    def rotary_angles(self, position_ids):
        """cos and sin [B, 1, T, head_dim/2] of positions [B, T]."""
        device = position_ids.device
        precise = torch.float32 if device.type == "mps" else torch.float64
        even = torch.arange(0, self.config.head_dim, 2, dtype=precise, device=device)
        frequencies = self.config.rope_theta ** (-even / self.config.head_dim)
        angles = position_ids[:, None, :, None].to(precise) * frequencies
        dtype = torch.promote_types(self.embedding.weight.dtype, torch.float32)
        return angles.cos().to(dtype), angles.sin().to(dtype)

    def attention_context(self, x, attention_mask, position_ids, cache):
        batch, length = x.shape[:2]
        past = cache.get_seq_length() if cache is not None else 0
        total = past + length
        is_padded = attention_mask is not None and not bool(attention_mask.all())
        if position_ids is None and is_padded:
            position_ids = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)[:, -length:]
        elif position_ids is None:
            position_ids = torch.arange(past, total, device=x.device)[None]
        mask = None
        if is_padded or (past > 0 and length > 1):
            own = torch.arange(past, total, device=x.device)[:, None]
            keys = torch.arange(total, device=x.device)[None]
            mask = (keys <= own)[None, None]
            if is_padded:
                # A padded query looks at itself, lest it have nothing to look at.
                mask = mask & attention_mask[:, None, None, :total].bool() | (keys == own)[None, None]
        cos, sin = self.rotary_angles(position_ids)
        return AttentionContext(
            cos=cos,
            sin=sin,
            mask=mask,
            is_causal=mask is None and length > 1,
            cache=cache,
            dtype=self.embedding.weight.dtype,
        )

    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        position_ids=None,
        past_key_values=None,
        inputs_embeds=None,
        use_cache=None,
        output_hidden_states=None,
        return_dict=None,
        cache=None,
        **kwargs,
    ):
        """attention_mask [B, tokens so far and these], 0: padding. cache: another name of
        past_key_values."""
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give input_ids or inputs_embeds, and not both")
        use_cache = self.config.use_cache if use_cache is None else use_cache
        cache = past_key_values if cache is None else cache
        cache = self.prepare_cache(cache) if use_cache else None
        x = widen(self.embedding(input_ids) if inputs_embeds is None else inputs_embeds)
        context = self.attention_context(x, attention_mask, position_ids, cache)
        hidden_states = [x]
        for layer in self.layers:
            x = layer(x, context)
            hidden_states.append(x)
        x = self.final_norm(x)
        hidden_states[-1] = x
        output = BaseModelOutputWithPast(
            last_hidden_state=x,
            hidden_states=tuple(hidden_states) if output_hidden_states else None,
            **{CACHE_FIELD: cache},
        )
        return output if return_dict is None or return_dict else output.to_tuple()


class DualPathForCausalLM(DualPathPreTrainedModel, GenerationMixin):
    """The model with its head. With tied embeddings the head is the embedding: there is no lm_head."""

    def __init__(self, config):
        super().__init__(config)
        self.model = DualPathModel(config)
        if not config.tie_word_embeddings:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self):
        return self.model.embedding

    def set_input_embeddings(self, value):
        self.model.embedding = value

    def get_output_embeddings(self):
        return getattr(self, "lm_head", None)

    def set_output_embeddings(self, value):
        self.lm_head = value

    def get_decoder(self):
        return self.model

    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        position_ids=None,
        past_key_values=None,
        inputs_embeds=None,
        labels=None,
        use_cache=None,
        output_hidden_states=None,
        return_dict=None,
        logits_to_keep=0,
        cache=None,
        **kwargs,
    ):
        """labels [B, T]: input_ids again; the loss shifts them, −100 is passed over. logits_to_keep:
        of how many last tokens to compute the logits; 0: all."""
        output = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            cache=cache,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            output_hidden_states=output_hidden_states,
        )
        head = self.model.embedding if self.config.tie_word_embeddings else self.lm_head
        kept = output.last_hidden_state[:, -logits_to_keep:] if logits_to_keep else output[0]
        logits = widen(F.linear(kept.to(head.weight.dtype), head.weight))
        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, self.config.vocab_size, **kwargs)
        result = CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            hidden_states=output.hidden_states,
            **{CACHE_FIELD: getattr(output, CACHE_FIELD)},
        )
        return result if return_dict is None or return_dict else result.to_tuple()
