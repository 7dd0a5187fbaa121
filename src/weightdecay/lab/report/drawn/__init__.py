"""The figures of the paper, one file a kind: from a panel with its results to a picture that can be read."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from weightdecay.lab.paper import experiment
from weightdecay.lab.report.drawn import batch, curves, decay, heat, norms, scatter
from weightdecay.lab.report.drawn.canvas import Picture
from weightdecay.lab.report.drawn.view import View

KINDS: Mapping[experiment.Figure, Callable[[View], Picture]] = {
    "curves": curves.draw,
    "decay": decay.draw,
    "heat": heat.draw,
    "scatter": scatter.draw,
    "batch": batch.draw,
    "norms": norms.draw,
}


def draw(view: View) -> dict[str, Picture]:
    """Return the pictures of a panel by kind, in the experiment's order."""
    return {kind: KINDS[kind](view) for kind in view.experiment.figures}
