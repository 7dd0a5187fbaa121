"""Eigenvalues of the loss of a real network on its data: the largest ones, their sum, and how all of them lie.

Needs weightdecay[spectrum]. Everything is a function of (model, loss, data, seed); the network is measured in eval
mode, with the batch-norm statistics that it has and without dropout, and left as it was.
"""

from __future__ import annotations

from weightdecay.spectrum.base import Curvature
from weightdecay.spectrum.density import Density, Share, below, density, within
from weightdecay.spectrum.eigenvalues import NotConvergedError, Top, top_eigenvalues
from weightdecay.spectrum.hessian import GGN, Hessian
from weightdecay.spectrum.lanczos import Measure, lanczos, measure
from weightdecay.spectrum.predict import (
    QUESTIONS,
    Direction,
    Predicted,
    Question,
    Spectrum,
    expected_loss,
    predicted_best,
    spectrum_of,
)
from weightdecay.spectrum.trace import Trace, trace

__all__ = [
    "Curvature",
    "Density",
    "Direction",
    "GGN",
    "Hessian",
    "Measure",
    "NotConvergedError",
    "Predicted",
    "QUESTIONS",
    "Question",
    "Share",
    "Spectrum",
    "Top",
    "Trace",
    "below",
    "density",
    "expected_loss",
    "lanczos",
    "measure",
    "predicted_best",
    "spectrum_of",
    "top_eigenvalues",
    "trace",
    "within",
]
