"""The oracle itself: equal to torch.optim where torch has the method, and to numbers worked out by hand."""

import math

import numpy as np
import oracles
import pytest
import torch

ADAM = {"lr": 1e-2, "betas": (0.8, 0.99), "eps": 1e-6, "weight_decay": 0.1}
SGD = {"lr": 0.05, "momentum": 0.9, "dampening": 0.0, "nesterov": False, "weight_decay": 0.02}


@pytest.mark.parametrize("scale", [1.0, 1e-6])
@pytest.mark.parametrize(
    ("method", "decay", "make", "options"),
    [
        ("adam", "l2", torch.optim.Adam, ADAM),
        ("adam", "decoupled", torch.optim.AdamW, ADAM),
        ("amsgrad", "l2", lambda p, **k: torch.optim.Adam(p, amsgrad=True, **k), ADAM),
        ("amsgrad", "decoupled", lambda p, **k: torch.optim.AdamW(p, amsgrad=True, **k), ADAM),
        ("radam", "l2", torch.optim.RAdam, ADAM),
        ("radam", "decoupled", lambda p, **k: torch.optim.RAdam(p, decoupled_weight_decay=True, **k), ADAM),
        ("sgd", "l2", torch.optim.SGD, SGD),
        ("sgd", "l2", torch.optim.SGD, {**SGD, "dampening": 0.5}),
        ("sgd", "l2", torch.optim.SGD, {**SGD, "nesterov": True}),
        ("sgd", "l2", torch.optim.SGD, {**SGD, "momentum": 0.0}),
    ],
)
def test_equals_torch(method, decay, make, options, scale):
    rng = np.random.default_rng(0)
    start = [rng.standard_normal((3, 2)), rng.standard_normal(4)]
    gradients = [[[scale * rng.standard_normal(w.shape) for w in start]] for _ in range(50)]
    gradients[7][0][1] = None
    params = [torch.nn.Parameter(torch.tensor(w)) for w in start]
    optimizer = make(params, **options)
    for step in gradients:
        for p, g in zip(params, step[0], strict=True):
            p.grad = None if g is None else torch.as_tensor(g)
        optimizer.step()
    ours = oracles.run(method, decay, [{"params": start, **options}], gradients)[0]
    for a, p in zip(ours, params, strict=True):
        np.testing.assert_allclose(a, p.detach().numpy(), rtol=1e-12, atol=1e-12)


def test_the_first_step_of_adams_by_hand():
    """m̂ = g and v̂ = g², so u = sign g; v̄ = (9 + 16 + 0 + 0)/4 = 6.25 and the pull is 0.1 · 0.05/2.5 = 0.002."""
    group = {"params": [np.array([1.0, 2.0]), np.array([-4.0, 5.0])], "lr": 0.1, "weight_decay": 0.05}
    group |= {"betas": (0.9, 0.999), "eps": 1e-300}
    ((a, b),) = oracles.run("adam", "stable", [group], [[[np.array([3.0, -4.0]), np.array([0.0, 0.0])]]])
    np.testing.assert_allclose(a, [0.998 * 1 - 0.1, 0.998 * 2 + 0.1], rtol=1e-12)
    np.testing.assert_allclose(b, [0.998 * -4, 0.998 * 5], rtol=1e-12)


def test_two_steps_of_sgds_by_hand():
    """β₁ = 0.5, dampening 0: gain 2. m = 1, then 1.5; pull = 0.1 · 0.25 · 2 = 0.05."""
    group = {"params": [np.array([2.0])], "lr": 0.1, "weight_decay": 0.25}
    group |= {"momentum": 0.5, "dampening": 0.0, "nesterov": False}
    one = np.array([1.0])
    ((w,),) = oracles.run("sgd", "stable", [group], [[[one]], [[one]]])
    first = 0.95 * 2.0 - 0.1
    np.testing.assert_allclose(w, [0.95 * first - 0.15], rtol=1e-12)


def test_the_first_step_of_adai_by_hand():
    """v̂ = g² = (1, 9), v̄ = 5; β₁ = 1 − β₀ v̂/v̄ = (0.9, 0.1) at β₀ = 0.5; m̂ = (1 − β₁)g/(1 − β₁) = g."""
    group = {"params": [np.array([1.0, 1.0])], "lr": 0.1, "weight_decay": 0.0, "betas": (0.5, 0.99), "eps": 1e-3}
    g = np.array([1.0, 3.0])
    ((w,),) = oracles.run("adai", "decoupled", [group], [[[g]], [[np.array([0.0, 0.0])]]])
    # Second step: v̂ = 0.99·0.01 g²/(1 − 0.99²), the ratio to its mean and so β₁ are the same; m = β₁(1 − β₁)g.
    beta1 = np.array([0.9, 0.1])
    expected = 1.0 - 0.1 * g - 0.1 * beta1 * (1 - beta1) * g / (1 - beta1**2)
    np.testing.assert_allclose(w, expected, rtol=1e-12)


def test_a_tensor_without_a_gradient_is_not_in_the_mean():
    group = {"params": [np.array([1.0]), np.array([1.0])], "lr": 0.1, "weight_decay": 0.1}
    group |= {"betas": (0.9, 0.5), "eps": 1e-300}
    steps = [[[np.array([100.0]), np.array([1.0])]], [[None, np.array([1.0])]]]
    ((a, b),) = oracles.run("adam", "stable", [group], steps)
    pull = 0.1 * 0.1 / math.sqrt((100.0**2 + 1) / 2)
    np.testing.assert_allclose(a, [1 - pull - 0.1], rtol=1e-12)
    np.testing.assert_allclose(b, [(1 - 0.01) * (1 - pull - 0.1) - 0.1], rtol=1e-12)
