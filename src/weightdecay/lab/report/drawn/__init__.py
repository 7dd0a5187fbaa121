"""The figures of the paper, one file a kind: from a panel with its results to a picture that can be read."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from weightdecay.lab.paper import experiment
from weightdecay.lab.report.drawn import batch, curves, decay, heat, norms, scatter
from weightdecay.lab.report.drawn.canvas import Picture
from weightdecay.lab.report.drawn.view import PaperView, View

KINDS: Mapping[experiment.Figure, Callable[[View], Picture]] = {
    "curves": curves.draw,
    "decay": decay.draw,
    "heat": heat.draw,
    "scatter": scatter.draw,
    "batch": batch.draw,
    "norms": norms.draw,
}


OF_EPOCHS = ("curves", "scatter", "norms")
"""Kinds that are drawn from single epochs: there is none of runs of which only a row each is known."""


def kinds(view: PaperView) -> list[experiment.Figure]:
    """Return the kinds of picture that the panel has, in the experiment's order."""
    known = all(result.epochs for result in view.answer.results)
    return [kind for kind in view.experiment.figures if known or kind not in OF_EPOCHS]


def draw(view: PaperView) -> dict[str, Picture]:
    """Return the pictures of a panel by kind, in the experiment's order."""
    return {kind: KINDS[kind](view) for kind in kinds(view)}
