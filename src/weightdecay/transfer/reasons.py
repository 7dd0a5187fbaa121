"""Why two rules that look at the same change answer differently."""

from __future__ import annotations

from weightdecay.transfer.conversion import CONVENTION

PAPER, LINEAR, ROOT = "batch × k ⇒ λ × k; λ ∝ 1/length", "linear lr scaling", "square-root lr scaling"
MEMORY, LINES, OWN_LINES = "τ in epochs stays", "Power Lines", "Power Lines, from nothing"
NORMALIZED, TABLE3 = "λ ∝ 1/√steps", "0.1/epochs, from nothing"
PULL, SINGULAR = "width: ηλ stays", "width: λ ∝ √width"

REASONS: dict[frozenset[str], str] = {
    frozenset(
        (PAPER, LINEAR)
    ): "both keep pull × steps; the one leaves the lr and moves λ, the other keeps the noise of "
    "SGD, which is ∝ lr/batch. Adam divides that noise away",
    frozenset(
        (PAPER, ROOT)
    ): "both keep pull × steps; they differ in the lr: as it was, or √k for the same noise in Adam",
    frozenset((LINEAR, ROOT)): "SGD's noise is ∝ lr/batch; Adam divides by √v̂, which falls as 1/√k itself",
    frozenset((PAPER, MEMORY)): "what is to stay: the decay over the whole training, or the memory of the weights in "
    "epochs. They agree on batch and data, and differ as soon as the number of epochs changes",
    frozenset(
        (PAPER, LINES)
    ): "the decay over the whole training stays, or the best memory, as a share of the training, "
    "falls as (tokens per parameter)^−0.527: λ ∝ 1/D against D^−0.473. The first was measured on images over many "
    "epochs, the second on text in one pass",
    frozenset(
        (MEMORY, LINES)
    ): "both are about τ: the one finds its best value constant in epochs, the other finds that "
    "its share of the training falls with tokens per parameter",
    frozenset((PAPER, NORMALIZED)): "λ ∝ 1/steps against 1/√steps: the first follows from the 1/(ηλ) steps of flat "
    "directions, the second is a fit to a few lengths",
    frozenset(
        (MEMORY, NORMALIZED)
    ): "the one does not count epochs; the other takes 1/√ of everything that makes steps",
    frozenset(
        (LINES, NORMALIZED)
    ): "D^−0.473 against D^−0.5 is hardly a difference in length; in batch it is k against √k",
    frozenset((PAPER, TABLE3)): "the one scales your λ, the other is the paper's own λ for ResNet18 on CIFAR-10: they "
    "differ where yours was not 0.1/epochs",
    frozenset((LINES, OWN_LINES)): "the one keeps your distance from the best τ, the other goes there",
    frozenset(
        (PULL, SINGULAR)
    ): "what is to stay over widths: the memory 1/(ηλ), or the size of singular values, measured as √(lr/λ) · width^¾",
}


def reason(one: str, other: str) -> str:
    """Return why the two rules differ; empty for a pair whose difference follows from those of other pairs.

    >>> reason(PULL, SINGULAR)[:27]
    'what is to stay over widths'
    """
    if one.endswith(CONVENTION) != other.endswith(CONVENTION) and "→" in one and "→" in other:
        return "v̄ as it is measured against the paper's convention, which stands for √v̄ = lr"
    return REASONS.get(frozenset((one, other)), "")
