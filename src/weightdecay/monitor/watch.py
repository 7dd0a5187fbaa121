"""Watching an optimizer: hooks that look at one step in ``every``, and what is known from it."""

from __future__ import annotations

import math
import weakref
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from weightdecay.attaching.gains import lr_of
from weightdecay.attaching.handle import Handle, inside_step
from weightdecay.checks import whole
from weightdecay.decay import Number
from weightdecay.monitor.bundle import Bundle
from weightdecay.monitor.group_decay import decays_of, gain_name, gain_of, pull_of
from weightdecay.monitor.page import write_page
from weightdecay.monitor.predicted import family_of
from weightdecay.monitor.sample import Sample, seen_of
from weightdecay.monitor.state import KEPT, GroupState, Recent, TensorState, groups_of, tensors_of
from weightdecay.monitor.words import sentences, table
from weightdecay.optim import Optimizer
from weightdecay.optim.sharding import is_flat, is_sharded

PREFIX = "weightdecay"


def watch(
    optimizer: torch.optim.Optimizer,
    model: torch.nn.Module | None = None,
    *,
    every: int = 100,
    tensors: bool = False,
    decay: str | None = None,
) -> Watch:
    """Look at one step in ``every`` of any torch optimizer: ours, one with a decay attached, or a plain one.

    Before such a step the weights are copied, after it they are compared and the copy is dropped. All numbers of a
    reading come in one read of the device. Nothing of the optimizer is changed; :meth:`Watch.close` ends it.

    ``model``
        For the names of the tensors; without it they are called "group0.tensor3".
    ``tensors``
        Whether :meth:`Watch.readings` and the page have every tensor, not only the groups.
    ``decay``
        The kind of a plain optimizer's decay, as :func:`weightdecay.measure` names it, for one who knows it. By default
        torch's groups say it, and the class of another library is measured, which takes about half a second.

    Of DTensors (FSDP2, tensor parallel, HSDP) every process reads the numbers of the whole tensors. Watch in every
    process, with the same ``every``: a reading takes one all-reduce for each group of processes over which some tensor
    is cut, one under FSDP2; other steps take none.

    Units:  angles in radians per step; half-life in steps; pull and shares are fractions.
    Raises: TypeError, for what is no torch optimizer; ValueError, for flattened pieces of FSDP's first version, which
            do not say of what tensor they are, and for summands.

    >>> import torch
    >>> layer = torch.nn.Linear(4, 4, bias=False)
    >>> optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, weight_decay=0.5)
    >>> watching = watch(optimizer, layer, every=1)
    >>> layer(torch.ones(4)).sum().backward()
    >>> optimizer.step()
    >>> watching.readings()["weightdecay/group0/pull"]
    0.05
    >>> watching.close()
    """
    return Watch(optimizer, model, every, tensors, decay)


class Watch:
    """The object that :func:`watch` returns. It refers to no optimizer, and to weights only in a step that it reads."""

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        model: torch.nn.Module | None,
        every: int,
        tensors: bool,
        decay: str | None,
    ) -> None:
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise TypeError(
                f"{type(optimizer).__name__} is not a torch optimizer. Pass the wrapped one: watch(wrapper.optimizer)."
            )
        self.every = whole(every, "every", "watch()")
        if self.every < 1:
            raise ValueError(f"every={every}: must be at least 1, the distance between two steps that are read.")
        self.tensors, self.steps, self.told = tensors, 0, decay
        named = model.named_parameters() if model is not None else ()
        self._known: dict[Tensor, str] = {p: name for name, p in named}
        self.names = _names(optimizer, self._known)
        _refuse_pieces(self.names)
        self.groups: list[GroupState] = []
        """The states of the groups at the last reading."""
        self.seen: list[TensorState] = []
        """The states of the tensors at the last reading."""
        self.history: list[tuple[int, list[GroupState], list[TensorState]]] = []
        """Readings so far, by step; every second one goes when there are 2,000. Tensors only if asked for."""
        self._decays = decays_of(optimizer, decay)
        self._gain, self._family = gain_name(optimizer), family_of(optimizer)
        self._peaks: list[Number] = [group.get("peak_lr") or group["lr"] for group in optimizer.param_groups]
        self._totals: list[Number] = [0.0] * len(optimizer.param_groups)
        self._recent: dict[str, deque[Recent]] = {}
        self._sample: Sample | None = None
        self._depth = 0
        self._optimizer = weakref.ref(optimizer)
        self._hooks = [
            optimizer.register_step_pre_hook(self._before),
            optimizer.register_step_post_hook(self._after),
        ]

    def close(self) -> None:
        """Stop watching. What was read stays readable."""
        while self._hooks:
            self._hooks.pop().remove()
        self._sample = None

    # ---------------------------------------------------------------- what a person asks for

    def readings(self) -> dict[str, float]:
        """Return the last reading as a flat dict of floats, for any tracker; empty before the first.

        "weightdecay/group0/pull", …, and with ``tensors=True`` "weightdecay/layer1.weight/norm", …. What is not known
        is left out.
        """
        found = {f"{PREFIX}/group{i}/{name}": x for i, group in enumerate(self.groups) for name, x in group.items()}
        if self.tensors:
            found |= {f"{PREFIX}/{tensor.name}/{name}": x for tensor in self.seen for name, x in tensor.items()}
        return {name: value for name, value in found.items() if not math.isnan(value)}

    def sentences(self) -> list[str]:
        """Return what the numbers support, in words."""
        return sentences(self.groups, self.seen, self._recent)

    def __str__(self) -> str:
        if not self.groups:
            return f"watch: no reading yet after {self.steps} steps; the first comes with step {self.every}."
        return "\n".join([table(self.groups, self.seen if self.tensors else [], self.steps), *self.sentences()])

    def report(self, path: str | Path) -> Path:
        """Write one self-contained HTML page with figures, tables and words; return its path.

        Raises: ValueError, before the first reading; OSError, where it cannot be written.
        """
        if not self.history:
            raise ValueError(f"report(): no reading yet after {self.steps} steps; the first comes with {self.every}.")
        return write_page(Path(path), self.history, self.sentences(), self.tensors)

    # ---------------------------------------------------------------- the step

    def _before(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        if self._depth and inside_step(optimizer):
            self._depth += 1
            return
        self._depth = 1
        if (self.steps + 1) % self.every == 0:
            self._sample = Sample(optimizer)
            # A decay that was attached later finishes its step in a hook of its own: look after it.
            optimizer._optimizer_step_post_hooks.move_to_end(self._hooks[1].id)  # type: ignore[attr-defined]

    def _after(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        self._depth -= 1
        if self._depth > 0 and inside_step(optimizer):
            return
        self._depth = 0
        self.steps += 1
        if len(self._decays) != len(optimizer.param_groups):
            self._follow(optimizer)
        sample, self._sample = self._sample, None
        pulls, mean_square = self._pulls(optimizer)
        if sample is None:
            self._total(pulls)
        else:
            self._look(optimizer, sample, pulls, mean_square)

    def _follow(self, optimizer: torch.optim.Optimizer) -> None:
        """Take in groups that were added, and a decay that was attached."""
        self._decays = decays_of(optimizer, self.told)
        for group in optimizer.param_groups[len(self._totals) :]:
            self._totals.append(0.0)
            self._peaks.append(group.get("peak_lr") or group["lr"])
        self.names = _names(optimizer, self._known)

    def _pulls(self, optimizer: torch.optim.Optimizer) -> tuple[list[Number], Number | None]:
        """Return the pull of each group in this step, and v̄ where the step has read it; no device is waited for."""
        source: Any = optimizer if isinstance(optimizer, Optimizer) else Handle.of(optimizer)
        recorded, mean_square = source.recorded if source is not None else ([], None)
        if source is not None and not any(decay.recorded for decay in self._decays):
            self._decays = decays_of(optimizer, self.told)  # attached after the watch began
        pulls = []
        for i, (decay, group) in enumerate(zip(self._decays, optimizer.param_groups, strict=True)):
            if decay.recorded and i < len(recorded):
                pulls.append(recorded[i])
            else:
                known = None if decay.kind == "stable" else gain_of(self._gain, group, None)
                pulls.append(pull_of(decay, group, self._peaks[i], known))
        return pulls, mean_square

    def _total(self, pulls: list[Number]) -> None:
        self._totals = [total + pull for total, pull in zip(self._totals, pulls, strict=True)]

    def _look(
        self, optimizer: torch.optim.Optimizer, sample: Sample, pulls: list[Number], recorded: Number | None
    ) -> None:
        bundle, groups = Bundle(), optimizer.param_groups
        rows = sample.look(optimizer, [decay.masked for decay in self._decays], bundle)
        lrs = [bundle.add(lr_of(group)) for group in groups]
        strengths = [bundle.add(group.get("weight_decay", 0.0)) for group in groups]
        at = [bundle.add(pull) for pull in pulls]
        totals = [bundle.add(total) for total in self._totals]
        v = bundle.add(recorded)
        numbers = bundle.read()
        beta2 = [group["betas"][1] if "betas" in group else None for group in groups]
        seen = {
            self.names[p]: seen_of([numbers[i] for i in places], place, p.numel(), beta2[place])
            for p, place, places in rows
        }
        mean_square = numbers[v] if math.isfinite(numbers[v]) else _mean(seen.values())
        kinds = [decay.kind for decay in self._decays]
        gains = [
            gain_of(self._gain, group, None if math.isnan(mean_square) else mean_square) if self._gain else None
            for group in groups
        ]
        read = [min(numbers[i], 1.0) if numbers[i] == numbers[i] else math.nan for i in at]
        for i, (decay, group) in enumerate(zip(self._decays, groups, strict=True)):
            if math.isnan(read[i]) and not decay.recorded:
                read[i] = float(pull_of(decay, group, self._peaks[i], gains[i]))
        self._totals = [numbers[i] + pull for i, pull in zip(totals, read, strict=True)]
        facts = [
            (kind, numbers[strength], numbers[lr], pull, gain, total)
            for kind, strength, lr, pull, gain, total in zip(
                kinds, strengths, lrs, read, gains, self._totals, strict=True
            )
        ]
        self.seen = tensors_of(seen, facts, groups, self._family, self._recent)
        self.groups = groups_of(seen, self.seen, facts, mean_square)
        self._keep()

    def _keep(self) -> None:
        self.history.append((self.steps, self.groups, self.seen if self.tensors else []))
        if len(self.history) >= KEPT:
            del self.history[1::2]


def _refuse_pieces(names: Mapping[Tensor, str]) -> None:
    """Raise ValueError for tensors of which nobody can tell the norm of the whole."""
    for p, name in names.items():
        if is_flat(p):
            raise ValueError(
                f"{name}, of shape {tuple(p.shape)}, is a flattened piece of FSDP's first version, and no process "
                "knows the norm of one tensor. Use FSDP2 (fully_shard), or weightdecay.monitor.read(optimizer)."
            )
        if is_sharded(p) and any(placement.is_partial() for placement in p.placements):  # type: ignore[attr-defined]
            raise ValueError(f"{name} is a summand of a weight ({p.placements}). Redistribute it.")  # type: ignore[attr-defined]


def _names(optimizer: torch.optim.Optimizer, known: Mapping[Tensor, str]) -> dict[Tensor, str]:
    """Return a name for every tensor: the model's, the group's, or its place."""
    names: dict[Tensor, str] = {}
    for i, group in enumerate(optimizer.param_groups):
        given: Any = group.get("param_names") or [f"group{i}.tensor{j}" for j in range(len(group["params"]))]
        names |= {p: known.get(p, name) for p, name in zip(group["params"], given, strict=True)}
    return names


def _mean(seen: Any) -> float:
    """Return v̄ from the optimizer's own moments, over the tensors that have some."""
    some = [(one.second, one.size) for one in seen if math.isfinite(one.second)]
    return sum(v for v, _ in some) / sum(n for _, n in some) if some else math.nan
