"""The learning rate and λ over time, as functions of the step: nothing to save, nothing to resume."""

from __future__ import annotations

import math
from collections.abc import Callable

from weightdecay.lab.run import Run
from weightdecay.lab.run.shape import shape_of


def lr_at(run: Run, step: int, steps: int) -> float:
    r"""Return the lr of a step of the training, counted from 0, where an epoch has ``steps``.

    .. math:: \eta = \eta_{\max} \cdot \min(1, (\text{step} + 1) / w) \cdot s(\text{step} / \text{steps})

    with w the steps of the warm-up and s a shape in :data:`SHAPES`, a function of the epochs that have passed.

    >>> run = Run("sgd", lr=1.0, weight_decay=0.0, seed=0, epochs=10, milestones=(0.4, 0.8))
    >>> [round(lr_at(run, epoch, 1), 4) for epoch in (0, 3, 4, 7, 8, 9)]
    [1.0, 1.0, 0.1, 0.1, 0.01, 0.01]
    """
    warm = run.warmup * steps
    return run.lr * (min(1.0, (step + 1) / warm) if warm else 1.0) * SHAPES[run.schedule](run, step / steps)


def weight_decay_at(run: Run, step: int, steps: int) -> float:
    r"""Return λ of a step of the training, counted from 0, where an epoch has ``steps``.

    .. math:: \lambda_t = \lambda\,f(t)

    with f the shape of :mod:`weightdecay.schedule` that the run names. One that follows the lr reads that of this step.

    >>> run = Run("adamw", lr=1.0, weight_decay=0.1, seed=0, epochs=4, weight_decay_schedule="linear(1, 0.5)")
    >>> [round(weight_decay_at(run, epoch, 1), 4) for epoch in range(4)]
    [0.1, 0.0875, 0.075, 0.0625]
    """
    if not run.weight_decay_schedule:
        return run.weight_decay
    from weightdecay.schedule import Moment

    now = Moment(step, run.epochs * steps, lr=lr_at(run, step, steps), peak_lr=run.lr)
    return float(shape_of(run.weight_decay_schedule).value(run.weight_decay, now))


def constant(run: Run, passed: float) -> float:
    """1 throughout."""
    return 1.0


def step(run: Run, passed: float) -> float:
    """``lr_factor`` once more from each milestone on: a fraction of the epochs, rounded to whole ones, at least one."""
    return run.lr_factor ** sum(passed >= max(1, round(part * run.epochs)) for part in run.milestones)


def cosine(run: Run, passed: float) -> float:
    r"""½ (1 + cos(π passed/epochs)): from 1 to 0. Source: Loshchilov & Hutter, arXiv:1608.03983, Eq. 5."""
    return _half_a_cosine(passed / run.epochs)


def restarts(run: Run, passed: float) -> float:
    """A cosine of ``restart_period`` epochs, then one ``restart_factor`` times as long, and so on.

    The paper's 210 epochs are 14 + 28 + 56 + 112. Source: as :func:`cosine`.
    """
    period = run.restart_period
    while passed >= period:
        passed, period = passed - period, period * run.restart_factor
    return _half_a_cosine(passed / period)


def _half_a_cosine(part: float) -> float:
    return (1.0 + math.cos(math.pi * part)) / 2.0


SHAPES: dict[str, Callable[[Run, float], float]] = {
    "step": step,
    "cosine": cosine,
    "restarts": restarts,
    "constant": constant,
}


def check(run: Run) -> None:
    """Refuse a schedule that cannot be followed. Raises: ValueError, which names the field."""
    from weightdecay.checks import unknown

    if run.schedule not in SHAPES:
        raise ValueError(unknown("schedule", run.schedule, SHAPES))
    if run.weight_decay_schedule:
        try:
            shape_of(run.weight_decay_schedule)
        except ValueError as error:
            raise ValueError(f"weight_decay_schedule={run.weight_decay_schedule!r}: {error}") from error
    if run.epochs < 1:
        raise ValueError(f"epochs={run.epochs}: a run has at least one.")
    if not 0 <= run.warmup <= run.epochs:
        raise ValueError(f"warmup={run.warmup:g} is outside [0, {run.epochs}]: it is a number of epochs of the run.")
    if run.schedule == "step" and not all(0 <= part <= 1 for part in run.milestones):
        raise ValueError(
            f"milestones={run.milestones}: each is a fraction of the epochs, from 0 to 1. Epoch 80 of 200 is 0.4."
        )
    if run.schedule == "restarts" and not (run.restart_period > 0 and run.restart_factor >= 1):
        raise ValueError(
            f"restart_period={run.restart_period:g}, restart_factor={run.restart_factor:g}: the period is a number of "
            "epochs above 0, and each is at least as long as the one before. The paper has 14 and 2."
        )
