"""The names of the rules, and why two that look at the same change answer differently."""

from __future__ import annotations

from weightdecay.transfer.conversion import CONVENTION

BATCH, LINEAR, ROOT = "batch × k ⇒ λ × k", "linear lr scaling", "square-root lr scaling"
LENGTH, TABLE3 = "λ ∝ 1/length", "0.1/epochs, from nothing"
MEMORY, LINES, OWN_LINES = "τ in epochs stays", "Power Lines", "Power Lines, from nothing"
NORMALIZED = "λ ∝ 1/√steps"
PULL, SINGULAR, LR_ONLY = "width: ηλ stays", "width: λ ∝ √width", "width: lr ∝ 1/width"
ORTHOGONAL, ORTHOGONAL_WIDTH, ORTHOGONAL_STAYS = "Muon: λ ∝ √batch/data", "Muon: λ ∝ 1/width²", "Muon: width leaves λ"

REASONS: dict[tuple[str, str], str] = {
    (BATCH, LINEAR): "both keep lr·λ × steps; the one leaves the lr and moves λ, the other keeps the noise of SGD, "
    "which is ∝ lr/batch. Adam divides that noise away",
    (BATCH, ROOT): "both keep lr·λ × steps; they differ in the lr: as it was, or √k for the same noise in Adam",
    (LINEAR, ROOT): "SGD's noise is ∝ lr/batch; Adam divides by √v̂, which falls as 1/√k itself",
    (BATCH, NORMALIZED): "λ × k against λ × √k: the first keeps the decay of a training, the second is a fit",
    (LENGTH, MEMORY): "what is to stay: the decay over the whole training, or the memory of the weights in epochs. "
    "They agree on the amount of data, and differ as soon as the number of epochs changes",
    (LENGTH, LINES): "the decay over the whole training stays, or the best memory, as a share of the training, falls "
    "as (tokens per parameter)^−0.527: λ ∝ 1/D against D^−0.473. The first was measured on images over many epochs, "
    "the second on text in one pass",
    (LENGTH, NORMALIZED): "λ ∝ 1/steps against 1/√steps: the first follows from the 1/(ηλ) steps of flat directions, "
    "the second is a fit to a few lengths",
    (LENGTH, TABLE3): "the one scales your λ, the other is the paper's own λ for ResNet18 on CIFAR-10: they differ "
    "where yours was not 0.1/epochs",
    (BATCH, TABLE3): "the one scales your λ, the other is the paper's own λ at batch 128 for ResNet18 on CIFAR-10",
    (MEMORY, LINES): "both are about τ: the one finds its best value constant in epochs, the other finds that its "
    "share of the training falls with tokens per parameter",
    (MEMORY, NORMALIZED): "λ × batch/data against the square root of everything that makes steps",
    (LINES, NORMALIZED): "λ × batch · D^−0.473 against √(batch/D)",
    (LINES, OWN_LINES): "the one keeps your distance from the best τ, the other goes there",
    (BATCH, ORTHOGONAL): "λ × k against λ × √k at the same lr: the second was swept with an lr that grows as √k, and "
    "has the first's pull then",
    (LENGTH, ORTHOGONAL): "both divide λ by the amount of data; for batches the second counts on an lr that grows",
    (MEMORY, ORTHOGONAL): "λ × batch/data against √batch/data: the second was swept with an lr that grows as √batch",
    (ORTHOGONAL_WIDTH, ORTHOGONAL_STAYS): "nanochat's first rule and the one that replaced it: the best λ of a sweep "
    "in which data grew with width; or batch and data alone, which do not change here",
    (PULL, SINGULAR): "what is to stay over widths: the memory 1/(ηλ), or the size of singular values, measured as "
    "√(lr/λ) · width^¾",
}
"""In the order of the table. A pair that is not here differs for the reasons of other pairs."""


def reason(one: str, other: str) -> str:
    """Return why the two rules differ; empty for a pair whose difference follows from those of other pairs.

    >>> reason(PULL, SINGULAR)[:27]
    'what is to stay over widths'
    """
    if one.endswith(CONVENTION) != other.endswith(CONVENTION) and "→" in one and "→" in other:
        return "the gain as it was measured against the paper's convention, which stands for a gain of 1/lr"
    return REASONS.get((one, other), "") or REASONS.get((other, one), "")
