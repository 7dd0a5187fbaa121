"""Lion: what it shares with the public implementations, and what it refuses."""

import pytest
import torch
from drive import assert_close, drive, flat, gradients, joined, schedule, weights

import weightdecay as wd

STEPS = 60


def theirs(package):
    if package == "timm":
        return pytest.importorskip("timm.optim").Lion
    return pytest.importorskip("lion_pytorch").Lion


@pytest.mark.parametrize("package", [pytest.param("timm", marks=pytest.mark.slow), "lion_pytorch"])
def test_equals_the_public_implementations(package):
    """Both decay by p *= 1 − lr·λ before the step."""
    cls, options, ends = theirs(package), {"lr": 1e-3, "betas": (0.8, 0.95), "weight_decay": 0.1}, []
    for kind in (wd.Lion, cls):
        params = weights()
        optimizer = kind([{"params": params[0]}, {"params": params[1], "weight_decay": 0.02}], **options)
        drive(optimizer, params, gradients(STEPS), [schedule(STEPS, 1e-3)] * 2)
        ends.append((flat(params), [optimizer.state[p]["exp_avg"] for p in joined(params)]))
    for ours, other in zip(*ends, strict=True):
        assert_close(ours, other)


@pytest.mark.parametrize("decay", [wd.Stable(), wd.Elementwise(), wd.Cautious(wd.Stable())], ids=repr)
def test_a_decay_that_reads_a_gain_is_refused_with_the_choices_and_follows_a_number(decay):
    p = torch.nn.Parameter(torch.ones(2))
    with pytest.raises(TypeError, match=r"Lion has none, because it takes a sign\. Decoupled\(\), Indep"):
        wd.Lion([p], decay=decay)
    optimizer = wd.Lion([{"params": [p], "gain": 2}], decay=decay, weight_decay=0.1, lr=0.5)
    p.grad = torch.ones(2)
    optimizer.step()
    assert_close([p.detach()], [torch.full((2,), 1 - 0.5 * 0.1 * 2 - 0.5)], 1e-6)
    optimizer.param_groups[0]["gain"] = None
    with pytest.raises(TypeError, match="it takes a sign"):
        optimizer.step()
    with pytest.raises(ValueError, match=r"gain=-1 in group 0 is outside"):
        wd.Lion([p], gain=-1)


def test_an_element_without_gradients_stands_still():
    """The sign of 0 is 0, as in both implementations."""
    p = torch.nn.Parameter(torch.ones(2))
    optimizer = wd.Lion([p], lr=0.1)
    p.grad = torch.tensor([0.0, 1e-30])
    optimizer.step()
    assert_close([p.detach()], [torch.tensor([1.0, 0.9])], 1e-6)
