"""What the theory refuses: one line that names the thing, the value, the reason and the way out, as a ValueError."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from weightdecay import theory
from weightdecay.theory import equilibrium

MODEL = theory.Quadratic([1.0, 0.1])
SADDLE = theory.Quadratic([-1.0])
LRS = [0.1, 0.1, 0.05]
LAW = theory.Coupled(0.1)
OF_DECAY = [theory.movement, theory.expected, theory.variance, theory.excess_loss]
OF_MODEL = {
    **{call.__name__: lambda model, call=call: call(model, LRS, LAW) for call in OF_DECAY},
    "best_weight_decay": lambda model: theory.best_weight_decay(model, LRS),
    "bias": lambda model: theory.bias(model, 0.1),
    "decoupled_bias": lambda model: theory.decoupled_bias(model, 0.1, 1.0),
    "stable_bias": lambda model: theory.stable_bias(model, 0.1, 1.0),
    "stationary_variance": lambda model: theory.stationary_variance(model, 0.1, 0.1),
}


def refusal(call, *arguments):
    """Return what is said, which must be one line of a length that a person reads."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the caller compares all of it
        call(*arguments)
    said = str(caught.value)
    assert "\n" not in said
    assert len(said) < 330
    return said


@pytest.mark.parametrize("call", OF_DECAY, ids=lambda call: call.__name__)
def test_a_number_is_no_decay(call):
    assert refusal(call, MODEL, LRS, 0.1) == (
        "decay=0.1: use Coupled(0.1), which the lr multiplies (Eq. 2), or Vanilla(0.1), which it does not (Eq. 1)."
    )
    assert refusal(call, MODEL, LRS, None).startswith("decay=None: use Coupled(λ), ")
    assert refusal(call, MODEL, LRS, theory.Coupled).startswith("decay=<class ")


@pytest.mark.parametrize("call", OF_MODEL.values(), ids=OF_MODEL)
def test_numbers_are_no_model(call):
    assert refusal(call, [1.0, 0.1]) == (
        "model=[1.0, 0.1]: it must be a quadratic, which knows its minimum and its start. "
        "Pass Quadratic(hessian), where hessian is eigenvalues or a matrix."
    )
    for model in (torch.ones(50, 50), np.ones((9, 1)), list(range(10_000)), None, 3.0):
        assert refusal(call, model).startswith("model=")


@pytest.mark.parametrize(
    "call", [*OF_DECAY, lambda model, lrs, _: theory.best_weight_decay(model, lrs)], ids=lambda call: call.__name__
)
def test_a_decay_is_no_learning_rates(call):
    assert refusal(call, MODEL, LAW, LAW) == (
        "lrs=Coupled(weight_decay=0.1): learning rates are needed, one per step, "
        "as constant(steps, 0.1) or cosine(steps, 0.1) return them."
    )
    assert "as constant(steps, 0.3) or" in refusal(call, MODEL, 0.3, LAW)
    assert "lrs=[0.1, 0.1, 0.1, 0.1, 0.1, 0.1, ...]" in refusal(call, MODEL, [*[0.1] * 1000, "a"], LAW)


@pytest.mark.parametrize("decay", [LAW, 0.1, None], ids=repr)
def test_the_search_for_the_best_decay_makes_decays_itself(decay):
    assert refusal(theory.best_weight_decay, MODEL, LRS, decay) == (
        f"decay={decay}: λ is what is looked for. Pass what makes a decay of it: Coupled, Vanilla, or a function of "
        "your own that returns one of them."
    )
    assert "decay=0.0: use Coupled(0.0)" in refusal(theory.best_weight_decay, MODEL, LRS, lambda wd: wd)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": -3}, "size=-3: it must be a whole number, 1 or above: it counts the eigenvalues."),
        ({"size": "a"}, "size='a': it must be one number."),
        ({"size": 20.5}, "size=20.5: it must be a whole number, 1 or above: it counts the eigenvalues."),
        ({"size": 10**400}, "size=100000000000000000...0000000000000000000: no float is so large. Check its unit."),
        ({"outliers": 1.5}, "outliers=1.5: it must be a whole number, 0 or above: they are some of the eigenvalues."),
        ({"outliers": -1}, "outliers=-1: it must be a whole number, 0 or above: they are some of the eigenvalues."),
        (
            {"size": 10},
            "outliers=10 of size=10: the bulk needs at least one direction. Use fewer of them, or a larger size.",
        ),
        ({"edge": "a"}, "edge='a': it must be one number."),
        ({"edge": math.nan}, "edge=nan: it must be a finite number above 0."),
        (
            {"edge": 2.0},
            "smallest=1e-06, edge=2, largest=10: the bulk runs from smallest to edge, the outliers from 10 × edge to "
            "largest. Put them in this order.",
        ),
    ],
    ids=str,
)
def test_a_spectrum_of_wrong_numbers(arguments, message):
    assert refusal(lambda: theory.outliers_and_bulk(**{"size": 20, **arguments})) == message


def test_a_whole_number_may_be_a_float():
    assert torch.equal(theory.outliers_and_bulk(20.0, outliers=2.0), theory.outliers_and_bulk(20, outliers=2))
    assert torch.equal(theory.drops(5, 1.0, at=0.4), theory.drops(5, 1.0, at=(0.4,)))


@pytest.mark.parametrize(
    "call",
    [
        lambda of: theory.bias(MODEL, of(0.5)),
        lambda of: theory.decoupled_bias(MODEL, of(0.5), 1.0),
        lambda of: theory.stationary_variance(theory.Quadratic([1.0], noise=1.0), of(0.25), of(0.5)),
        lambda of: theory.steps_to_converge([1.0], of(0.25), of(0.5), of(0.125)),
        lambda of: theory.time_constant([1.0], of(0.25), of(0.5)),
        lambda of: theory.gradient_gap(LRS, of(0.5)),
        lambda of: theory.hypothesis(LRS, of(0.0625)).holds,
        lambda of: theory.cosine(of(3), of(0.5), of(0.25)),
        lambda of: theory.drops(of(5), of(0.5), factor=of(0.25)),
        lambda of: theory.outliers_and_bulk(of(9), of(2), of(16.0), of(0.5), of(0.125)),
        lambda of: theory.expected(MODEL, LRS, theory.Coupled(of(0.5))),
    ],
)
@pytest.mark.parametrize("of", [str, torch.tensor, np.float32], ids=lambda of: of.__name__)
def test_one_number_may_come_in_any_form(call, of):
    assert torch.equal(call(of), call(float))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.drops(3, 0.1, at=None), "at=None: it must be a number"),
        (lambda: theory.drops(3, 0.1, at=("a",)), r"at=\('a',\): it must be a number"),
        (lambda: theory.steps_to_converge([1.0], 0.1, 0.1, factor="a"), "factor='a': it must be one number"),
        (lambda: theory.steps_to_converge([1.0], 0.1, 0.1, factor=0.0), r"factor=0\.0: it must be a finite number ab"),
    ],
)
def test_schedules_and_times_of_wrong_numbers(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# ------------------------------------------------------------------------------------- beyond the floats


def test_norms_are_found_wherever_a_float_holds_them():
    """‖w‖ ∝ √G for SGD and ∝ η at one pull for Adam: no square on the way may overflow."""
    for balance in (equilibrium.sgd, equilibrium.sgdw):
        small, large = balance(1.0, 1e-10, 1.0, 0.9, 0.1), balance(1.0, 1e-10, 1e300, 0.9, 0.1)
        assert large.norm == pytest.approx(1e150 * small.norm, rel=1e-14)
        assert large.cosine == small.cosine
    for balance in (equilibrium.adamw, equilibrium.lion):
        small, large = balance(1.0, 0.1, 9), balance(1e300, 1e-301, 9)
        assert large.norm == pytest.approx(1e300 * small.norm, rel=1e-14)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: equilibrium.sgd(1e300, 1e-310, 1.0), "^norm=inf: lr, weight_decay or the gradient's norm .* units"),
        (lambda: equilibrium.adamw(0.1, 0.1, 10**400), "size=10{17}.*: no float is so large"),
        (lambda: equilibrium.adamw(0.1, 0.1, 0.5), r"size=0\.5: it must be a whole number, 1 or above: the elements"),
        (
            lambda: equilibrium.adams(1e-200, 1e-200, 10, 1.0),
            "lr=1e-200, weight_decay=1e-200, size=10, grad_norm=1: the balance has a pull below 1e-300, .* units",
        ),
    ],
)
def test_a_balance_that_no_float_holds_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_size_may_be_any_whole_number_and_the_norm_is_a_float():
    wanted = equilibrium.adamw(0.1, 0.1, 9)
    for size in (9.0, torch.tensor(9)):
        found = equilibrium.adamw(0.1, 0.1, size)
        assert found == wanted
        assert type(found.norm) is float


# ------------------------------------------------------------------------------------- Vanilla's own words


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: theory.expected(theory.Quadratic([30.0]), [0.1], theory.Vanilla(0.01)),
            "direction 0 diverges: with λ₀ = 0.01, lr·H = 0.1·30 = 3 is above 1.99, so it grows by 2.01 per step and "
            "changes sign. Use an lr of at most 0.06633.",
        ),
        (
            lambda: theory.expected(SADDLE, [0.1], theory.Vanilla(0.0)),
            "direction 0 diverges: λ₀ + lr·H = 0 + 0.1·(-1) is negative, a saddle, so it grows by 1 + 0.1 per step. "
            "Use a λ₀ of at least 0.1, or take negative eigenvalues for flat: eigenvalues.clamp(min=0).",
        ),
        (
            lambda: theory.variance(theory.Quadratic([-30.0]), [0.1], theory.Vanilla(0.5)),
            "direction 0 diverges: λ₀ + lr·H = 0.5 + 0.1·(-30) is negative, a saddle, so it grows by 1 + 2.5 per step. "
            "Use a smaller lr, with a λ₀ of at least 30·lr, or take negative eigenvalues for flat: "
            "eigenvalues.clamp(min=0).",
        ),
        (
            lambda: theory.movement(SADDLE, [0.001, 0.1], theory.Vanilla(0.01)),
            "direction 0: the sum of H = -1 and λ₀/lr = 0.01/0.1 is not positive, so the regularised loss has no "
            "minimum. Use a stronger decay, or take negative eigenvalues for flat: eigenvalues.clamp(min=0).",
        ),
        (
            lambda: theory.movement(SADDLE, [0.1], theory.Coupled(0.5)),
            "direction 0: the sum of H = -1 and λ = 0.5 is not positive, so the regularised loss has no "
            "minimum. Use a stronger decay, or take negative eigenvalues for flat: eigenvalues.clamp(min=0).",
        ),
        (
            lambda: theory.excess_loss(theory.Quadratic([-0.0625]), [0.125], theory.Vanilla(0.0078125), curvature=1.0),
            "direction 0 has no regularised minimum: the sum of H = -0.0625 and λ₀/lr = 0.0078125/0.125 is not "
            "positive. Use a stronger decay, or take negative eigenvalues for flat: eigenvalues.clamp(min=0).",
        ),
        (
            lambda: theory.bias(SADDLE, 0.5),
            "direction 0 has no regularised minimum: the sum of H = -1 and λ = 0.5 is not positive. "
            "Use a stronger decay, or take negative eigenvalues for flat: eigenvalues.clamp(min=0).",
        ),
    ],
)
def test_what_diverges_is_said_in_the_numbers_that_were_given(call, message):
    assert refusal(call) == message


@pytest.mark.parametrize("shrink", [0.0, 0.01, 0.3])
def test_the_way_out_of_a_vanilla_divergence_leads_out(shrink):
    """The lr and the λ₀ that the message names are stable to its four digits, and 1 % beyond them nothing is."""
    steep, most = theory.Quadratic([30.0]), (2 - shrink) / 30
    theory.expected(steep, [0.999 * most], theory.Vanilla(shrink))
    assert f"at most {most:.4g}." in refusal(theory.expected, steep, [1.01 * most], theory.Vanilla(shrink))
    saddle, lr = theory.Quadratic([-1.0]), shrink + 0.1
    theory.expected(saddle, [lr], theory.Vanilla(lr))
    assert f"a λ₀ of at least {lr:.4g}," in refusal(theory.expected, saddle, [lr], theory.Vanilla(0.99 * lr))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_what_was_given_may_change_and_the_model_does_not(dtype):
    """Weights that train on, a schedule that is scaled."""
    given = torch.nn.Parameter(torch.tensor([3.0, 2.0], dtype=dtype))
    lrs = torch.full((5,), 0.1, dtype=dtype)
    model, answers = theory.Quadratic([1.0, 0.5], given, given), theory.Responses(lrs)
    with torch.no_grad():
        given.zero_()
        lrs.zero_()
    assert model.start.tolist() == model.minimum.tolist() == [3.0, 2.0]
    assert answers.lrs.tolist() == pytest.approx([0.1] * 5, rel=1e-6)


@pytest.mark.parametrize("as_given", [lambda h: h, lambda h: h.float(), lambda h: h.float().numpy()])
def test_a_matrix_without_full_rank_bends_down_nowhere(as_given):
    """Of fewer examples than weights: eigenvalues of 0 that rounding makes negative."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        jacobian = torch.randn(3, 12, dtype=torch.float64, generator=generator)
        model = theory.Quadratic(as_given(jacobian.T @ jacobian), start=0.5)
        assert (model.eigenvalues >= 0).all()
        assert int((model.eigenvalues > 1e-4).sum()) == 3
        assert theory.excess_loss(model, [0.01] * 10, theory.Coupled(0.0)).total > 0
    assert theory.Quadratic([[1.0, 0.0], [0.0, -1e-9]]).eigenvalues.min() == -1e-9


def test_tensors_without_numbers_or_of_another_layout_are_refused():
    assert refusal(theory.Quadratic, torch.ones(3, device="meta")).startswith("hessian is a tensor on the meta device")
    assert refusal(theory.Quadratic, torch.eye(3).to_sparse()).startswith("hessian is a tensor of layout torch.sparse")
