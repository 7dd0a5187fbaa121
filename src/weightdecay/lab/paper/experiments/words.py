"""Figure 11: a language model, where L2 wins; and a Transformer, where the authors expect no gain."""

from __future__ import annotations

from weightdecay.lab.paper.arms import ADAM, ADAMS, ADAMS_THREE, ADAMW, panel
from weightdecay.lab.paper.claims import lowest, tuned
from weightdecay.lab.paper.experiment import Claim, Experiment, Panel
from weightdecay.lab.paper.scale import Scale

DECAYS = (1e-7, 1e-6, 1e-5, 1e-4)


def _lstm(scale: Scale) -> tuple[Panel, ...]:
    return (panel(scale, "LSTM, Penn Treebank", ADAMS_THREE, DECAYS, fixed=None),)


def _lstm_claims(scale: Scale) -> tuple[Claim, ...]:
    return (
        Claim("L2 is better than stable and decoupled decay, each at its best λ", "drawn",
              lowest(ADAM.curve, [ADAMS.curve, ADAMW.curve], tuned)),
    )  # fmt: skip


def _transformer(scale: Scale) -> tuple[Panel, ...]:
    return (panel(scale, "Transformer, Penn Treebank", ADAMS_THREE, DECAYS, fixed=None),)


def _transformer_claims(scale: Scale) -> tuple[Claim, ...]:
    return (
        Claim("AdamS is better than AdamW and Adam on a Transformer too, each at its best λ",
              "not measured; the authors expect no gain",
              lowest(ADAMS.curve, [ADAM.curve, ADAMW.curve], tuned), own=True),
    )  # fmt: skip


EXPERIMENTS = (
    Experiment(
        "fig11", "An LSTM on Penn Treebank", "Which decay suits a language model?", ("decay",), _lstm, _lstm_claims
    ),
    Experiment(
        "transformer", "A Transformer on Penn Treebank",
        "Does stable decay gain where the authors expect that it won’t?",
        ("decay",), _transformer, _transformer_claims,
        ("Not in the paper.",),
    ),
)  # fmt: skip
