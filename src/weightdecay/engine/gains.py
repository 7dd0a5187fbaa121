"""By how much the update of somebody else's optimizer multiplies a gradient, and v̄ without a look at its state."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from weightdecay.checks import unknown
from weightdecay.decay import Decay, Number
from weightdecay.engine.mean_square import squares
from weightdecay.optim.member import Group
from weightdecay.optim.radam import rectification
from weightdecay.optim.scalars import choose, inverse_power
from weightdecay.optim.sharding import Spread, gradient_piece, is_sharded, piece


@dataclass(frozen=True)
class Gain:
    """Of (group, v̄, t) one number, or one a tensor where t enters: the step counts of the group's tensors."""

    of: Callable[[Group, Number, Tensor], Number]
    needs: tuple[str, ...] = ()  # what the group must hold
    reads_mean_square: bool = False


def _adam(group: Group, mean_square: Number, t: Tensor) -> Number:
    return inverse_power(mean_square, 0.5)


def _radam(group: Group, mean_square: Number, t: Tensor) -> Number:
    rectified, factor = rectification(group["betas"][1], {"step": t})
    return choose(rectified, factor * inverse_power(mean_square, 0.5), 1.0)


def _sgd(group: Group, mean_square: Number, t: Tensor) -> Number:
    momentum: float = group["momentum"]
    return (1 - group.get("dampening", 0)) / (1 - momentum) if momentum else 1.0


GAINS = {
    "adam": Gain(_adam, ("betas",), reads_mean_square=True),
    "radam": Gain(_radam, ("betas",), reads_mean_square=True),
    "sgd": Gain(_sgd, ("momentum",)),
}
KNOWN = {
    # torch.optim, timm. NAdam: as SGD's, its gain is that of the filled buffer; the transient is dropped.
    **dict.fromkeys(("Adam", "AdamW", "NAdam", "NAdamW", "AdamWLegacy"), "adam"),
    **dict.fromkeys(("SGD", "SGDW"), "sgd"),
    "RAdam": "radam",
    # bitsandbytes, torchao: Adam with its moments kept in few bits
    **dict.fromkeys(("Adam8bit", "Adam32bit", "PagedAdam", "PagedAdam8bit", "PagedAdam32bit"), "adam"),
    **dict.fromkeys(("AdamW8bit", "AdamW32bit", "PagedAdamW", "PagedAdamW8bit", "PagedAdamW32bit"), "adam"),
    **dict.fromkeys(("Adam4bit", "AdamW4bit", "AdamFp8", "AdamWFp8"), "adam"),
    **dict.fromkeys(("SGD8bit", "SGD32bit"), "sgd"),
    # apex, DeepSpeed, ColossalAI: Adam in one kernel
    **dict.fromkeys(("FusedAdam", "DeepSpeedCPUAdam", "CPUAdam", "HybridAdam"), "adam"),
    "FusedSGD": "sgd",
}
"""The gain of an optimizer, by the name of its class or of the nearest of its bases that is listed."""
WITHOUT = {
    **dict.fromkeys(("Lion", "Lion8bit", "Lion32bit", "PagedLion", "PagedLion8bit", "PagedLion32bit"), "takes a sign"),
    **dict.fromkeys(("SignSGD", "Signum", "Rprop", "FusedLion", "DeepSpeedCPULion"), "takes a sign"),
    **dict.fromkeys(("Muon", "MuonWithAuxAdam", "SingleDeviceMuon", "DistMuon"), "makes a matrix orthogonal"),
}
"""Optimizers without a gain: what they do to a gradient instead of multiplying it."""


def find_gain(optimizer: torch.optim.Optimizer, gain: Any, decay: Decay) -> Gain | None:
    """Return the gain asked for, or that of the optimizer's type; None where the decay does not read it.

    Raises: TypeError, where the decay reads a gain that the optimizer does not have or that nobody has told;
            ValueError, for a name or a number that is no gain.
    """
    found = _explicit(gain) if gain is not None else None
    if found is not None or "mean_gain" not in decay.needs:
        return found
    kind, instead = type(optimizer).__name__, "Decoupled(), Independent() and Vanilla() need no gain"
    if gain is None:
        for cls in type(optimizer).__mro__:
            if cls.__name__ in KNOWN:
                return GAINS[KNOWN[cls.__name__]]
            if cls.__name__ in WITHOUT:
                raise TypeError(
                    f"{decay!r} reads by how much the update multiplies a gradient; {kind} multiplies none, it "
                    f"{WITHOUT[cls.__name__]}. {instead}; gain= takes a number, or a function of the group, that you "
                    "answer for."
                )
    raise TypeError(
        f"{decay!r} reads by how much the update multiplies a gradient, which is not known of {kind}"
        f'{f" with gain={gain!r}" if gain else ""}. Pass gain="adam" or "sgd" where the update is theirs, a number, or '
        f"a function of the group; {instead}."
    )


def _explicit(gain: Any) -> Gain | None:
    if isinstance(gain, str):
        if gain not in (*GAINS, "none"):
            raise ValueError(f"gain={gain!r}: {unknown('gain', gain, (*GAINS, 'none'))}")
        return GAINS.get(gain)
    if callable(gain):
        return Gain(lambda group, mean_square, t: gain(group))
    if isinstance(gain, bool) or not isinstance(gain, (int, float)):
        raise TypeError(f"gain={gain!r} is neither a name, nor a number, nor a function of the group.")
    if not 0 <= gain < math.inf:
        raise ValueError(f"gain={gain!r}: a gain is a finite number, 0 or above.")
    return Gain(lambda group, mean_square, t: float(gain))


@dataclass
class Live:
    """A tensor with a gradient."""

    param: Tensor
    group: Group
    weight: Tensor  # this process's piece, sharing its memory

    def grad(self) -> Tensor:
        """Return this process's piece of the gradient, complex numbers as pairs of reals."""
        grad = gradient_piece(self.param)
        return torch.view_as_real(grad) if torch.is_complex(grad) else grad

    def elements(self) -> int:
        """Return the number of real elements of the piece."""
        return self.weight.numel() * (2 if torch.is_complex(self.weight) else 1)


class Account:
    r"""Keeps :math:`S_t = \sum v_t` of every tensor, and its step count, from the norms of the gradients.

    .. math:: S_t = \beta_2 S_{t-1} + (1-\beta_2)\|g_t\|^2, \qquad
              \bar v_t = \sum_i \frac{S_{t,i}}{1-\beta_{2,i}^{t_i}} \Big/ \sum_i n_i

    The optimizer's own v will not do: before its step it is :math:`v_{t-1}`, and 8-bit optimizers round it.
    """

    def __init__(self) -> None:
        self.known: dict[Tensor, tuple[Tensor, Tensor]] = {}  # S and t of the tensors that are not in `params`
        self.key: list[Any] | None = None
        self.params: list[Tensor] = []
        self.sums = self.counts = self.beta2 = self.share = self.corrects = self.elements = torch.empty(0)
        self.after: tuple[Tensor, Tensor, Tensor] | None = None  # S and t once the step is taken, and where it counts

    def look(self, live: Sequence[Live], device: torch.device, spread: Spread, left_out: Tensor | None) -> Tensor:
        """Return v̄ and whether all is well (1 or 0), in one all-reduce; float64, on the device.

        All is well where every gradient is finite and ``left_out``, the finding of a GradScaler, is 0. Nothing is
        remembered before :meth:`commit`.
        """
        self._recall(live, device, spread)
        sums = self.beta2 * self.sums + (1 - self.beta2) * squares([m.grad() for m in live], device)
        counts = self.counts + 1
        mine = (sums * self.share / (1 - self.corrects * self.beta2**counts)).sum()
        left = torch.zeros_like(mine) if left_out is None else left_out.to(mine)
        total, elements, left = spread.sum(torch.stack([mine, self.elements, left])).unbind()
        # A tensor whose gradient is not finite keeps its account; the others go on, as the optimizer's moments do.
        self.after = (sums, counts, torch.isfinite(sums) & (left == 0))
        well = torch.isfinite(total) & (left == 0)
        mean = torch.where(well, total / elements.clamp(min=1), math.nan)
        return torch.stack([mean, well.to(mean.dtype)])

    def commit(self) -> None:
        """Remember what :meth:`look` saw. In place: a captured graph goes on with the same memory."""
        if self.after is not None:
            sums, counts, counted = self.after
            self.sums.copy_(torch.where(counted, sums, self.sums))
            self.counts.copy_(torch.where(counted, counts, self.counts))
            self.after = None

    def values(self) -> dict[Tensor, tuple[float, float]]:
        """Return S and t of every tensor that has had a step."""
        known = {param: (float(total), float(count)) for param, (total, count) in self.known.items()}
        return known | dict(zip(self.params, zip(self.sums.tolist(), self.counts.tolist(), strict=True), strict=True))

    def take(self, param: Tensor, state: Any, at: float | None, row: Any, name: str) -> None:
        """Start from (S, t, step) of a checkpoint where it is of the very step the moments are at, else from these.

        Raises: ValueError, where steps have passed and neither can tell.
        """
        self.known.pop(param, None)
        if row is not None and row[2] == at:
            self.known[param] = (torch.tensor(row[0], dtype=torch.float64), torch.tensor(row[1], dtype=torch.float64))
        elif state:
            v = state.get("exp_avg_sq")
            if at is None or not isinstance(v, Tensor) or not (type(v) is Tensor or is_sharded(v)):
                raise ValueError(
                    f"{name} has been stepped already, and its state {sorted(map(str, state))} holds no exp_avg_sq in "
                    "full precision from which the mean could go on. Attach before the first step, or load a "
                    "checkpoint that was written with this decay attached."
                )
            v = piece(v)
            total = (torch.view_as_real(v) if torch.is_complex(v) else v).sum(dtype=torch.float64)
            self.known[param] = (total, torch.tensor(at, dtype=torch.float64))

    def settle(self) -> None:
        """Write S and t back to their tensors."""
        for param, total, count in zip(self.params, self.sums.unbind(), self.counts.unbind(), strict=True):
            self.known[param] = (total.clone(), count.clone())
        self.key, self.params, self.after = None, [], None
        self.sums = self.counts = torch.empty(0)

    def _recall(self, live: Sequence[Live], device: torch.device, spread: Spread) -> None:
        """Bring S, t and the constants of these tensors, in their order."""
        key = [
            (id(m.param), float(m.group["betas"][1]), float(m.group.get("bias_correction", True)), device) for m in live
        ]
        if key == self.key:
            return
        self.settle()
        zero = torch.zeros((), dtype=torch.float64, device=device)
        memory = [self.known.get(m.param, (zero, zero)) for m in live]
        share = [1 / spread.copies(m.param) for m in live]
        count = sum(m.elements() * s for m, s in zip(live, share, strict=True))
        self.key, self.params = key, [m.param for m in live]
        self.sums = _stacked([total.to(device) for total, _ in memory], device)
        self.counts = _stacked([count.to(device) for _, count in memory], device)
        constants = torch.tensor(
            [[beta2 for _, beta2, _, _ in key], [corrects for _, _, corrects, _ in key], share],
            dtype=torch.float64,
        )
        self.beta2, self.corrects, self.share = constants.to(device).unbind()
        self.elements = zero + count


def _stacked(values: list[Tensor], device: torch.device) -> Tensor:
    return torch.stack(values) if values else torch.zeros(0, dtype=torch.float64, device=device)


def live_tensors(group: Group) -> list[Live]:
    """Return the tensors of the group that have a gradient."""
    return [Live(p, group, piece(p.detach())) for p in group["params"] if p.grad is not None]
