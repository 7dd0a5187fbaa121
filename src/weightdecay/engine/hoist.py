"""Splits a traced step in two: arithmetic on numbers, done once and eagerly, and the program on tensors, compiled."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node


def hoist(traced: GraphModule, tensors: int) -> Callable[[list[Tensor], list[Tensor]], Any]:
    """Return the traced function of (tensors, numbers), its second part compiled.

    The compiler would put 1 − β₂ᵗ into the loop over the elements, in float64, once an element. What depends on the
    numbers alone is therefore taken out of the graph, equal expressions only once, and enters it as an input in the
    precision of its consumers. ``tensors`` is the number of inputs that are tensors; the rest are 0-d.
    """
    prologue, body = Graph(), Graph()
    small: dict[Node, Node] = {}  # traced node → its place in the prologue
    large: dict[Node, Node] = {}  # traced node → its place in the body
    equal: dict[Any, Node] = {}  # expression → its place in the prologue
    entering: dict[tuple[Node, torch.dtype], Node] = {}  # (place in the prologue, type) → input of the body
    outputs: list[Node] = []  # of the prologue: the inputs of the body

    def enter(node: Node, consumer: Node) -> Node:
        value, wanted = node.meta["val"], consumer.meta.get("val")
        dtype = value.dtype
        if isinstance(wanted, Tensor) and wanted.is_floating_point() and dtype == torch.float64:
            dtype = wanted.dtype
        key = (small[node], dtype)
        if key not in entering:
            source = small[node]
            if dtype != value.dtype:
                source = prologue.call_function(torch.ops.aten._to_copy.default, (source,), {"dtype": dtype})
            outputs.append(source)
            entering[key] = body.placeholder(f"number_{len(outputs)}")
        return entering[key]

    def bring(node: Node, consumer: Node) -> Node:
        return large[node] if node in large else enter(node, consumer)

    def place(node: Node) -> Node:
        return small[node]

    placeholders = [node for node in traced.graph.nodes if node.op == "placeholder"]
    for position, node in enumerate(placeholders):
        if position < tensors:
            large[node] = body.node_copy(node)
        else:
            small[node] = prologue.node_copy(node)
    result: Any = None
    in_prologue = False
    for node in traced.graph.nodes:
        if node.op == "placeholder":
            continue
        if node.op == "output":
            result = node.args[0][0] if isinstance(node.args[0], (list, tuple)) else node.args[0]
            in_prologue = isinstance(result, Node) and result in small
            continue
        if all(source in small for source in node.all_input_nodes) and node.op in ("call_function", "get_attr"):
            copied = [torch.fx.node.map_arg(x, place) for x in (node.args, node.kwargs)]
            expression = (node.op, node.target, repr(copied))
            if expression not in equal:
                equal[expression] = prologue.node_copy(node, place)
            small[node] = equal[expression]
        else:
            large[node] = body.node_copy(node, partial(bring, consumer=node))
    returned = large.get(result) if isinstance(result, Node) else None
    prologue.output((tuple(outputs), small[result] if in_prologue else None))
    body.output((returned,))
    _inputs_first(body)
    numbers_of = GraphModule(traced, prologue)
    program = torch.compile(
        GraphModule(traced, body),
        fullgraph=True,
        dynamic=False,
        options={"guard_filter_fn": lambda guards: [False] * len(guards)},  # our key says when it fits
    )
    constant = None if isinstance(result, Node) else result

    def run(big: list[Tensor], numbers: list[Tensor]) -> Any:
        inputs, known = numbers_of(*numbers)
        (computed,) = program(*big, *inputs)
        return known if in_prologue else constant if returned is None else computed

    return run


def _inputs_first(graph: Graph) -> None:
    """Move the placeholders to the front, in their order."""
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    for node in reversed(inputs):
        graph._root.append(node)
