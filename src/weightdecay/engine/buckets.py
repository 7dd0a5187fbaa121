"""Which tensors move as one, found once and kept as long as nothing has changed that it was found from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, compress
from operator import attrgetter, is_, itemgetter
from typing import Any

import torch
from torch import Tensor

from weightdecay.decay import Number
from weightdecay.engine.bundle import Bundle
from weightdecay.optim import scalars
from weightdecay.optim.base import Optimizer
from weightdecay.optim.member import START, Group, Member, SeenGroup, State, kept, member, start_of
from weightdecay.optim.parameters import WORKING
from weightdecay.optim.reference import gather, init_state
from weightdecay.optim.rounding import noise
from weightdecay.optim.sharding import is_cut, piece, whole_norms


@dataclass(slots=True)
class Bucket(Member):
    """Several tensors as one: of one group, type and device, that have lived through the same steps.

    Weight, gradient and every state are bundles, the step count is one number. The gradients lie in a list, of which
    :meth:`load_state` makes a bundle for a box: a kernel needs none.
    """

    weight: Any  # bundles, in the places of tensors
    grad: Any
    bare: bool = True  # whether the boxes see the parameters' own memory as it is: no DTensor, nothing complex
    grads: list[Tensor] = field(default_factory=list)  # downhill, in the working precision
    params: list[Tensor] = field(default_factory=list)
    memories: list[State] = field(default_factory=list)
    indices: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)  # among the tensors with a gradient
    slots: tuple[str, ...] = ()  # the states that these tensors have
    copies: int = 1  # how many processes hold each element
    host: bool = True  # whether its numbers can be read without waiting
    exact: bool = False  # whether every gradient has the type in which its weight is worked on
    crooked: bool = True  # whether some gradient may lie in memory in another order than its weight
    held: dict[str, list[Tensor]] = field(default_factory=dict)  # the states as the plan has found them in this step
    # t of every tensor, which ``state["step"]`` views
    counts: Tensor = field(default_factory=lambda: torch.empty(0, device="cpu"))
    written: list[Any] = field(default_factory=list)  # the version of the counts as the last step left them
    t: Number = 0.0  # the same as one number, where it can be read
    pull: Number = 0.0  # the largest of the step
    _parts: list[Bucket] = field(default_factory=list)
    _undivided: bool = False

    def take(self, grads: Sequence[Tensor]) -> None:
        """Take the gradients of this step."""
        if self.bare:
            self.grads = [grads[i] for i in self.places]
            if not self.exact:
                self.grads = [grad.to(self.dtype) for grad in self.grads]
            if self.group["maximize"]:
                self.grads = list(torch._foreach_neg(self.grads))
            return
        self.show(
            [
                member(0, p, grads[i], m, self.group)
                for p, i, m in zip(self.params, self.places, self.memories, strict=True)
            ]
        )

    def show(self, members: Sequence[Member]) -> None:
        """Take the gradients as their members show them: to ask a summand for its sum twice would be to sum twice."""
        self.grads = [m.grad for m in members]
        if not self.bare:
            self.weight = Bundle([m.weight for m in members])

    def release(self) -> None:
        """Let go of gradients and of all that was computed: they are not ours to keep."""
        for part in (self, *self._parts):
            part.grads, part.grad, part.state = [], None, {}

    def parts(self, elements: int, small: int) -> list[Bucket]:
        """Return the bucket cut into smaller ones of about so many elements, tensors of at most ``small`` apart."""
        if self._undivided:
            return [self]
        if not self._parts:
            rows: list[list[int]] = []
            sizes = [weight.numel() for weight in self.weight.tensors]
            for kind in (True, False):
                size = elements + 1  # also a piece without elements opens a row
                for i, own in enumerate(sizes):
                    if (own <= small) is kind:
                        if size + own > elements:
                            rows.append([])
                            size = 0
                        rows[-1].append(i)
                        size += own
            if len(rows) == 1:
                self._undivided = True
                return [self]
            self._parts = [self.some(row) for row in rows]
        if not self._parts[0].grads:
            for part in self._parts:
                part.weight = Bundle([self.weight.tensors[i] for i in part.places])
                part.grads = [self.grads[i] for i in part.places]
                part.group, part.t = self.group, self.t
        return self._parts

    def some(self, row: Sequence[int]) -> Bucket:
        """Return the tensors at these places of the bucket as one of their own; its places are those in this one."""
        params, memories = [self.params[i] for i in row], [self.memories[i] for i in row]
        indices = [self.indices[i] for i in row]
        return replace(
            self,
            index=indices[0],
            param=params[0],
            memory=memories[0],
            params=params,
            memories=memories,
            indices=indices,
            places=list(row),
            grad=None,
            grads=[],
            state={},
            held={},
            _parts=[],
            _undivided=False,
        )

    @property
    def count(self) -> Number:
        """The step count before this step: a float on the CPU, a 0-d float64 tensor where reading it would wait."""
        return self.t if self.host else self.counts[0].double()

    def count_step(self, ok: bool | Tensor) -> None:
        """Let the step counts rise, by 0 where the device knows that the step is left out."""
        self.state["step"] = self.count + ok
        self.counts.add_(ok)
        self.t += 1

    def uncount_step(self, ok: bool | Tensor) -> None:
        """Take back :meth:`count_step`."""
        self.counts.sub_(ok.to(self.counts) if isinstance(ok, Tensor) else 1)
        self.t -= 1

    def load_state(self, step: Number, slots: tuple[str, ...]) -> None:
        """Show gradients and states as bundles, in the working precision; ``step`` is t."""
        self.grad = Bundle(self.grads)
        Member.load_state(self, step, slots)

    def tensors(self, name: str) -> list[Tensor]:
        """Return this process's piece of one state of every tensor."""
        there = self.held.get(name) or [memory[name] for memory in self.memories]
        return there if self.bare else list(map(piece, there))

    def slot(self, name: str) -> Bundle:
        """Return the same as one."""
        return Bundle(self.tensors(name))

    def noise(self, seed: int, slot: int) -> Any:
        """Return uniform numbers, one per element."""
        step = self.state["step"]
        pairs = zip(self.weight.tensors, self.indices, strict=True)
        return Bundle([noise(weight, seed, index * 16 + slot, step) for weight, index in pairs])

    def start(self) -> Bundle:
        """Return the weights before their first step, in the working precision."""
        pairs = zip(self.slot(START).tensors, self.weight.tensors, strict=True)
        return Bundle([start_of(start, weight, self.dtype) for start, weight in pairs])

    def keep(self, name: str, value: Any, moments: torch.dtype | None) -> None:
        """Begin a state of each tensor."""
        rows = zip(self.params, self.weight.tensors, self.memories, value.tensors, strict=True)
        for param, weight, memory, tensor in rows:
            memory[name] = kept(name, tensor, param, weight, moments, self.group["decay"])

    def put(self, there: Bundle, value: Bundle) -> None:
        """Copy values into a state, unless all were changed in place."""
        if not all(map(is_, there.tensors, value.tensors)):
            there.copy_(value)

    def norms(self, *several: Any) -> Any:
        """Return the norm of each tensor of each bundle, over all pieces of it."""
        return [Bundle(row) for row in whole_norms(self.params, [x.tensors for x in several])]

    @property
    def reduces(self) -> bool:
        """Whether its decay reads norms of tensors of which this process holds pieces: it must then stay whole."""
        return "norms" in self.group.needs and any(map(is_cut, self.params))

    def aside(self, step: Number, slots: tuple[str, ...]) -> Bucket:
        """Return the bucket at step t, with weight and states in memory of their own."""
        copy = replace(self, weight=self.weight.clone())
        copy.load_state(step, slots)
        copy.state = {name: value if name == "step" else value.clone() for name, value in copy.state.items()}
        return copy

    def keep_where(self, ok: Tensor, target: Bucket) -> None:
        """Copy weight and states into the target's memory where ``ok`` holds; they stand for the target's then."""
        target.weight.copy_(where(ok, self.weight, target.weight))
        for name, value in self.state.items():
            if name not in ("step", START) and name in self.memory:
                self.state[name] = where(ok, value, target.slot(name).to(self.dtype))


def where(condition: Tensor, yes: Any, no: Any) -> Any:
    """Return torch.where of bundles, which its type signature does not know."""
    return torch.where(condition, yes, no)


_DTYPE, _VERSION = map(attrgetter, ("dtype", "_version"))


def _lie(tensor: Tensor) -> object:
    """Return how the elements lie in memory."""
    return tensor.stride() if tensor.layout == torch.strided else tensor.layout


def versions(tensors: Iterable[Tensor]) -> list[Any]:
    """Return how often each tensor has been written: whoever edits one in place is noticed by it."""
    try:
        return list(map(_VERSION, tensors))
    except RuntimeError:  # tensors made in inference mode are not counted: nothing can be taken as unchanged
        return [object()]


def same(ours: Iterable[Any], theirs: Iterable[Any]) -> bool:
    """Whether two lists of one length hold the very same objects."""
    return all(map(is_, ours, theirs))


class Attendance:
    """Which parameters the groups of an optimizer hold, and which of them have a gradient, and of what kind."""

    def __init__(self) -> None:
        self.groups: list[Group] = []  # the very dicts
        self.lengths: list[int] = []
        self.everyone: list[Tensor] = []
        self.live: list[Tensor] = []
        self._kinds: list[type] = []
        self._present: list[bool] = []
        self._missing = False

    def same_tensors(self, optimizer: torch.optim.Optimizer) -> bool:
        """Whether the groups hold the parameters that they held."""
        groups = optimizer.param_groups
        if len(groups) != len(self.groups) or not same(groups, self.groups):
            return False
        lists = [group["params"] for group in groups]
        now = lists[0] if len(lists) == 1 else list(chain.from_iterable(lists))
        return list(map(len, lists)) == self.lengths and same(now, self.everyone)

    def unchanged(self, optimizer: torch.optim.Optimizer) -> list[Tensor] | None:
        """Return the gradients, in the order of the model; None where something is not as it was."""
        if not self.same_tensors(optimizer):
            return None
        grads: list[Any] = [p.grad for p in self.everyone]
        if list(map(type, grads)) != self._kinds:
            return None
        return list(compress(grads, self._present)) if self._missing else grads

    def note(self, optimizer: torch.optim.Optimizer) -> list[Tensor]:
        """Note how things are; return the gradients."""
        self.groups = list(optimizer.param_groups)
        self.lengths = [len(group["params"]) for group in self.groups]
        self.everyone = [p for group in self.groups for p in group["params"]]
        grads: list[Any] = [p.grad for p in self.everyone]
        self._kinds = list(map(type, grads))
        self._present = [grad is not None for grad in grads]
        self._missing = not all(self._present)
        self.live = self.of_live(self.everyone)
        return self.of_live(grads)

    def of_live(self, column: Iterable[Any]) -> list[Any]:
        """Return of something that there is for every parameter what belongs to those with a gradient."""
        return list(compress(column, self._present))


class Plan:
    """The buckets of one optimizer, found anew in the step before which anything changed that they depend on.

    What may change between two steps, and is looked at in every one: which parameters the groups hold; which of them
    have a gradient, of what kind, type and strides; the parameters' own shape, type, strides and device (``p.data`` can
    be replaced); the state of each parameter, as an object and tensor by tensor; and the step counts, by how often they
    were written. What is written into groups is looked at by their readers. All of it takes less than a microsecond a
    tensor; nothing is taken from a gradient that is not asked for again.
    """

    def __init__(self) -> None:
        self.buckets: list[Bucket] = []
        self.stamp = 0
        """Rises whenever the buckets are found anew."""
        self.host = True
        """Whether every number can be read without waiting."""
        self._fresh: list[State] = []
        self._valid = False
        self._there = Attendance()
        self._groups: list[SeenGroup] = []  # as the buckets hold them
        self._labels: dict[int, tuple[Tensor, Tensor, list[Any], Any]] = {}  # a count, its memory, version and label
        self._clock = 0

    def follow(self, optimizer: Optimizer, groups: list[SeenGroup]) -> list[Bucket]:
        """Return the buckets with the gradients of this step. Raises, for what no step can take, before any change."""
        grads = self._unchanged(optimizer, groups)
        if grads is None:
            self._valid = False
            members = self._find(optimizer, groups)
            self._valid = True
            for bucket in self.buckets:
                bucket.show([members[i] for i in bucket.places])
        else:
            for bucket in self.buckets:
                bucket.take(grads)
        return self.buckets

    def forget_fresh(self) -> None:
        """Take their state from those that met their first gradient in a step that was not taken."""
        for memory in self._fresh:
            memory.clear()
        if self._fresh:
            self._fresh, self._valid = [], False

    def is_fresh(self, bucket: Bucket) -> bool:
        """Whether this is the first step of the bucket's tensors."""
        return any(bucket.memory is memory for memory in self._fresh)

    def release(self) -> None:
        """Let go of this step's gradients, and note how the step leaves the tensors."""
        self._fresh = []
        for bucket in self.buckets:
            bucket.release()
            bucket.written[:] = versions([bucket.counts])

    @property
    def device(self) -> torch.device:
        """Where numbers over the whole model are: with the tensors."""
        return self.buckets[0].counts.device if self.buckets else torch.device("cpu")

    def counts(self) -> Tensor:
        """Return the step counts of all tensors, in the order of the buckets, float64."""
        counts = [bucket.counts for bucket in self.buckets] or [torch.zeros(0, device=self.device)]
        whole = counts[0] if len(counts) == 1 else torch.cat([each.to(self.device) for each in counts])
        return whole.double()

    def memories(self) -> list[State]:
        """Return the states of all tensors, in the order of the buckets."""
        return [memory for bucket in self.buckets for memory in bucket.memories]

    # ---------------------------------------------------------------- has anything changed?

    def _unchanged(self, optimizer: Optimizer, groups: list[SeenGroup]) -> list[Tensor] | None:
        """Return the gradients, in the order of the model; None where something is not as it was."""
        valid = self._valid and len(groups) == len(self._groups) and same(groups, self._groups)
        grads = self._there.unchanged(optimizer) if valid else None
        if grads is None or self._form(self._there.live, grads) != self._forms:
            return None
        state = optimizer.state
        if len(state) != len(self._states) or not same(state.values(), self._states):
            return None
        return grads if self._states_unchanged() else None

    def _form(self, params: list[Tensor], grads: list[Tensor]) -> tuple[list[Any], ...]:
        """Return shape, type, layout and device of every tensor, and type and layout of its gradient."""
        # Asked of strides, contiguous tensors take three times as long. What is not strided is not contiguous either.
        lie: Callable[[Tensor], object] = Tensor.is_contiguous if self._contiguous else _lie
        return (
            list(map(Tensor.size, params)),
            list(map(_DTYPE, params)),
            list(map(lie, params)),
            list(map(Tensor.get_device, params)),
            list(map(_DTYPE, grads)),
            list(map(lie, grads)),
        )

    def _states_unchanged(self) -> bool:
        if any(START in b.group.needs and START not in b.slots for b in self.buckets):
            return False  # written into a group in mid-run
        for bucket, lengths in zip(self.buckets, self._lengths, strict=True):
            memories = bucket.memories
            if versions([bucket.counts]) != bucket.written or list(map(len, memories)) != lengths:
                return False
            try:
                if not all(same(map(itemgetter(name), memories), tensors) for name, tensors in bucket.held.items()):
                    return False
            except KeyError:
                return False
        return True

    # ---------------------------------------------------------------- find anew

    def _find(self, optimizer: Optimizer, groups: list[SeenGroup]) -> list[Member]:
        members = gather(optimizer, groups)
        self._fresh = [m.memory for m in members if "step" not in m.memory]
        fresh = set(map(id, self._fresh))
        try:
            for m in members:
                init_state(optimizer, m)
            self._sort(optimizer, members, fresh)
        except Exception:
            self.forget_fresh()
            raise
        self.stamp += 1
        self._groups = list(groups)
        self.host = scalars.readable(self.device) and all(bucket.host for bucket in self.buckets)
        self._note(optimizer)
        return members

    def _sort(self, optimizer: Optimizer, members: list[Member], fresh: set[int]) -> None:
        """Put the tensors into buckets."""
        rows: dict[Any, list[int]] = {}
        for i, (m, label) in enumerate(zip(members, self._label(members, fresh), strict=True)):
            slots = tuple(name for name in optimizer.state_names if name in m.memory)
            held = optimizer.spread.copies(m.param)
            whole = optimizer.moments is not None and not m.weight.dim()  # see kept_dtype
            kind = (held, m.place, m.weight.dtype, m.weight.device, label, slots, m.bare, whole)
            rows.setdefault(kind, []).append(i)
        self.buckets = []
        # Backwards: the norms of the gradients are taken forwards, and the last of them are still in the cache.
        for (held, place, _, _, label, slots, bare, _), row in reversed(rows.items()):
            some = [members[i] for i in reversed(row)]
            bucket = self._bucket(some, [*reversed(row)], held, place, slots, bare)
            self.buckets.append(bucket)
            if not bucket.host:
                for memory in bucket.memories:
                    step = memory["step"]
                    self._labels[id(step)] = (step, bucket.counts, bucket.written, label)
        alive = {id(memory.get("step")) for memory in optimizer.state.values() if isinstance(memory, dict)}
        self._labels = {key: known for key, known in self._labels.items() if key in alive}

    @staticmethod
    def _bucket(
        some: list[Member], places: list[int], held: int, place: int, slots: tuple[str, ...], bare: bool
    ) -> Bucket:
        first, params = some[0], [m.param for m in some]
        device, dtype = first.weight.device, WORKING[first.weight.dtype]
        step = first.memory["step"].to(device)
        counts = step.reshape(1).expand(len(some)).clone()
        for m, count in zip(some, counts.unbind(), strict=True):
            m.memory["step"] = count
        weight = Bundle(params if bare else [m.weight for m in some])
        return Bucket(
            first.index,
            first.param,
            weight,
            None,
            first.memory,
            first.group,
            place,
            params=params,
            memories=[m.memory for m in some],
            indices=[m.index for m in some],
            places=places,
            slots=slots,
            copies=held,
            bare=bare,
            exact=bare and all(p.grad.dtype == dtype for p in params),  # type: ignore[union-attr]
            crooked=not bare or any(p.grad.stride() != p.stride() for p in params),  # type: ignore[union-attr]
            counts=counts,
            host=(host := scalars.readable(device)),
            t=step.item() if host else 0.0,
        )

    def _label(self, members: list[Member], fresh: set[int]) -> list[Any]:
        """Return what tensors of equal step counts have in common.

        On the CPU that is the count. Elsewhere reading it would wait for the device; but tensors that have always moved
        together have equal counts, and tensors that part never meet again. Counts that nobody knows, after a checkpoint
        or when somebody wrote them, are read once.
        """
        self._clock += 1
        labels: list[Any] = []
        for m in members:
            step = m.memory["step"]
            known = self._labels.get(id(step))
            if id(m.memory) in fresh:
                labels.append((self._clock, 0.0))
            elif scalars.readable(step.device):
                labels.append(step.item())
            elif known is not None and known[0] is step and versions([known[1]]) == known[2]:
                labels.append(known[3])
            else:
                labels.append((self._clock, step.item()))
        if all(scalars.readable(m.weight.device) for m in members):
            return [0.0 if id(m.memory) in fresh else label for m, label in zip(members, labels, strict=True)]
        everywhere, here = Counter(known[3] for known in self._labels.values()), Counter(labels)
        return [(self._clock, label) if here[label] < everywhere[label] else label for label in labels]

    def _note(self, optimizer: Optimizer) -> None:
        """Note what the buckets were found from."""
        grads, live = self._there.note(optimizer), self._there.live
        self._contiguous = all(map(Tensor.is_contiguous, (*live, *grads)))
        self._forms = self._form(live, grads)
        self._states = list(optimizer.state.values())
        self.hold()

    def hold(self) -> None:
        """Note which tensors the states hold."""
        self._lengths = [list(map(len, bucket.memories)) for bucket in self.buckets]
        for bucket in self.buckets:
            bucket.held = {name: [memory[name] for memory in bucket.memories] for name in ("step", *bucket.slots)}
