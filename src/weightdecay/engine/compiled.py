"""The step as one program of torch.compile, traced from the boxes of ``optim``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode

from weightdecay.decay import Number
from weightdecay.engine.base import refuse
from weightdecay.engine.buckets import Bucket, where
from weightdecay.engine.foreach import Foreach, by_element, elementwise
from weightdecay.engine.mean_square import Facts
from weightdecay.optim import scalars
from weightdecay.optim.base import Optimizer
from weightdecay.optim.member import START, Member
from weightdecay.optim.reference import apply_update, largest, update_moments
from weightdecay.optim.sharding import piece

Program = Callable[[list[Tensor], list[Tensor]], Any]
INPUTS = ("step", "lr", "weight_decay", "beta")
"""The numbers of a bucket that are inputs of its graph. The others are built in, and a new value is a new graph."""
VARYING = ("lr", "weight_decay", "params", "betas", "decay", "initial_lr", "max_lr", "min_lr", "max_momentum")
GRAPHS = 32
"""The most graphs that one optimizer builds; then foreach takes the steps that have none."""


class Compiled(Foreach):
    """Moves all tensors in one compiled graph, each element read and written once.

    lr, λ, β₁, the step count, v̄ and the clipping coefficient are inputs of the graph; arithmetic on them alone runs
    before it. A graph is built (seconds) for a set of tensors with gradients, their shapes and the other
    hyper-parameters; a set that was seen before finds its graph again. Foreach takes a tensor's first step, and all
    steps of a decay that reads the norms of sharded tensors: a graph holds no all-reduce.
    """

    name = "compiled"

    def __init__(self, optimizer: Optimizer) -> None:
        super().__init__(optimizer)
        self.programs: dict[Any, Program] = {}
        if any(p.device.type == "cpu" for group in optimizer.param_groups for p in group["params"]):
            require_compiler()

    def advance(self, optimizer: Optimizer, buckets: Sequence[Bucket], facts: Facts) -> None:
        """Run the program of these tensors."""
        masked = isinstance(facts.ok, Tensor)
        ready = [bucket for bucket in buckets if not self.plan.is_fresh(bucket) and not bucket.reduces]
        program = self._program(optimizer, "move", ready, masked) if ready else None
        if program is not None:
            numbers = [facts.scale, facts.mean_square, *([facts.ok] if masked else [])]
            pulls = program(tensors_of(ready, optimizer), numbers_of(ready, numbers))
            for bucket, pull in zip(ready, pulls, strict=True):
                bucket.pull = scalars.host_number(pull)
        done = set(map(id, ready)) if program is not None else set()
        super().advance(optimizer, [bucket for bucket in buckets if id(bucket) not in done], facts)

    def sees_in_place(self, optimizer: Optimizer, buckets: Sequence[Bucket]) -> bool:
        """Never: a compiled look at copies writes none."""
        return False

    def look_ahead(self, optimizer: Optimizer, buckets: Sequence[Bucket]) -> Callable[[Number], Tensor | None]:
        """Return a function of the gradients' scale: Σ v̂ as it will be after this step, from a program of its own."""
        by_lists = super().look_ahead(optimizer, buckets)

        def look(scale: Number) -> Tensor | None:
            if not buckets or any(self.plan.is_fresh(b) or not b.slots for b in buckets):
                return by_lists(scale)
            counted = [bucket for bucket in buckets if bucket.group.averages]
            for bucket in counted:
                bucket.state = {"step": bucket.count + 1}
            program = self._program(optimizer, "look", counted, masked=False)
            if program is None:
                return by_lists(scale)
            (total,) = program(tensors_of(counted, optimizer), numbers_of(counted, [scale, math.nan]))
            return total  # type: ignore[no-any-return]

        return look

    def _program(self, optimizer: Optimizer, what: str, buckets: Sequence[Bucket], masked: bool) -> Program | None:
        scales = optimizer.max_grad_norm is not None or getattr(optimizer, "grad_scale", None) is not None
        key = (what, scales, masked, optimizer.rounding, optimizer.seed, *(signature(b, optimizer) for b in buckets))
        if key not in self.programs:
            if len(self.programs) >= GRAPHS:
                return None
            body, first = move if what == "move" else look_at, len(INPUTS) * len(buckets)
            traced = make_fx(
                lambda tensors, numbers: body(
                    optimizer,
                    rebuild(buckets, optimizer, tensors, numbers),
                    numbers[first:],
                    scales,
                ),
                tracing_mode="fake",
            )
            extra = [math.nan, math.nan, *([torch.tensor(True, device=buckets[0].counts.device)] if masked else [])]
            tensors, numbers = tensors_of(buckets, optimizer), numbers_of(buckets, extra)
            with NumbersAsTensors():
                graph = traced(tensors, numbers)
            self.programs[key] = hoist(graph, len(tensors))
        return self.programs[key]


Rebuilt = list[list[tuple[Member, int]]]
"""The members of every bucket, each with the number of its copies."""


def move(optimizer: Optimizer, buckets: Rebuilt, numbers: list[Tensor], scales: bool) -> list[Any]:
    """What is traced: the reference's step of each member. Return the largest pull of each bucket."""
    scale, mean_square, *ok = numbers
    largest_of = []
    for members in buckets:
        pulls = []
        for m, _ in members:
            target = m.weight
            m.load_state(m.state["step"], optimizer.state_names)
            if ok:
                m.weight = target.clone()
                m.state = {name: value if name == "step" else value.clone() for name, value in m.state.items()}
            update_moments(optimizer, m, scale if scales else 1.0)
            pulls.append(apply_update(optimizer, m, mean_square))
            if ok:
                target.copy_(where(ok[0], m.weight, target))
                for name in (name for name in m.memory if name != START):
                    m.state[name] = where(ok[0], m.state[name], m.slot(name).to(m.dtype))
            m.store_state(optimizer.moments, optimizer.seed)
        # Not one maximum after the other: equal pulls are then one.
        tensors = [pull for pull in pulls if isinstance(pull, Tensor)]
        largest_of.append(largest(torch.stack(tensors)) if tensors else max(pulls, default=0.0))
    return largest_of


def look_at(optimizer: Optimizer, buckets: Rebuilt, numbers: list[Tensor], scales: bool) -> list[Any]:
    """What is traced: Σ v̂ of all members after their gradients are seen, on copies."""
    totals = []
    for m, copies in (row for members in buckets for row in members):
        m.load_state(m.state["step"], optimizer.state_names)
        m.state = {name: value if name == "step" else value.clone() for name, value in m.state.items()}
        update_moments(optimizer, m, numbers[0] if scales else 1.0)
        totals.append(optimizer.second_moment(m.state, m.group).sum().double() / copies)
    return [torch.stack(totals).sum()]


def signature(bucket: Bucket, optimizer: Optimizer) -> Any:
    """Return all that a graph has built in: which tensors, their layout, and every number that is not an input."""
    group = bucket.group
    fixed = tuple((name, value) for name, value in group.items() if name not in VARYING and isinstance(value, FIXED))
    weights, grads = bucket.weight.tensors, bucket.grads
    layout = tuple(
        (i, w.shape, w.stride(), g.stride(), g.dtype) for i, w, g in zip(bucket.indices, weights, grads, strict=True)
    )
    betas = group["betas"][1:] if "betas" in group else ()
    held = tuple(name for name in optimizer.state_names if name in bucket.memory)
    decay = (id(type(group["decay"])), repr(group["decay"]), group.acts)
    return (layout, held, fixed, betas, decay, bucket.weight.dtype, bucket.counts.device)


FIXED = (int, float, bool, str, tuple, torch.dtype)


def tensors_of(buckets: Sequence[Bucket], optimizer: Optimizer) -> list[Tensor]:
    """Return weight, gradient and states of every member, as lines where all of them lie in memory as lines."""
    tensors: list[Tensor] = []
    for bucket in buckets:
        for memory, weight, grad in zip(bucket.memories, bucket.weight.tensors, bucket.grads, strict=True):
            own = [weight.detach(), grad, *(piece(memory[name]) for name in bucket.slots)]
            if weight.dim() != 1 and by_line(optimizer, bucket) and all(t.is_contiguous() for t in own):
                own = [t.view(-1) for t in own]
            tensors += own
    return tensors


def numbers_of(buckets: Sequence[Bucket], more: Sequence[Any]) -> list[Tensor]:
    """Return step, lr, λ and β₁ of each bucket, and the facts, as 0-d tensors; floats as float64."""
    numbers = [
        n
        for b in buckets
        for n in (b.state["step"], b.group["lr"], b.group["weight_decay"], b.group.get("betas", (0.0,))[0])
    ]
    return [
        n if isinstance(n, Tensor) else torch.tensor(n, dtype=torch.float64, device="cpu") for n in (*numbers, *more)
    ]


def rebuild(buckets: Sequence[Bucket], optimizer: Optimizer, tensors: list[Tensor], numbers: list[Tensor]) -> Rebuilt:
    """Return the members with traced tensors and numbers in the places of their own."""
    whole, rest = [], iter(tensors)
    for i, bucket in enumerate(buckets):
        step, lr, strength, beta = numbers[len(INPUTS) * i : len(INPUTS) * (i + 1)]
        group = bucket.group.other(lr=lr, weight_decay=strength if bucket.group.acts else 0.0)
        if "betas" in group:
            group["betas"] = (beta, *group["betas"][1:])
        members = []
        for index, param in zip(bucket.indices, bucket.params, strict=True):
            weight, grad = next(rest), next(rest)
            memory = {name: next(rest) for name in bucket.slots}
            m = Member(index, param, weight, grad, memory, group, bucket.place, {"step": step})
            members.append((m, bucket.copies))
        whole.append(members)
    return whole


def by_line(optimizer: Optimizer, bucket: Bucket) -> bool:
    """Whether neither the box nor the decay asks for the shape of a tensor."""
    return elementwise(type(optimizer.box(bucket.group))) and by_element(bucket.group)


class NumbersAsTensors(TorchFunctionMode):
    """While a step is traced, lets β₁ be a tensor in the two calls of a box that want a Python number."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function is Tensor.lerp_ and isinstance(args[2], Tensor) and not args[2].dim():
            start, end, weight = args
            return start.add_((end - start) * weight)
        if function is Tensor.addcmul_ and isinstance(value := kwargs.get("value"), Tensor):
            return args[0].add_(args[1] * args[2] * value)
        return function(*args, **kwargs)


def require_compiler() -> None:
    """Raise ValueError where there is no C++ compiler, now rather than in the first step."""
    from torch._inductor import cpp_builder, exc

    try:
        cpp_builder.get_cpp_compiler()
    except exc.InvalidCxxCompiler as error:
        raise refuse(
            "compiled", "weights on the CPU", "torch.compile finds no C++ compiler (set CXX to one)", "auto"
        ) from error


# ---------------------------------------------------------------- numbers before, tensors in the graph


def hoist(traced: GraphModule, tensors: int) -> Callable[[list[Tensor], list[Tensor]], Any]:
    """Return the traced function of (tensors, numbers), its second part compiled.

    The compiler would put 1 − β₂ᵗ into the loop over the elements, in float64, once per element. What depends on the
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
    results: list[Any] = []
    for node in traced.graph.nodes:
        if node.op == "placeholder":
            continue
        if node.op == "output":
            results = list(node.args[0])
            continue
        if all(source in small for source in node.all_input_nodes) and node.op in ("call_function", "get_attr"):
            copied = [torch.fx.node.map_arg(x, place) for x in (node.args, node.kwargs)]
            expression = (node.op, node.target, repr(copied))
            if expression not in equal:
                equal[expression] = prologue.node_copy(node, place)
            small[node] = equal[expression]
        else:
            large[node] = body.node_copy(node, partial(bring, consumer=node))
    known = [result if isinstance(result, Node) and result in small else None for result in results]
    computed = [result if isinstance(result, Node) and result in large else None for result in results]
    prologue.output((tuple(outputs), tuple(small[node] for node in known if node is not None)))
    body.output(tuple(large[node] for node in computed if node is not None))
    _inputs_first(body)
    numbers_first = GraphModule(traced, prologue)
    program = torch.compile(
        GraphModule(traced, body),
        fullgraph=True,
        dynamic=False,
        options={"guard_filter_fn": lambda guards: [False] * len(guards)},  # our key says when it fits
    )

    def run(big: list[Tensor], numbers: list[Tensor]) -> list[Any]:
        inputs, before = numbers_first(*numbers)
        first, second = iter(before), iter(program(*big, *inputs))
        return [
            next(first) if a is not None else next(second) if b is not None else constant
            for a, b, constant in zip(known, computed, results, strict=True)
        ]

    return run


def _inputs_first(graph: Graph) -> None:
    """Move the placeholders to the front, in their order."""
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    for node in reversed(inputs):
        graph._root.append(node)
