"""Eq. 9 on a real run: every number of ``weightdecay theory``'s drift again, from gradients seen on the way."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from weightdecay.lab.data.base import Batch
from weightdecay.lab.models.small import smallcnn
from weightdecay.lab.pages.theory import drift as theory_drift
from weightdecay.lab.training.train import Training

BETA2 = 0.999  # of Adam, as its paper has it


@pytest.fixture
def walked(monkeypatch):
    """The trainings that are made, each with v̂ after every step, by its definition from the step's own gradients."""
    found = []

    class Watched(Training):
        def __post_init__(self):
            super().__post_init__()
            self.mean, self.seen = 0.0, []
            found.append(self)

        def step(self, batch):
            super().step(batch)
            g = torch.cat([p.grad.double().flatten() for p in self.model.parameters()])
            self.mean = BETA2 * self.mean + (1 - BETA2) * g * g
            self.seen.append(self.mean / (1 - BETA2 ** (len(self.seen) + 1)))

    monkeypatch.setattr(theory_drift, "Training", Watched)
    return found


def test_strengths_and_shifts_are_those_of_equation_9_element_by_element(walked, monkeypatch):
    """AdamW pulls by λ√v of each element, AdamS by λ√(v/v̄): to the minimum of h(θ−θ*)²/2 + pull·θ²/2."""
    h = 2e-3
    monkeypatch.setattr(theory_drift, "mean_curvature", lambda training, seed: h)
    found = theory_drift.drifts(3, 0, lambda line: None)
    assert [one.title for one in found] == ["AdamW", "AdamS"]
    for one, training in zip(found, walked, strict=True):
        weights = torch.cat([p.detach().double().flatten() for p in training.model.parameters()])
        moments = training.seen[training.data.steps - 1 :: training.data.steps]
        never = torch.stack(moments).min(0).values == 0  # no gradient came: Eq. 9 has no place for these,
        filled = [torch.where(never, v[~never].min(), v) for v in moments]  # so they stand with the least v of others
        assert never.double().mean() < 0.1

        def pull(v, stable=one.title == "AdamS", strength=one.weight_decay):
            return strength * (v / v.mean() if stable else v).sqrt()

        strengths = [pull(v) for v in moments]
        ends = [-pull(v) / (h + pull(v)) * weights for v in filled]
        ends_of_mean = [-pull(v.mean()) / (h + pull(v.mean())) * weights for v in moments]
        assert (one.curvature, one.parameters) == (h, len(weights))
        assert one.mean_square == pytest.approx([v.mean().item() for v in moments], rel=1e-4)
        assert one.strength == pytest.approx([(s @ s / len(s)).sqrt().item() for s in strengths], rel=1e-4)
        for name, share in (("low", 0.1), ("high", 0.9)):
            wanted = [s.sort().values[round(share * (len(s) - 1))].item() for s in strengths]
            assert getattr(one, name) == pytest.approx(wanted, rel=0.01)
        for name, points in (("shift", ends), ("shift_of_mean", ends_of_mean)):
            wanted = [math.dist(end.tolist(), points[-1].tolist()) / weights.norm().item() for end in points]
            assert getattr(one, name) == pytest.approx(wanted, rel=1e-3, abs=1e-12), name
        assert one.change == max(one.strength) / min(one.strength)
    assert found[0].shift[0] > 0.01


class Alone(nn.Module):
    """Logits (θ_k, 0) of an example of kind k: no weight shares an example with another, so that H is diagonal."""

    def __init__(self, weights):
        super().__init__()
        self.weight = nn.Parameter(weights)
        self.dropout = nn.Dropout(0.9)  # gone in eval mode

    def forward(self, kinds):
        chosen = self.dropout(self.weight)[kinds]
        return torch.stack([chosen, torch.zeros_like(chosen)], 1)


def watched(model, inputs, targets, batch=64):
    """What ``mean_curvature`` looks at of a training."""

    def train(epoch, start=0):
        assert epoch == 1
        for x, y in zip(inputs.split(batch), targets.split(batch), strict=True):
            yield Batch(x, y, len(y))

    return SimpleNamespace(model=model.train(), data=SimpleNamespace(train=train))


@pytest.mark.parametrize("scans", [200, 256, 400])
def test_the_mean_curvature_of_a_diagonal_hessian_is_exact(scans):
    """Random signs have z² = 1: of a diagonal every one gives the trace. h_k = p_k(1 − p_k) × share of its examples."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(7, generator=generator, dtype=torch.float64)
    kinds = torch.arange(scans) * 7 // scans  # the last ones are of another kind than the first
    targets = torch.randint(2, (scans,), generator=generator)
    looked_at = kinds[:256].tolist()
    total = 0.0
    for kind in looked_at:
        p = 1 / (1 + math.exp(-weights[kind].item()))
        total += p * (1 - p) / len(looked_at)
    found = theory_drift.mean_curvature(watched(Alone(weights), kinds, targets), seed=3)
    assert found == pytest.approx(total / 7, rel=1e-12)


def test_the_mean_curvature_of_a_network_is_the_mean_eigenvalue_of_its_dense_hessian(monkeypatch):
    """Var zᵀHz of random signs is 2 Σ_{i≠j} H_ij²: within 5 standard errors of 400 of them."""
    monkeypatch.setattr(theory_drift, "PROBES", 400)
    torch.manual_seed(0)
    model = smallcnn(SimpleNamespace(channels=1, classes=3), width=1).double()
    inputs, targets = torch.randn(80, 1, 8, 8, dtype=torch.float64), torch.arange(80) % 3
    model(inputs)  # running statistics that are not those of a batch of 80
    found = theory_drift.mean_curvature(watched(model, inputs, targets), seed=0)

    names, values = zip(*model.named_parameters(), strict=True)
    sizes = [value.numel() for value in values]

    def loss(flat):
        parts = [part.view_as(value) for part, value in zip(flat.split(sizes), values, strict=True)]
        return cross_entropy(
            torch.func.functional_call(model.eval(), dict(zip(names, parts, strict=True)), inputs), targets
        )

    hessian = torch.autograd.functional.hessian(loss, torch.cat([value.detach().flatten() for value in values]))
    beside = hessian - hessian.diagonal().diag()
    error = math.sqrt(2 * beside.square().sum().item() / 400) / sum(sizes)
    wanted = hessian.trace().item() / sum(sizes)
    assert error < wanted / 10
    assert found == pytest.approx(wanted, abs=5 * error)


def test_a_network_that_is_at_no_minimum_has_no_mean_curvature_to_draw():
    class Top(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, x):
            return torch.stack([self.weight.square().expand(len(x)), torch.zeros(len(x))], 1)

    with pytest.raises(ValueError, match=r"tr\(H\)/n = -1 is not above 0: train longer"):
        theory_drift.mean_curvature(watched(Top(), torch.zeros(8), torch.zeros(8, dtype=torch.int64)), seed=0)
