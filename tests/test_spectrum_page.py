"""What the page of ``weightdecay spectrum`` says of a best λ."""

from types import SimpleNamespace

import pytest
import torch

from weightdecay.lab.pages.spectrum.page import shown
from weightdecay.spectrum import Density, Measure, Predicted, Spectrum, predicted_best


def spectrum(start, end):
    """One direction of curvature 1: the weights started at ``start``, and are at ``end``."""
    one = torch.ones(1, dtype=torch.float64)
    return Spectrum(
        None, None, Density((Measure(one, one),), 1), Measure(one, start**2 * one), Measure(one, end**2 * one), 100
    )


def measured(per_l2):
    return SimpleNamespace(per_l2=per_l2)


@pytest.mark.parametrize(
    ("per_l2", "low", "high"), [(1.0, "1e-06", "1"), (2e4, "0.02", "2e+04"), (1e-4, "1e-10", "0.0001")]
)
def test_a_best_lambda_at_an_end_of_what_was_tried_has_the_sign_that_points_outwards(per_l2, low, high):
    """Where only the bias counts, less λ is always better; where only the start does, more is. In the run's meaning."""
    less, more = (predicted_best(spectrum(start, 1 - start), 3.0) for start in (0, 1))
    assert (less.weight_decay, more.weight_decay) == (pytest.approx(1e-6), pytest.approx(1.0))
    assert shown(less, measured(per_l2)) == f"≤ {low}"
    assert shown(more, measured(per_l2)) == f"≥ {high}"


@pytest.mark.parametrize("weight_decay", [1e-6, 1e-5, 0.02, 1.0])
def test_a_best_lambda_inside_of_what_was_tried_has_none(weight_decay):
    assert shown(Predicted(1.0, "training", weight_decay, False), measured(3.0)) == f"{3 * weight_decay:.2g}"
