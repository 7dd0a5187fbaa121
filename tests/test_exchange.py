"""Another optimizer: what its λ is, and how far that holds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import weightdecay
from weightdecay.transfer import MissingError, Setting, Wanted, advise
from weightdecay.transfer.length import LENGTH

ADAMW = Setting("adamw", lr=1e-3, weight_decay=0.1)
SGD = Setting("sgd", lr=0.1, weight_decay=5e-4, batch_size=128, epochs=200, samples=50_000, momentum=0.9)
ADAMS = Setting("adams", lr=1e-3, weight_decay=5e-4, mean_square=1e-5)


def numbers(old, **wanted):
    return {each.name: (each.lr, each.weight_decay) for each in advise(old, Wanted(**wanted)).recommendations}


def test_optimizers_of_one_family_are_converted():
    ((_, weight_decay),) = numbers(SGD, optimizer="sgdw").values()
    assert weight_decay == pytest.approx(5e-3)
    exact, convention = advise(ADAMS, Wanted(optimizer="adamw")).recommendations
    assert exact.weight_decay == pytest.approx(5e-4 * 1e-5**-0.5)
    assert convention.weight_decay == pytest.approx(0.5)
    ((_, weight_decay),) = numbers(replace(ADAMS, mean_square=None), optimizer="adamw").values()
    assert weight_decay == pytest.approx(0.5)


def test_between_families_lambda_passes_through_l2_and_the_lr_is_the_users():
    assert list(numbers(SGD, optimizer="adamw", lr=1e-3).values()) == [pytest.approx((1e-3, 0.5))]
    assert list(numbers(SGD, optimizer="adams", lr=1e-3).values()) == [pytest.approx((1e-3, 5e-4))]
    assert list(numbers(ADAMW, optimizer="sgds", lr=0.1, momentum=0.9).values()) == [pytest.approx((0.1, 1e-4))]


def test_an_optimizer_and_a_length_at_once_are_both_applied():
    found = numbers(SGD, optimizer="sgdw", epochs=100)
    assert found[f"sgd → sgdw, same minimum, another path + {LENGTH.name}"] == pytest.approx((0.1, 0.01))


def test_a_measured_gain_stands_for_the_moment():
    measured = replace(ADAMS, optimizer="radam", decay="stable", mean_square=None, measured_gain=200.0)
    exact, convention = advise(measured, Wanted(decay="decoupled")).recommendations
    assert exact.weight_decay == pytest.approx(5e-4 * 200)
    assert convention.weight_decay == pytest.approx(0.5)


def test_padams_moment_has_its_own_power():
    padam = replace(ADAMS, optimizer="padam", decay="stable", lr=0.1)
    exact, _ = advise(padam, Wanted(decay="decoupled")).recommendations
    assert exact.weight_decay == pytest.approx(5e-4 * 1e-5**-0.25)


# ------------------------------------------------------------------------------------- forms of SGD


def first_steps(name, momentum, dampening, lrs=(0.1,) * 6):
    weight = torch.nn.Parameter(torch.tensor([3.0, -1.0], dtype=torch.float64))
    more = {} if name == "tensorflowsgd" else {"dampening": dampening}
    optimizer = weightdecay.create(name, [weight], lr=0.1, momentum=momentum, weight_decay=0.02, **more)
    path = []
    for lr in lrs:
        optimizer.param_groups[0]["lr"] = lr
        weight.grad = 0.5 * (weight.detach() - 1)
        optimizer.step()
        path.append(weight.detach().clone())
    return torch.stack(path)


@pytest.mark.parametrize("dampening", [0.0, 0.9])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize(("one", "other"), [("heavyball", "sgd"), ("sgd", "heavyball"), ("sgd", "tensorflowsgd")])
def test_forms_of_sgd_are_called_exact_where_they_walk_one_path(one, other, momentum, dampening):
    old = replace(SGD, optimizer=one, momentum=momentum, dampening=dampening)
    (row,) = advise(old, Wanted(optimizer=other)).recommendations
    together, scheduled = (
        torch.allclose(*(first_steps(name, momentum, dampening, lrs) for name in (one, other)), atol=1e-13)
        for lrs in ((0.1,) * 6, (0.1, 0.1, 0.1, 0.05, 0.05, 0.05))
    )
    assert row.name.endswith("exact" if scheduled else "exact at a constant lr" if together else "another path")
    assert row.weight_decay == 5e-4


# ------------------------------------------------------------------------------------- other algorithms


def test_between_adaptive_methods_lambda_means_the_same_and_the_lr_is_the_users():
    adam = Setting("adam", lr=1e-3, weight_decay=5e-4)
    (kept,) = advise(adam, Wanted(optimizer="padam")).recommendations
    assert kept.name == "adam → padam, same meaning of λ"
    assert (kept.lr, kept.weight_decay) == (1e-3, 5e-4)
    assert any("the lr is not converted" in warning for warning in kept.warnings)
    (given,) = advise(adam, Wanted(optimizer="padam", lr=0.01)).recommendations
    assert (given.lr, given.weight_decay) == (0.01, 5e-4)
    (pull,) = advise(ADAMW, Wanted(optimizer="amsgradw", lr=2e-3)).recommendations
    assert (pull.name, pull.weight_decay) == ("adamw → amsgradw, same pull", pytest.approx(0.05))


def test_where_no_adam_is_involved_none_is_mentioned():
    adai = Setting("adai", lr=1.0, weight_decay=5e-4)
    (row,) = advise(adai, Wanted(optimizer="sgdw", lr=0.1, momentum=0.9)).recommendations
    assert row.weight_decay == pytest.approx(5e-3)
    assert "schedule" not in " ".join(row.warnings)
    (vanilla,) = advise(adai, Wanted(optimizer="sgd", decay="vanilla", lr=0.1, momentum=0.9)).recommendations
    assert "schedule of the lr moves" in vanilla.warnings[0]
    assert "Adam" not in " ".join((row.name, *row.warnings, *(kept.name for kept in row.kept)))


def test_a_measured_moment_does_not_follow_to_another_algorithm():
    (row,) = advise(ADAMS, Wanted(optimizer="amsgradw")).recommendations
    assert row.name == "adams → amsgradw, convention"
    assert row.weight_decay == pytest.approx(0.5)


# ------------------------------------------------------------------------------------- Lion


def test_lion_gets_its_authors_range_at_adamws_pull():
    rows = advise(ADAMW, Wanted(optimizer="lion")).recommendations
    assert [(r.lr, r.weight_decay) for r in rows] == [pytest.approx((1e-3 / f, 0.1 * f)) for f in (3, 10)]
    assert {kept.name: kept.after for r in rows for kept in r.kept} == {"pull": pytest.approx(1e-4)}
    assert {r.sources for r in rows} == {("arXiv:2302.06675",)}
    back = advise(Setting("lion", lr=1e-4, weight_decay=1.0), Wanted(optimizer="adamw")).recommendations
    assert [(r.lr, r.weight_decay) for r in back] == [pytest.approx((1e-4 * f, 1 / f)) for f in (3, 10)]


def test_lion_takes_an_lr_of_ones_own():
    (row,) = advise(ADAMW, Wanted(optimizer="lion", lr=2e-4)).recommendations
    assert (row.lr, row.weight_decay) == pytest.approx((2e-4, 0.5))
    with pytest.raises(MissingError, match="new_lr"):
        advise(SGD, Wanted(optimizer="lion"))


def test_lions_betas_are_not_adams():
    lion = Setting("lion", lr=1e-4, weight_decay=1.0, batch_size=128, epochs=9, samples=50_000)
    assert all(row.betas is None for row in advise(lion, Wanted(batch_size=256)).recommendations)
