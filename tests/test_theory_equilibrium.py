"""Equilibria of scale-invariant weights: against the library's own optimizers on random orthogonal gradients.

Each simulation has 24 independent tensors of 2,000 weights. Forms are for infinitely many weights and exact second
moments; v̂ of β₂ = 0.998 and 2,000 weights shift them by about 1e-3. So the error bars are 5 standard errors over the
24 tensors, plus 0.3 % of the norm and 0.5 % of the angle.
"""

import math

import pytest
import torch
from torch import Tensor

import weightdecay
from weightdecay.theory import equilibrium

TENSORS, SIZE = 24, 2000
GRAD_NORM = 3.0


class Lion(torch.optim.Optimizer):
    """Lion as its paper's box has it, without decay: attach() adds that."""

    def __init__(self, params, lr, betas):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for p in group["params"]:
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                p.sub_(group["lr"] * (beta1 * m + (1 - beta1) * p.grad).sign())
                m.mul_(beta2).add_(p.grad, alpha=1 - beta2)


def lion(weight: Tensor, lr: float, weight_decay: float, betas: tuple[float, float]):
    optimizer = Lion([weight], lr, betas)
    optimizer.param_groups[0]["weight_decay"] = weight_decay
    weightdecay.attach(optimizer, weightdecay.Decoupled())
    return optimizer


def simulated(build, norm: float, settle: int, measured: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return norm (root mean square) and mean angle of each tensor over the last steps, started at the norm given."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(TENSORS, SIZE, generator=generator)
    weight = torch.nn.Parameter(weight * (norm / weight.norm(dim=1, keepdim=True)))
    optimizer = build(weight)
    squares, cosines = torch.zeros(TENSORS, dtype=torch.float64), torch.zeros(TENSORS, dtype=torch.float64)
    for step in range(settle + measured):
        w = weight.detach()
        g = torch.randn(w.shape, generator=generator)
        square = w.square().sum(1, keepdim=True)
        g -= (g * w).sum(1, keepdim=True) / square * w  # at right angles to the weights
        weight.grad = g * (GRAD_NORM / (g.norm(dim=1, keepdim=True) * square.sqrt()))
        before = w.clone()
        optimizer.step()
        if step >= settle:
            w = weight.detach().double()
            squares += w.square().sum(1) / measured
            # 1 − cos from the difference: float32 has no digits to take it from the cosine.
            cosines += (
                (w / w.norm(dim=1, keepdim=True) - before / before.norm(dim=1, keepdim=True)).square().sum(1)
            ) / (2 * measured)
    return squares.sqrt(), (1 - cosines).arccos()


CASES = {
    "SGD, L2": (
        lambda w: weightdecay.SGD([w], lr=0.5, weight_decay=0.02),
        equilibrium.sgd(0.5, 0.02, GRAD_NORM),
    ),
    "SGD, L2, momentum": (
        lambda w: weightdecay.SGD([w], lr=0.05, momentum=0.9, weight_decay=0.02),
        equilibrium.sgd(0.05, 0.02, GRAD_NORM, momentum=0.9),
    ),
    "SGD, L2, dampening": (
        lambda w: weightdecay.SGD([w], lr=0.5, momentum=0.8, dampening=0.7, weight_decay=0.02),
        equilibrium.sgd(0.5, 0.02, GRAD_NORM, momentum=0.8, dampening=0.7),
    ),
    "SGDW": (
        lambda w: weightdecay.SGDW([w], lr=0.05, momentum=0.9, weight_decay=0.2),
        equilibrium.sgdw(0.05, 0.2, GRAD_NORM, momentum=0.9),
    ),
    "SGDS": (
        lambda w: weightdecay.SGDS([w], lr=0.05, momentum=0.9, weight_decay=0.02),
        equilibrium.sgdw(0.05, 0.02 / (1 - 0.9), GRAD_NORM, momentum=0.9),
    ),
    "AdamW": (
        lambda w: weightdecay.AdamW([w], lr=0.02, weight_decay=0.5, betas=(0.9, 0.998)),
        equilibrium.adamw(0.02, 0.5, SIZE),
    ),
    "AdamS": (
        lambda w: weightdecay.AdamS([w], lr=0.01, weight_decay=0.003, betas=(0.9, 0.998)),
        equilibrium.adams(0.01, 0.003, SIZE, GRAD_NORM),
    ),
    "Lion": (
        lambda w: lion(w, 0.01, 1.0, (0.9, 0.99)),
        equilibrium.lion(0.01, 1.0, SIZE),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_norm_and_angle_of_simulated_weights(name):
    build, wanted = CASES[name]
    norms, angles = simulated(build, 1.1 * wanted.norm, settle=2000 if "Adam" in name else 500, measured=500)
    for found, value, systematic in ((norms, wanted.norm, 0.003), (angles, wanted.angle, 0.005)):
        error = found.std().item() / math.sqrt(TENSORS)
        assert abs(found.mean().item() - value) < 5 * error + systematic * value, (found.mean().item(), error, value)


RATE = 1e-5  # ηλ: small, so that first-order forms of the papers hold


def test_first_order_forms_of_the_papers():
    """Kosson et al.: √(2ηλ) a step for SGD, and the norms; Wan et al. with momentum."""
    plain = equilibrium.sgd(1e-2, 1e-3, 2.0)
    assert plain.angle == pytest.approx(math.sqrt(2 * RATE), rel=1e-4)
    assert plain.norm == pytest.approx((1e-2 * 4.0 / (2 * 1e-3)) ** 0.25, rel=1e-4)
    heavy = equilibrium.sgd(1e-2, 1e-3, 2.0, momentum=0.9)
    assert heavy.angle == pytest.approx(math.sqrt(2 * RATE / 1.9), rel=1e-4)
    adamw = equilibrium.adamw(1e-2, 1e-3, 100)
    assert adamw.norm == pytest.approx(math.sqrt(100 * 1e-2 / (2 * 1e-3)), rel=1e-3)
    assert adamw.angle == pytest.approx(math.sqrt(2 * RATE * 0.1 / 1.9), rel=1e-3)
    memory = 0.1**2 + 0.9**2 * 0.01 / 1.99
    lion = equilibrium.lion(1e-2, 1e-3, 100)
    # arcsin x ≈ x, and q = 1: 2 % here, at correlations up to 0.5.
    assert lion.norm == pytest.approx(math.sqrt(100 * 1e-2 / (math.pi * 1e-3 * memory)), rel=0.02)
    assert lion.angle == pytest.approx(math.sqrt(math.pi * RATE * memory), rel=0.02)


def test_without_memory_every_decoupled_form_is_the_plain_balance():
    q = 1 - 0.01
    assert equilibrium.sgdw(0.1, 0.1, 1.0).cosine == pytest.approx(q)
    assert equilibrium.sgdw(0.1, 0.1, 1.0) == equilibrium.sgdw(0.1, 0.1, 1.0, dampening=0.5)
    assert equilibrium.sgd(0.1, 0.1, 1.0).cosine == pytest.approx(q)
    assert equilibrium.sgd(0.1, 0.1, 1.0).norm == pytest.approx(equilibrium.sgdw(0.1, 0.1, 1.0).norm)
    assert equilibrium.adamw(0.1, 0.1, 9, beta1=0.0).norm == pytest.approx(0.1 * 3 / math.sqrt(1 - q * q))
    sign = equilibrium.lion(0.1, 0.1, 9, beta1=0.0, beta2=0.0)
    assert sign.norm == pytest.approx(0.1 * 3 / math.sqrt(1 - q * q))
    assert sign.cosine == pytest.approx(q)


def test_pulls_above_1_balance_too():
    """A step of −0.9 w and a gradient at right angles: ‖w‖² = 0.81‖w‖² + η²G²/‖w‖²."""
    found = equilibrium.sgdw(1.0, 1.9, 1.0)
    assert found.norm**4 * (1 - 0.81) == pytest.approx(1.0)
    assert found == equilibrium.sgd(1.0, 1.9, 1.0)
    assert found.cosine == pytest.approx(-0.9)


@pytest.mark.parametrize("pull", [1e-16, 1e-9, 1.0])
def test_every_pull_down_to_the_last_digit_has_its_balance(pull):
    assert equilibrium.adamw(pull, 1.0, 8, beta1=0.0).norm == pytest.approx(math.sqrt(8 * pull / (2 - pull)))


def test_adams_is_adamw_with_the_decay_that_it_makes_itself():
    for lr, weight_decay, size, grad_norm in ((1e-3, 5e-4, 10_000, 1.0), (0.1, 0.3, 1000, 1.0), (0.1, 1e-9, 5, 2.0)):
        found = equilibrium.adams(lr, weight_decay, size, grad_norm)
        same = equilibrium.adamw(lr, weight_decay * found.norm * math.sqrt(size) / grad_norm, size)
        assert (found.norm, found.cosine) == pytest.approx((same.norm, same.cosine), rel=1e-9)


@pytest.mark.parametrize(("beta1", "beta2"), [(0.9, 0.99), (0.99, 0.999), (0.5, 0.0), (0.0, 0.9)])
def test_the_series_of_lion_is_its_sum_over_lags(beta1, beta2):
    q, memory = 1 - 0.02, beta1**2 * (1 - beta2) / (1 + beta2)
    kappa = (beta1 * (1 - beta1) * (1 - beta2) + beta2 * memory) / ((1 - beta1) ** 2 + memory)
    s = sum(q**k * 2 / math.pi * math.asin(kappa * beta2 ** (k - 1)) for k in range(1, 20_000))
    found = equilibrium.lion(0.2, 0.1, 7, beta1, beta2)
    assert found.norm == pytest.approx(math.sqrt(0.04 * 7 * (1 + 2 * s) / (1 - q * q)), rel=1e-12)
    assert found.cosine == pytest.approx(q + s * (1 - q * q) / (q * (1 + 2 * s)), rel=1e-12)
    slow = equilibrium.lion(1e-6, 1e-3, 7, beta1, 1 - 1e-9)  # a memory of 10⁹ steps costs no 10⁹ terms
    assert math.isfinite(slow.norm)


def test_stable_decay_of_sgd_balances_where_l2_does():
    """The same λ means the same norm to first order in ηλ, and half the square of the angle's momentum factor aside."""
    stable = equilibrium.sgdw(1e-3, 1e-3 / (1 - 0.9), 1.0, momentum=0.9)
    coupled = equilibrium.sgd(1e-3, 1e-3, 1.0, momentum=0.9)
    assert stable.norm == pytest.approx(coupled.norm, rel=1e-4)
    assert stable.angle == pytest.approx(coupled.angle, rel=1e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: equilibrium.sgd(0.0, 0.1, 1.0), "lr=0.0"),
        (lambda: equilibrium.sgd(0.1, 0.0, 1.0), "weight_decay=0.0"),
        (lambda: equilibrium.sgd(0.1, 0.1, math.inf), "grad_norm=inf"),
        (lambda: equilibrium.sgd(0.1, 0.1, 1.0, momentum=1.0), "momentum=1.0"),
        (lambda: equilibrium.sgd(10.0, 1.0, 1.0), "leaves no balance"),
        (lambda: equilibrium.sgd(0.1, 40.0, 1.0, momentum=0.9), "= 4 leaves no balance.* below 3.8"),
        (lambda: equilibrium.sgdw(20.0, 0.1, 1.0), "= 2: from 2 on the decay alone makes the weights grow"),
        (lambda: equilibrium.adamw(1e-200, 1e-200, 1), "= 0: that is too small for a float"),
        (lambda: equilibrium.adamw(0.1, 0.1, math.nan), "size=nan: it must be a whole number"),
        (lambda: equilibrium.adamw(0.1, "0.1 ", None), "size=None"),
        (lambda: equilibrium.adamw(0.1, 0.1, 0), "size=0"),
        (lambda: equilibrium.adams(0.1, 0.1, 10, 1e-9), "Stable decay would pull harder"),
        (lambda: equilibrium.lion(0.1, 0.1, 10, beta2=1.0), "beta2=1.0"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("pull", [1e-16, 1e-14, 1e-9, 1e-4])
@pytest.mark.parametrize("beta", [0.0, 0.9])
def test_angles_of_small_pulls_have_all_their_digits(pull, beta):
    """1 − cos = (1 − β)(1 − q)/(1 + qβ) by hand, from which the angle is √(2(1 − cos)) to first order."""
    lr = math.sqrt(pull)
    turned = (1 - beta) * pull / (1 + (1 - pull) * beta)
    for found in (equilibrium.adamw(lr, lr, 100, beta), equilibrium.sgdw(lr, lr, 1.0, beta)):
        assert found.angle == pytest.approx(math.sqrt(2 * turned) * (1 + turned / 12), rel=1e-9)
        assert found.cosine == 1 - found.turned
    assert equilibrium.sgd(lr, lr, 1.0, beta).angle == pytest.approx(math.sqrt(2 * pull / (1 + beta)), rel=1e-4)
