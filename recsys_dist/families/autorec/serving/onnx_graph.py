"""A user-AutoRec as two ONNX graphs: ratings to hidden state and bias, these to ratings of all items.

The formulas are those of families/autorec/network/network.py, on dense rows; users with few ratings are shrunk as
in short_rows.py.

B users, I items, H units of the last hidden layer
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from recsys_dist.errors import ConfigError
from recsys_dist.families.autorec.network.encoder import RowEncoder
from recsys_dist.families.autorec.serving.facts import EncodeFoldIn
from recsys_dist.families.bilinear.scorer import BilinearForm
from recsys_dist.protocols.portable import OnnxNetwork

OPSET, IR_VERSION = 17, 8
"""Of 2022: every runtime since then reads them."""
MOST_BYTES = 1 << 31
"""A protobuf message is smaller."""
TINY = 1e-12
ACTIVATIONS = {"identity": "Identity", "sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "Relu", "elu": "Elu"}


def onnx_network(
    spec: EncodeFoldIn, encoder: RowEncoder, form: BilinearForm, low: float, high: float
) -> OnnxNetwork:
    """The encoder and the decoder; predictions are clipped to low .. high.

    Raises `ConfigError` if a graph does not fit into a file.
    """
    return OnnxNetwork(_encoder(spec, encoder, form), _decoder(form, low, high))


@dataclass
class _Graph:
    """Nodes and constants of a graph that grows from its inputs."""

    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def constant(self, value: torch.Tensor | np.ndarray | float) -> str:
        """A constant, float32 unless it is an array of another type."""
        array: Any = value.float().cpu().numpy() if isinstance(value, torch.Tensor) else value
        array = array if isinstance(array, np.ndarray) else np.array(array, np.float32)
        name = f"constant_{len(self.constants)}"
        # A single number keeps its empty shape.
        self.constants.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def add(self, operator: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        """A node; returns the name of its output."""
        output = name or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def row_sums(self, values: str) -> str:
        """Sums over the items: [B, 1]"""
        return self.add("ReduceSum", values, self.constant(np.array([1])), keepdims=1)

    def model(self, name: str, inputs: Sequence[Any], outputs: Sequence[Any]) -> Any:
        """The whole graph as a model, checked."""
        size = sum(len(one.raw_data) for one in self.constants)
        if size >= MOST_BYTES - (1 << 20):
            raise ConfigError(f"an ONNX file holds less than 2 GiB, but the {name} has {size / 2**30:.1f} GiB")
        graph = helper.make_graph(self.nodes, name, inputs, outputs, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        onnx.checker.check_model(model)
        return model


def _encoder(spec: EncodeFoldIn, encoder: RowEncoder, form: BilinearForm) -> Any:
    graph, num_items = _Graph(), len(encoder.encoder_CH)
    # What stands where nothing is rated may be anything, NaN too.
    rating = graph.add("Where", "is_rated", "rating", graph.constant(0.0))
    mask = graph.add("Cast", "is_rated", to=TensorProto.FLOAT)
    count = graph.row_sums(mask)
    column = graph.constant(encoder.baseline.column_bias_C + spec.mean)
    left = graph.add("Mul", graph.add("Sub", rating, column), mask)
    # a_r = sum of (r - mean - b_c) / (n_r + row_shrinkage)
    total = graph.add("Max", graph.add("Add", count, graph.constant(spec.row_shrinkage)), graph.constant(TINY))
    bias = graph.add("Div", graph.row_sums(left), total)
    entered = graph.add(
        "MatMul", _inputs(graph, spec, rating, left, bias, mask, count), graph.constant(encoder.encoder_CH)
    )
    hidden = _activated(graph, spec, graph.add("Add", entered, graph.constant(encoder.hidden_bias_H)))
    for layer in encoder.layers:
        weighted = graph.add("MatMul", hidden, graph.constant(layer.weight.T))
        hidden = _activated(graph, spec, graph.add("Add", weighted, graph.constant(layer.bias)))
    share, average = _share(graph, spec, count), form.average_user
    _between(graph, average.vector_BK, hidden, share, "vector")
    _between(graph, average.bias_B, bias, share, "bias_column")
    graph.add("Squeeze", "bias_column", graph.constant(np.array([1])), name="bias")
    return graph.model(
        "encoder",
        [_value("rating", ["users", num_items]), _value("is_rated", ["users", num_items], TensorProto.BOOL)],
        [_value("vector", ["users", form.items.width]), _value("bias", ["users"])],
    )


def _inputs(graph: _Graph, spec: EncodeFoldIn, rating: str, left: str, bias: str, mask: str, count: str) -> str:
    """x_r: centred ratings in units of the scale, 0 where nothing is rated: [B, I]"""
    base = left if spec.centring == "biases" else graph.add("Sub", rating, graph.constant(spec.mean))
    centred = graph.add("Sub", base, bias) if spec.centring == "biases" else base
    scaled = graph.add("Div", centred, graph.constant(spec.scale))
    inputs = graph.add("Mul", graph.add("Add", scaled, graph.constant(spec.implicit_input)), mask)
    if not spec.length_normalization:
        return inputs
    ratio = graph.add("Div", graph.constant(spec.mean_length), graph.add("Max", count, graph.constant(1.0)))
    return graph.add("Mul", inputs, graph.add("Pow", ratio, graph.constant(spec.length_normalization)))


def _activated(graph: _Graph, spec: EncodeFoldIn, values: str) -> str:
    return graph.add(ACTIVATIONS[spec.hidden_activation], values)


def _share(graph: _Graph, spec: EncodeFoldIn, count: str) -> str:
    """share(n) = n / (n + pull) . (length + pull) / length below the length, else 1; 0 for n = 0: [B, 1]"""
    if not spec.short_length:
        return graph.add("Min", count, graph.constant(1.0))
    pulled = graph.add("Max", graph.add("Add", count, graph.constant(spec.short_pull)), graph.constant(TINY))
    scale = graph.constant((spec.short_length + spec.short_pull) / spec.short_length)
    short = graph.add("Mul", graph.add("Div", count, pulled), scale)
    is_long = graph.add("GreaterOrEqual", count, graph.constant(spec.short_length))
    return graph.add("Where", is_long, graph.constant(1.0), short)


def _between(graph: _Graph, average: torch.Tensor, encoded: str, share: str, name: str) -> None:
    """average + share (encoded - average)"""
    start = graph.constant(average)
    graph.add("Add", start, graph.add("Mul", share, graph.add("Sub", encoded, start)), name=name)


def _decoder(form: BilinearForm, low: float, high: float) -> Any:
    """f(offset + bias + item bias + vector . item vector), clipped."""
    graph, factorization = _Graph(), form.factorization
    items = form.item_vectors
    score = graph.add("MatMul", "vector", graph.constant(items.vector_IK.T))
    score = graph.add("Add", score, graph.constant(items.bias_I + form.offset))
    score = graph.add("Add", score, graph.add("Unsqueeze", "bias", graph.constant(np.array([1]))))
    if (link := factorization.link) is not None:
        moved = graph.add(
            "Add", graph.add("Mul", score, graph.constant(link.slope)), graph.constant(link.intercept)
        )
        scaled = graph.add("Mul", graph.add("Sigmoid", moved), graph.constant(link.width))
        score = graph.add("Add", scaled, graph.constant(link.low))
    graph.add("Clip", score, graph.constant(low), graph.constant(high), name="rating")
    return graph.model(
        "decoder",
        [_value("vector", ["users", form.items.width]), _value("bias", ["users"])],
        [_value("rating", ["users", len(items.bias_I)])],
    )


def _value(name: str, shape: list[str | int], kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)
