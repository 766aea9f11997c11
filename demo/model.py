"""Qwen2's architecture in plain PyTorch, for training: whole sequences at once, no cache of keys and values.

Its parameters carry the names of a Hugging Face checkpoint, so that `state_dict` is what model.safetensors holds.
The embedding is also the output matrix (tied). Knows nothing of tokens, data and files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class ModelShape:
    """The sizes of the model, under their names in config.json."""

    vocab_size: int = 4032
    hidden_size: int = 256
    intermediate_size: int = 640
    num_hidden_layers: int = 6
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    max_position_embeddings: int = 2048
    rope_theta: float = 10000.0
    rms_norm_eps: float = 1e-6

    @property
    def head_size(self) -> int:
        return self.hidden_size // self.num_attention_heads

    def config(self) -> dict[str, Any]:
        """config.json of a bf16 checkpoint, all but the ids of its tokenizer."""
        fixed = {
            "architectures": ["Qwen2ForCausalLM"],
            "attention_dropout": 0.0,
            "hidden_act": "silu",
            "initializer_range": 0.02,
            "model_type": "qwen2",
            "tie_word_embeddings": True,
            "torch_dtype": "bfloat16",
            "use_cache": True,
            "use_sliding_window": False,
        }
        return dict(sorted({**fixed, **self.__dict__}.items()))


class Norm(nn.Module):
    """RMSNorm."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self._eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), self._eps)


class Attention(nn.Module):
    """Causal attention with grouped heads and rotary positions; biases on query, key and value, as Qwen2 has them."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        narrow = shape.num_key_value_heads * shape.head_size
        self.q_proj = nn.Linear(shape.hidden_size, shape.hidden_size)
        self.k_proj = nn.Linear(shape.hidden_size, narrow)
        self.v_proj = nn.Linear(shape.hidden_size, narrow)
        self.o_proj = nn.Linear(shape.hidden_size, shape.hidden_size, bias=False)
        self._head_size = shape.head_size
        self._groups = shape.num_attention_heads // shape.num_key_value_heads

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """x: [rows, length, hidden]."""
        rows, length, _ = x.shape
        q, k, v = (
            proj(x).view(rows, length, -1, self._head_size).transpose(1, 2)
            for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = _rotated(q, cos, sin), _rotated(k, cos, sin)
        k, v = (t.repeat_interleave(self._groups, dim=1) for t in (k, v))
        out = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(out.transpose(1, 2).reshape(rows, length, -1))


class FeedForward(nn.Module):
    """SwiGLU."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden_size, shape.intermediate_size, bias=False)
        self.up_proj = nn.Linear(shape.hidden_size, shape.intermediate_size, bias=False)
        self.down_proj = nn.Linear(shape.intermediate_size, shape.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    """One layer: attention, then feed-forward, each on the normed residual stream."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.input_layernorm = Norm(shape.hidden_size, shape.rms_norm_eps)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = Norm(shape.hidden_size, shape.rms_norm_eps)
        self.mlp = FeedForward(shape)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Body(nn.Module):
    """Everything but the output matrix."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocab_size, shape.hidden_size)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.num_hidden_layers))
        self.norm = Norm(shape.hidden_size, shape.rms_norm_eps)


class Qwen2(nn.Module):
    """The model. `forward` gives logits only where they are wanted: most positions of a prompt teach nothing."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.shape = shape
        self.model = Body(shape)
        depth = (2 * shape.num_hidden_layers) ** -0.5
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                nn.init.normal_(
                    parameter, std=0.02 * (depth if name.endswith(("o_proj.weight", "down_proj.weight")) else 1)
                )
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, token_ids: Tensor, positions: Tensor) -> Tensor:
        """token_ids: [rows, length]; positions: [n], indices into rows * length; the logits: [n, vocabulary]."""
        x = self.model.embed_tokens(token_ids)
        cos, sin = self._angles(token_ids.shape[1], x.device)
        for layer in self.model.layers:
            x = layer(x, cos, sin)
        wanted = self.model.norm(x.flatten(0, 1)[positions])
        return functional.linear(wanted, self.model.embed_tokens.weight.to(wanted.dtype))

    def _angles(self, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
        size = self.shape.head_size
        frequencies = self.shape.rope_theta ** (-torch.arange(0, size, 2, device=device).float() / size)
        angles = torch.outer(torch.arange(length, device=device).float(), frequencies).repeat(1, 2)
        return angles.cos(), angles.sin()


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions, the second half of each head against the first; in f32, since bf16 blurs far positions."""
    first, second = x.float().chunk(2, dim=-1)
    return (x.float() * cos + torch.cat((-second, first), dim=-1) * sin).to(x.dtype)
