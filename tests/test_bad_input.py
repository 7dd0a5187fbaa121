"""Errors name the thing, the value, the reason and the way out, and leave nothing half done."""

import pytest
import torch
from cases import BAD_INPUTS, METHODS

import weightdecay as wd


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_bad_input_is_refused_in_words(name):
    case = BAD_INPUTS[name]
    params = [torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(3))]
    with pytest.raises(case.error, match=case.says):
        case.build(params)


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_sparse_gradients_are_refused_before_anything_moves(method):
    dense = torch.nn.Parameter(torch.ones(3))
    table = torch.nn.Embedding(5, 2, sparse=True)
    before = table.weight.detach().clone()
    optimizer = method.cls([("dense", dense), ("table", table.weight)], lr=method.lr, weight_decay=0.1)
    dense.grad = torch.ones(3)
    table(torch.tensor([1, 3])).sum().backward()
    with pytest.raises(RuntimeError, match=r"does not support sparse gradients \(table of group 0\).*SparseAdam"):
        optimizer.step()
    assert torch.equal(dense.detach(), torch.ones(3))
    assert torch.equal(table.weight.detach(), before)
    assert not any(optimizer.state.values())


def test_a_refused_group_leaves_the_optimizer_as_it_was():
    a, b = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    optimizer = wd.AdamS([a])
    for bad in ({"params": [b], "lr": -1.0}, {"params": [b], "decay": wd.Independent(), "lr": 0.0}, {"params": [a]}):
        with pytest.raises(ValueError, match="group 1"):
            optimizer.add_param_group(bad)
        assert len(optimizer.param_groups) == 1
    optimizer.add_param_group({"params": [b], "lr": 0.5})
    assert optimizer.param_groups[1]["peak_lr"] == 0.5


def test_independent_says_so_when_a_schedule_rises_above_the_peak():
    p = torch.nn.Parameter(torch.ones(2))
    optimizer = wd.SGD([p], lr=0.1, weight_decay=0.01, decay=wd.Independent())
    optimizer.param_groups[0]["lr"] = 0.2
    p.grad = torch.ones(2)
    with pytest.raises(ValueError, match=r"lr=0.2 exceeds peak_lr=0.1 in group 0.*Set peak_lr"):
        optimizer.step()
    assert torch.equal(p.detach(), torch.ones(2))


def test_names_of_other_libraries_are_left_alone_in_groups():
    p = torch.nn.Parameter(torch.ones(2))
    group = wd.AdamS([{"params": [p], "lr_scale": 0.5, "initial_lr": 0.1, "name": "head"}]).param_groups[0]
    assert (group["lr_scale"], group["name"]) == (0.5, "head")


def test_every_available_name_builds_and_is_documented():
    assert {"adams", "sgds", "adais", "amsgrads", "adamw", "sgdw", "amsgradw", "adaiw"} <= set(wd.available())
    for name in wd.available():
        optimizer = wd.create(name.upper(), [torch.nn.Parameter(torch.ones(2, 2))], lr=0.01)
        assert type(optimizer).__name__.lower() == name
        assert "arXiv" in type(optimizer).__doc__ or type(optimizer).__mro__[1].__doc__


def test_stable_names_take_the_papers_strength():
    for name in ("adams", "sgds", "adais", "amsgrads"):
        group = wd.create(name, [torch.nn.Parameter(torch.ones(2))]).param_groups[0]
        assert group["weight_decay"] == 5e-4
        assert group["decay"] == wd.Stable()


def test_a_decay_may_be_named():
    weights = [torch.nn.Parameter(torch.ones(2))]
    assert wd.create("sgd", weights, lr=0.1, decay="Vanilla").param_groups[0]["decay"] == wd.Vanilla()
    with pytest.raises(ValueError, match=r"no decay is called 'vanila'. Did you mean 'vanilla'\?"):
        wd.create("sgd", weights, lr=0.1, decay="vanila")
