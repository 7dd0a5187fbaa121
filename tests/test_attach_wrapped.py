"""Attached decays where the step is compiled, taken during the backward pass, or handed to a list of optimizers."""

import copy
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from drive import assert_close, flat, gradients, joined, set_gradients, weights
from torch._dynamo.utils import counters
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from twins import ADAM

import weightdecay as wd
from weightdecay import attach
from weightdecay.attaching import Handle
from weightdecay.optim.sharding import Spread

MAKERS = {
    "AdamW": lambda params: torch.optim.AdamW(params, **ADAM, weight_decay=0.5, foreach=True),
    "SGD": lambda params: torch.optim.SGD(params, lr=0.05, momentum=0.9, weight_decay=0.05),
}


@pytest.mark.parametrize("decay", ["stable", "cautious(decoupled)"])
@pytest.mark.parametrize("name", MAKERS)
def test_a_compiled_step(name, decay):
    """The hooks stay outside of the graphs, and the pull, which changes in every step, builds no new ones."""
    ends = []
    for compiled in (False, True):
        torch._dynamo.reset()
        counters.clear()
        params = weights()
        optimizer = MAKERS[name](joined(params))
        handle = attach(optimizer, decay)
        step = torch.compile(optimizer.step, backend="eager") if compiled else optimizer.step
        for each in gradients(12, missing=False):
            set_gradients(params, each)
            step()
        ends.append((flat(params), handle.pulls))
    (ours, pulls), (theirs, expected) = ends
    assert_close(ours, theirs, 1e-5)  # torch's compiled AdamW corrects its bias in float32
    assert pulls == pytest.approx(expected, rel=1e-12)
    assert counters["stats"]["unique_graphs"] <= 3
    torch._dynamo.reset()


def in_backward(model, decay):
    """One optimizer for each tensor, which steps as soon as its gradient is there."""
    optimizers = {p: torch.optim.AdamW([p], **ADAM, weight_decay=0.5) for p in model.parameters()}
    handles = attach(list(optimizers.values()), decay)

    def step(p):
        optimizers[p].step()
        optimizers[p].zero_grad()

    for p in model.parameters():
        p.register_post_accumulate_grad_hook(step)
    return handles


def small():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)).double()


def test_in_the_backward_pass_a_decay_without_a_mean_is_right():
    model, plain = small(), small()
    in_backward(model, "decoupled")
    optimizer = torch.optim.AdamW(plain.parameters(), **ADAM, weight_decay=0.5)
    for t in range(4):
        rows = torch.linspace(-1, 1, 6, dtype=torch.float64).view(2, 3) * (t + 1)
        model(rows).square().sum().backward()
        plain(rows).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert_close(flat([list(model.parameters())]), flat([list(plain.parameters())]))


def test_in_the_backward_pass_a_mean_over_the_model_is_refused():
    """The first tensor would step with its own mean, the last one with another."""
    model = small()
    in_backward(model, "stable")
    with pytest.raises(RuntimeError, match=r"have changed since another optimizer .* Make all gradients"):
        model(torch.ones(2, 3, dtype=torch.float64)).square().sum().backward()


class Container(torch.optim.Optimizer):
    """Stands for torchtitan's OptimizersContainer."""

    def __init__(self, parts):
        self.optimizers = [MAKERS["AdamW"](part) for part in parts]
        super().__init__([p for part in parts for p in part], {"lr": 0.1, "weight_decay": 0.5})

    def step(self, *args, **kwargs):
        for optimizer in self.optimizers:
            optimizer.step(*args, **kwargs)


def test_a_container_of_optimizers_is_refused_and_its_parts_are_taken():
    a, b = weights(), weights()
    container = Container(a)
    groups = [dict(group) for group in container.param_groups]
    with pytest.raises(TypeError, match=r"hands its step to 2 optimizers.*attach\(optimizer\.optimizers, \.\.\.\)"):
        attach(container, wd.Stable())
    assert container.param_groups == groups
    assert Handle.of(container) is None
    attach(container.optimizers, wd.Stable())
    mine = wd.Adam([{"params": part} for part in b], **ADAM, weight_decay=0.5, decay="stable", engine="reference")
    for each in gradients(6):
        for params, optimizer in ((a, container), (b, mine)):
            set_gradients(params, each)
            optimizer.step()
    assert_close(flat(a), flat(b))


def test_flat_checkpoints_pass_between_plain_and_attached_optimizers():
    """As torchtitan writes and reads them: the state of every tensor, and every key of its group, by its name."""
    options = StateDictOptions(flatten_optimizer_state_dict=True)
    model, plain = small(), small()
    ours, theirs = (torch.optim.AdamW(m.parameters(), **ADAM, weight_decay=0.5) for m in (model, plain))
    attach(ours, wd.Independent())
    for m, optimizer in ((model, ours), (plain, theirs)):
        m(torch.ones(2, 3, dtype=torch.float64)).square().sum().backward()
        optimizer.step()
    saved, bare = (
        copy.deepcopy(get_optimizer_state_dict(m, o, options=options)) for m, o in ((model, ours), (plain, theirs))
    )
    assert {key for key in saved if "attached" not in key} == set(bare)
    with pytest.warns(UserWarning, match="Independent.* keeps weight_decay=0.5"):
        set_optimizer_state_dict(model, ours, bare, options=options)
    set_optimizer_state_dict(plain, theirs, {k: v for k, v in saved.items() if "attached" not in k}, options=options)


@pytest.mark.parametrize("decay", ["stable", "decoupled"])
def test_flat_pieces_in_two_processes(decay, monkeypatch):
    """Stands for DeepSpeed's ZeRO, where every process steps a flat piece of all weights."""
    local, meet, parts = threading.local(), threading.Barrier(2, timeout=30), [None, None]

    def summed(self, values):
        parts[local.rank] = values
        meet.wait()
        total = parts[0] + parts[1]
        meet.wait()
        return total

    whole = weights()
    mine = wd.Adam(joined(whole), **ADAM, weight_decay=0.5, decay=decay, engine="reference")
    flat_start = torch.cat([p.detach().flatten() for p in joined(whole)])
    run = gradients(5, missing=False)
    pieces = [torch.nn.Parameter(part.clone()) for part in flat_start.chunk(2)]

    def process(rank):
        local.rank = rank
        optimizer = torch.optim.AdamW([pieces[rank]], **ADAM, weight_decay=0.5)
        attach(optimizer, decay, process_group=object())
        for each in run:
            grads = [torch.as_tensor(g).flatten() for group in each for g in group]
            pieces[rank].grad = torch.cat(grads).chunk(2)[rank].clone()
            optimizer.step()

    monkeypatch.setattr(Spread, "sum", summed)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(process, range(2)))
    monkeypatch.undo()
    for each in run:
        set_gradients(whole, each)
        mine.step()
    assert_close([torch.cat([p.detach() for p in pieces])], [torch.cat([p.detach().flatten() for p in joined(whole)])])
