"""A dense Qwen as an OpenVINO graph: the stateful language model that openvino-genai turns into paged attention.

The contract is OpenVINO's for stateful models: parameters `input_ids`, `attention_mask`, `position_ids` ([batch, new])
and `beam_idx` ([batch]), result `logits` ([batch, new, vocab]), and per layer one variable for the keys and one for the
values ([batch, kv_heads, so far, head_dim]): read, gathered by `beam_idx`, extended by the new rows, assigned.
Where weights come from and how they are stored is the caller's: it hands in a function from a tensor's name to a node.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as op

from .architecture import DenseQwen

Node = Any
"""openvino.Node; the operations are decorated such that their types are lost."""
Weight = Callable[[str], Node]
"""Name of a tensor in the checkpoint → a node that yields it as f32."""


def _integers(*values: int) -> Node:
    return op.constant(np.array(values, np.int64))


def _dimension(node: Node, axis: int) -> Node:
    """The length of one axis of `node`, as a tensor of one element."""
    return op.gather(op.shape_of(node), _integers(axis), _integers(0))


class GraphBuilder:
    """Builds one model; a method per part of it. All activations are f32, batch first."""

    def __init__(self, model: DenseQwen, weight: Weight) -> None:
        self._model = model
        self._weight = weight
        self._inputs = {name: op.parameter([-1, -1], np.int64, name=name) for name in INPUTS}
        self._beam_idx = op.parameter([-1], np.int32, name="beam_idx")
        self._assigns: list[Node] = []

    def build(self) -> ov.Model:
        """The whole model, from ids to logits."""
        mask = self._mask()
        cos, sin = self._rotation()
        embedding = self._weight("model.embed_tokens.weight")
        hidden = op.gather(embedding, self._inputs["input_ids"], _integers(0))
        for index in range(self._model.layers):
            hidden = self._layer(index, hidden, mask, cos, sin)
        hidden = self._norm(hidden, "model.norm.weight")
        head = embedding if self._model.tied else self._weight("lm_head.weight")
        logits = op.result(op.matmul(hidden, head, False, True))
        parameters = [*self._inputs.values(), self._beam_idx]
        for parameter in parameters:
            parameter.output(0).get_tensor().set_names({parameter.get_friendly_name()})
        logits.output(0).get_tensor().set_names({"logits"})
        return ov.Model([logits], self._assigns, parameters, "qwen")

    def _mask(self) -> Node:
        """[batch, 1, new, total], true where a query may look: not at later keys, not at padding."""
        attention_mask = self._inputs["attention_mask"]
        total = op.squeeze(_dimension(attention_mask, 1), _integers(0))
        new = op.squeeze(_dimension(self._inputs["input_ids"], 1), _integers(0))
        zero, one = (op.constant(np.array(value, np.int64)) for value in (0, 1))
        keys = op.range(zero, total, one, "i64")
        queries = op.unsqueeze(op.range(op.subtract(total, new), total, one, "i64"), _integers(1))
        causal = op.less_equal(keys, queries)
        present = op.unsqueeze(op.convert(attention_mask, "boolean"), _integers(1, 2))
        return op.logical_and(causal, present)

    def _rotation(self) -> tuple[Node, Node]:
        """Cosine and sine of every position's angles, each [batch, 1, new, head_dim], halves repeated."""
        half = np.arange(0, self._model.head_dim, 2, dtype=np.float32) / np.float32(self._model.head_dim)
        frequencies = (1.0 / np.float32(self._model.rope_theta) ** half).astype(np.float32)
        positions = op.unsqueeze(op.convert(self._inputs["position_ids"], "f32"), _integers(1, 3))
        angles = op.matmul(positions, op.constant(frequencies.reshape(1, 1, 1, -1)), False, False)
        both = op.concat([angles, angles], -1)
        return op.cos(both), op.sin(both)

    def _layer(self, index: int, hidden: Node, mask: Node, cos: Node, sin: Node) -> Node:
        prefix = f"model.layers.{index}."
        attended = self._attention(index, self._norm(hidden, prefix + "input_layernorm.weight"), mask, cos, sin)
        hidden = op.add(hidden, attended)
        normed = self._norm(hidden, prefix + "post_attention_layernorm.weight")
        gate = op.swish(self._linear(normed, prefix + "mlp.gate_proj"))
        inner = op.multiply(gate, self._linear(normed, prefix + "mlp.up_proj"))
        return op.add(hidden, self._linear(inner, prefix + "mlp.down_proj"))

    def _attention(self, index: int, hidden: Node, mask: Node, cos: Node, sin: Node) -> Node:
        prefix = f"model.layers.{index}.self_attn."
        model = self._model
        query = self._heads(hidden, prefix + "q", model.heads, (cos, sin))
        key = self._heads(hidden, prefix + "k", model.kv_heads, (cos, sin))
        value = self._heads(hidden, prefix + "v", model.kv_heads, None)
        keys, values = self._remember(index, "key", key), self._remember(index, "value", value)
        attended = op.scaled_dot_product_attention(query, keys, values, mask, causal=False)
        rows = op.reshape(op.transpose(attended, _integers(0, 2, 1, 3)), _integers(0, 0, -1), True)
        return self._linear(rows, prefix + "o_proj", bias=model.output_bias)

    def _heads(self, hidden: Node, name: str, heads: int, rotation: tuple[Node, Node] | None) -> Node:
        """One projection as [batch, heads, new, head_dim]; normed and rotated when it is a query or a key."""
        model = self._model
        rows = self._linear(hidden, name + "_proj", bias=model.qkv_bias)
        split = op.reshape(rows, _integers(0, 0, heads, model.head_dim), True)
        if rotation is not None and model.qk_norm:
            split = self._norm(split, name + "_norm.weight")
        split = op.transpose(split, _integers(0, 2, 1, 3))
        if rotation is None:
            return split
        first, second = op.split(split, op.constant(np.array(-1, np.int64)), 2).outputs()
        turned = op.concat([op.negative(second), first], -1)
        return op.add(op.multiply(split, rotation[0]), op.multiply(turned, rotation[1]))

    def _remember(self, index: int, kind: str, new: Node) -> Node:
        """Appends the rows to the layer's variable; returns all rows so far, one head per query head."""
        model = self._model
        name = f"past_key_values.{index}.{kind}present.{index}.{kind}"
        batch = _dimension(self._inputs["input_ids"], 0)
        shape = op.concat([batch, _integers(model.kv_heads, 0, model.head_dim)], 0)
        empty = op.broadcast(op.constant(np.float32(0)), shape)
        past = op.read_value(empty, name, ov.Type.f32, [-1, model.kv_heads, -1, model.head_dim])
        rows = op.concat([op.gather(past, self._beam_idx, _integers(0)), new], -2)
        self._assigns.append(op.assign(rows, name))
        group = model.heads // model.kv_heads
        if group == 1:
            return rows
        total = _dimension(rows, 2)
        target = op.concat([batch, _integers(model.kv_heads, group), total, _integers(model.head_dim)], 0)
        repeated = op.broadcast(op.unsqueeze(rows, _integers(2)), target, broadcast_spec="BIDIRECTIONAL")
        return op.reshape(repeated, _integers(0, model.heads, -1, model.head_dim), True)

    def _linear(self, inputs: Node, name: str, *, bias: bool = False) -> Node:
        product = op.matmul(inputs, self._weight(name + ".weight"), False, True)
        return op.add(product, self._weight(name + ".bias")) if bias else product

    def _norm(self, inputs: Node, name: str) -> Node:
        """Root-mean-square norm over the last axis."""
        squares = op.power(inputs, op.constant(np.float32(2)))
        mean = op.reduce_mean(squares, _integers(-1), True)
        scale = op.divide(
            op.constant(np.float32(1)), op.sqrt(op.add(mean, op.constant(np.float32(self._model.norm_eps))))
        )
        return op.multiply(op.multiply(inputs, scale), self._weight(name))


INPUTS = ("input_ids", "attention_mask", "position_ids")
