"""A spectrum measured on a run, and the run's own λ and lr in its terms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from weightdecay.catalog import optimizer
from weightdecay.lab.pages.spectrum.run import Trained
from weightdecay.lab.run import Run
from weightdecay.lab.run.settings import SettingsError
from weightdecay.lab.training import schedule
from weightdecay.spectrum import GGN, Curvature, Hessian, Spectrum, spectrum_of

KINDS: dict[str, type[Curvature]] = {"hessian": Hessian, "ggn": GGN}


@dataclass(frozen=True)
class Measured:
    """The spectrum of a run, and the run's own λ and lr in its terms."""

    kind: str
    spectrum: Spectrum
    weight_decay: float  # of the run, as L2's λ
    per_l2: float  # λ in the run's own meaning, for 1 of L2's
    total_lr: float  # Σ η·gain over the training
    last_lr: float  # η·gain at its last epoch
    products: int


def measured(
    of: Trained,
    kind: str = "hessian",
    top: int = 20,
    probes: int = 4,
    steps: int = 80,
    seed: int = 0,
    on_product: Callable[[int], None] | None = None,
) -> Measured:
    """Measure a run's network on its data. Deterministic in ``seed``; its cost is that of ``spectrum_of``.

    Raises: SettingsError, for a decay that is no λ of L2; as ``spectrum_of``.
    """
    lam, per_l2 = as_l2(of)
    matrix = KINDS[kind](of.model, nn.CrossEntropyLoss(), of.data, on_product=on_product)
    found = spectrum_of(matrix, of.start, of.examples, top=top, probes=probes, steps=steps, seed=seed)
    last = of.epochs[-1]
    return Measured(
        kind, found, lam, per_l2, total_lr(of), last.lr * _gain(last.lr, last.effective_lr), matrix.products
    )


def as_l2(of: Trained) -> tuple[float, float]:
    """Return the run's λ as L2's, and the factor back.

    A decoupled λ is divided by the last epoch's measured gain, an independent one also by the peak lr.
    Raises: SettingsError, as :func:`meaning`.
    """
    run, last = of.run, of.epochs[-1]
    gain = _gain(last.lr, last.effective_lr)
    factor = {"decoupled": gain, "independent": gain * run.lr}.get(meaning(run), 1.0)
    return run.weight_decay / factor, factor


def meaning(run: Run) -> str:
    """Return the name of the run's decay.

    Raises: SettingsError, for vanilla decay, whose λ₀/η is another λ at every lr.
    """
    decay = str(dict(run.optimizer_options).get("decay", optimizer(run.optimizer).decay)).lower()
    decay = decay.partition("(")[0].strip()  # "stable(power=0.25)" is a stable decay
    if decay == "vanilla":
        raise SettingsError(
            f"{run}: under vanilla decay λ₀/η is another λ at every learning rate, and a spectrum has a place for only "
            "one. Call weightdecay.spectrum in Python, with the λ that you mean."
        )
    return decay


def total_lr(of: Trained) -> float:
    """Return Σ η·gain over the epochs that were trained, with the gain that each epoch's last step had."""
    return sum(
        _of_epoch(of.run, number, of.steps) * _gain(epoch.lr, epoch.effective_lr)
        for number, epoch in enumerate(of.epochs)
    )


def budget_of(run: Run, steps: int, gain: float = 1.0) -> float:
    """Return Σ η·gain of a whole training of ``steps`` steps per epoch."""
    return gain * sum(_of_epoch(run, number, steps) for number in range(run.epochs))


def _of_epoch(run: Run, number: int, steps: int) -> float:
    """Return Σ η of an epoch, the first having number 0."""
    return sum(schedule.lr_at(run, number * steps + step, steps) for step in range(steps))


def _gain(lr: float, effective_lr: float | None) -> float:
    return effective_lr / lr if effective_lr and lr else 1.0
