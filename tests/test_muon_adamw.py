"""MuonAdamW: one optimizer for a whole model, whose groups name their method."""

import copy

import pytest
import torch
from drive import assert_close, flat, joined
from test_muon import EXACT, MATRIX, VECTOR, assert_same, outcome, weights

import weightdecay as wd
from weightdecay.lab.run import Run
from weightdecay.lab.training.progress import rule
from weightdecay.lab.training.train import optimizer_of
from weightdecay.optim import newton_schulz


class Model(torch.nn.Module):
    """A little of everything."""

    def __init__(self, tied=False):
        super().__init__()
        self.words = torch.nn.Embedding(11, 8)
        self.places = torch.nn.Parameter(torch.randn(1, 5, 8))
        self.filters = torch.nn.Conv1d(8, 8, 3, padding=1)
        self.attention = torch.nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = torch.nn.LayerNorm(8)
        self.head = torch.nn.Linear(8, 11, bias=False)
        if tied:
            self.head.weight = self.words.weight

    def forward(self, tokens):
        x = self.words(tokens) + self.places
        x = self.filters(x.mT).mT
        return self.head(self.norm(x + self.attention(x, x, x)[0]))


@pytest.mark.parametrize("tied", [False, True])
def test_a_model_is_dealt_out_by_the_types_of_its_modules(tied):
    optimizer = wd.MuonAdamW(Model(tied), lr=1e-3, adam_lr=2e-3)
    found = {
        g["name"]: (g["method"], g["lr"], g["weight_decay"], set(g["param_names"])) for g in optimizer.param_groups
    }
    hidden = {"filters.weight", "attention.in_proj_weight", "attention.out_proj.weight"}
    ends = {"words.weight"} if tied else {"words.weight", "head.weight"}
    rest = {name for name, _ in Model(tied).named_parameters()} - hidden - ends
    assert found == {
        "hidden matrices": ("muon", 1e-3, 0.1, hidden),
        "embeddings and head": ("adam", 2e-3, 0.1, ends),
        "norms, biases and the rest": ("adam", 2e-3, 0.0, rest),
    }
    table = repr(optimizer).splitlines()
    assert [line.split()[1] for line in table[1:]] == ["method", "muon", "adam", "adam"]


def test_muon_adamw_is_torchs_two_optimizers_stepped_one_after_the_other(monkeypatch):
    monkeypatch.setattr(newton_schulz, "multiplies_bfloat16", lambda: True)
    torch.manual_seed(0)
    ours = Model().double()
    theirs = copy.deepcopy(ours)
    optimizer = wd.MuonAdamW(ours, lr=1e-2, weight_decay=0.2)
    by_name = dict(theirs.named_parameters())
    muons, ends, rest = ([by_name[n] for n in g["param_names"]] for g in optimizer.param_groups)
    # torch's Muon takes no filters: they are given as the matrix that they are.
    flat_filters = [torch.nn.Parameter(p.detach().flatten(1)) for p in muons]
    adam = {"lr": 1e-2, "betas": (0.9, 0.95), "weight_decay": 0.2}
    two = [
        torch.optim.Muon(flat_filters, lr=1e-2, weight_decay=0.2, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW([{"params": ends}, {"params": rest, "weight_decay": 0.0}], **adam),
    ]
    tokens = torch.arange(10).reshape(2, 5)
    for _ in range(6):
        for model in (ours, theirs):
            model.zero_grad()
            model(tokens).square().mean().backward()
        optimizer.step()
        for matrix, p in zip(flat_filters, muons, strict=True):
            matrix.grad = p.grad.flatten(1)
        for each in two:
            each.step()
        for matrix, p in zip(flat_filters, muons, strict=True):
            p.data.copy_(matrix.detach().view_as(p))
    assert_close(flat([list(ours.parameters())]), flat([list(theirs.parameters())]), 1e-9)


def test_the_lab_hands_over_the_model_and_refuses_plain_muon_in_a_line():
    model = Model()
    optimizer = optimizer_of(Run("muonadamw", 1e-3, 0.2, seed=0), model)
    assert [(g["method"], g["weight_decay"]) for g in optimizer.param_groups] == [
        ("muon", 0.2),
        ("adam", 0.2),
        ("adam", 0.0),
    ]
    decided = rule(optimizer, Run("muonadamw", 1e-3, 0.2, seed=0))
    assert (decided["method"], decided["method of group 1"]) == ("'muon'", "'adam'")
    with pytest.raises(ValueError, match=r"MuonAdamW\(model\) moves matrices by Muon"):
        optimizer_of(Run("muon", 1e-3, 0.2, seed=0), model)


def test_another_method_in_mid_run_asks_for_an_empty_state():
    p = torch.nn.Parameter(torch.ones(2, 3))
    optimizer = wd.MuonAdamW([{"params": [p], "method": "adam"}])
    p.grad = torch.ones(2, 3)
    optimizer.step()
    optimizer.param_groups[0]["method"] = "muon"
    with pytest.raises(ValueError, match=r"hold the state of another method. Empty it"):
        optimizer.step()
    optimizer.state[p].clear()
    optimizer.step()
    assert set(optimizer.state[p]) == {"step", "momentum_buffer"}


def test_tensors_without_a_model_are_dealt_out_by_their_dimensions():
    optimizer = wd.MuonAdamW([("a", MATRIX), ("b", VECTOR)])
    assert [(g["method"], g["param_names"], g["eps"]) for g in optimizer.param_groups] == [
        ("muon", ["a"], 1e-7),
        ("adam", ["b"], 1e-8),
    ]


@pytest.mark.parametrize(("decay", "kernels"), [("decoupled", 1), ("stable", 0)])
def test_auto_moves_the_adam_part_by_torchs_kernel_unless_the_mean_is_read(decay, kernels, monkeypatch):
    calls, kernel, ends = [], torch._fused_adamw_, []
    monkeypatch.setattr(torch, "_fused_adamw_", lambda *a, **k: calls.append(1) or kernel(*a, **k))
    for engine in ("auto", "reference"):
        params = weights([[(3, 4), (4, 3)], [(5,), (2, 3)]])
        groups = [{"params": params[0], "method": "muon"}, {"params": params[1], "method": "adam", "decay": decay}]
        optimizer = wd.MuonAdamW(groups, weight_decay=0.01, engine=engine, **EXACT)
        for p in joined(params):
            p.grad = torch.cos(torch.arange(p.numel(), dtype=p.dtype)).reshape(p.shape)
        optimizer.step()
        ends.append(outcome(optimizer, params))
    assert len(calls) == kernels
    assert_same(*ends)


def test_a_checkpoint_of_groups_with_other_methods_is_refused():
    params = weights([[(3, 4)], [(2, 3)]])
    groups = lambda *methods: [{"params": p, "method": m} for p, m in zip(params, methods, strict=True)]  # noqa: E731
    saved = wd.MuonAdamW(groups("muon", "adam")).state_dict()
    with pytest.raises(ValueError, match="group 0 of the checkpoint was moved by 'muon', and is moved by 'adam' here"):
        wd.MuonAdamW(groups("adam", "muon")).load_state_dict(saved)
