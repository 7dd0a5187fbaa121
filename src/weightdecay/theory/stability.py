"""The movement of the regularised minimum during a schedule: Definitions 1 and 2, Theorem 1."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from weightdecay.theory.numbers import FLAT, Numbers, non_negative, positive, rates, rounding
from weightdecay.theory.quadratic import Quadratic, fixed
from weightdecay.theory.shrinkage import Shrinkage, shrinks


@dataclass(frozen=True)
class Movement:
    """The movement of the regularised minimum along a schedule."""

    strengths: Tensor
    """(T,): the λ of the loss L + λ/2‖θ‖² that each step descends."""
    distances: Tensor
    """(T − 1,): by how much the minimum moves between one step and the next, Euclidean."""
    span: float
    """From the minimum of the first step to that of the last."""

    @property
    def stable(self) -> bool:
        """Definition 2: the stationary points do not move. Up to rounding, 1e-12 of the largest strength."""
        finite = bool(self.strengths.isfinite().all())
        return finite and bool(self.strengths.max() - self.strengths.min() <= 1e-12 * self.strengths.max())


def movement(model: Quadratic, lrs: Numbers, decay: Shrinkage) -> Movement:
    r"""Return where the minimum of the loss that each step descends lies, as distances.

    .. math:: \theta^*_t = H(H+\ell_t I)^{-1}\theta^*, \qquad
              \ell_t = \lambda \text{ (Eq. 2)} \quad\text{or}\quad \lambda_0/\eta_t \text{ (Eq. 1)}

    Cost: O(changes of the learning rate × n).
    Raises: ValueError, where H + ℓ_t is not positive though ℓ_t is.
    Source: arXiv:2011.11152, Definitions 1 and 2.

    >>> from weightdecay.theory import Coupled, Quadratic, Vanilla
    >>> model = Quadratic([1.0, 0.01])
    >>> movement(model, [0.1, 0.1, 0.01], Coupled(1e-3)).stable
    True
    >>> moved = movement(model, [0.1, 0.1, 0.01], Vanilla(1e-4))
    >>> moved.stable, [round(x, 4) for x in moved.distances.tolist()]
    (False, [0.0, 0.4092])
    """
    fixed(model)
    shrinks(decay)
    given = rates(lrs)
    strengths = decay.strength(given)
    runs, counts = torch.unique_consecutive(strengths, return_counts=True)
    steps = torch.zeros(strengths.numel() - 1, dtype=torch.float64)
    first = last = minimum_at(model, runs[0].item(), decay.said(given[0].item()))
    place = 0
    for strength, count in zip(runs[1:].tolist(), counts[:-1].tolist(), strict=True):
        place += count
        now = minimum_at(model, strength, decay.said(given[place].item()))
        steps[place - 1] = torch.linalg.vector_norm(now - last)
        last = now
    return Movement(strengths, steps, torch.linalg.vector_norm(last - first).item())


def minimum_at(model: Quadratic, strength: float, said: str) -> Tensor:
    r"""Return :math:`H(H+\ell I)^{-1}\theta^*`, along eigenvectors; 0 for infinite strength, θ* for none.

    Raises: ValueError, where there is no minimum; ``said`` words the strength there.
    """
    if strength == 0:
        return model.minimum
    h = model.eigenvalues
    worst = int(h.argmin())
    if h[worst] + strength <= 0:
        raise ValueError(
            f"direction {worst}: the sum of H = {h[worst].item():g} and {said} is not positive, so the regularised "
            f"loss has no minimum. Use a stronger decay, or {FLAT}."
        )
    return model.minimum / (1 + strength / h)  # h = 0 and infinite strength both give 0


@dataclass(frozen=True)
class Hypothesis:
    """The steps at which a schedule satisfies the condition that Theorem 1 requires of all steps after some t₀."""

    holds: Tensor
    """(T − 1,) booleans: whether |η_t − η_{t+1}| ≥ δ between each step and the next."""
    at_most: int | None
    """A monotone schedule cannot satisfy it more often than (η_max − η_min)/δ times; None for others."""

    @property
    def share(self) -> float:
        """Share of the steps at which it holds."""
        return self.holds.double().mean().item() if self.holds.numel() else 0.0

    @property
    def from_step(self) -> int | None:
        """t₀: it holds between all steps after this many, up to the end given; None if not even at the last."""
        if not self.holds.numel() or not self.holds[-1]:
            return None
        missed = (~self.holds).nonzero()
        return int(missed[-1]) + 1 if missed.numel() else 0


def hypothesis(lrs: Numbers, delta: float) -> Hypothesis:
    r"""Return at which steps :math:`|\eta_t-\eta_{t+1}| \ge \delta > 0`, the hypothesis of Theorem 1.

    Theorem 1: gradient descent under Eq. 1, if the hypothesis holds for **all** t > t₀, cannot converge to a non-zero
    stationary point. It is about t → ∞, and says nothing of practice: step schedules are constant almost always,
    cosine ends flat, and a learning rate that only falls (linear decay) can change by δ no more than η_max/δ times.
    What satisfies it forever is a learning rate that never settles, as a triangular cycle. What does hold for any
    schedule is the step behind it, :func:`gradient_gap`.

    Raises: ValueError, for a δ that is not above 0, or within the rounding of the learning rates.
    Source: arXiv:2011.11152, Theorem 1.

    >>> found = hypothesis([0.1, 0.1, 0.01, 0.01], delta=0.01)
    >>> found.holds.tolist(), found.from_step
    ([False, True, False], None)
    """
    delta, given, eps = positive("delta", delta), rates(lrs), rounding(lrs)
    changes = given.diff()
    least = delta * (1 - 1e-9) - eps * given.max().item()  # a change of exactly δ shall not be lost to rounding
    if least <= 0:
        raise ValueError(
            f"delta={delta:g}: changes so small are within the rounding of the learning rates, {eps:.1g} of them. "
            "Use a larger δ, or float64."
        )
    monotone = bool((changes <= 0).all() or (changes >= 0).all())
    most = int((given.max() - given.min()).item() / least) if monotone else None
    return Hypothesis(changes.abs() >= least, most)


def gradient_gap(lrs: Numbers, weight_decay: float) -> Tensor:
    r"""Return the factor of θ* in the gradient that appears at a stationary point when the learning rate changes.

    .. math:: \nabla f_t(\theta^*) = 0 \;\Rightarrow\;
              \nabla f_{t+1}(\theta^*) = \lambda_0\Big(\frac1{\eta_{t+1}}-\frac1{\eta_t}\Big)\theta^*

    with :math:`f_t = L + \tfrac{\lambda_0}{2\eta_t}\|\theta\|^2`, the loss that Eq. 1 descends at step t.

    Shapes: (T − 1,). Raises: ValueError, for a learning rate of 0.
    Source: arXiv:2011.11152, proof of Theorem 1.

    >>> [round(x, 6) for x in gradient_gap([0.1, 0.1, 0.01], weight_decay=1e-4).tolist()]
    [0.0, 0.009]
    """
    given = rates(lrs)
    if (given == 0).any():
        where = int((given == 0).nonzero()[0])
        raise ValueError(f"lrs[{where}] = 0: λ₀/η has no value there. Leave that step out.")
    return non_negative("weight_decay", weight_decay) * (1 / given).diff()
