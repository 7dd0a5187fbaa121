"""audit(): the pull it claims is what the optimizer does; what is suspicious is said."""

import pytest
import torch
from selecting import all_of, all_of_groups, network
from torch import nn

import weightdecay
from weightdecay import Cautious, Decoupled, Independent, Stable, TouchedRows, Toward, Vanilla, audit, select


def kinds(report):
    return {finding.kind for finding in report.findings}


def pull_of(report):
    (row,) = report.rows
    return row.pull


# ---------------------------------------------------------------- the pull is what the optimizer does

torch_optim = torch.optim
DOES = {
    "AdamW": lambda p: torch_optim.AdamW(p, lr=0.1, weight_decay=0.3),
    "Muon": lambda p: torch_optim.Muon(p, lr=0.1, weight_decay=0.3),
    "Adafactor": lambda p: torch_optim.Adafactor(p, lr=0.1, weight_decay=0.3),
    "NAdam": lambda p: torch_optim.NAdam(p, lr=0.1, weight_decay=0.3, decoupled_weight_decay=True),
    "RAdam": lambda p: torch_optim.RAdam(p, lr=0.1, weight_decay=0.3, decoupled_weight_decay=True),
    "Adam": lambda p: torch_optim.Adam(p, lr=0.1, weight_decay=0.3, decoupled_weight_decay=True),
    "SGD": lambda p: torch_optim.SGD(p, lr=0.1, weight_decay=0.3),
    "ours": lambda p: weightdecay.Adam(p, lr=0.1, weight_decay=0.3, decay=Decoupled()),
    "ours, vanilla": lambda p: weightdecay.SGD(p, lr=0.1, weight_decay=0.3, decay=Vanilla()),
    "ours, independent": lambda p: weightdecay.SGD(p, lr=0.1, peak_lr=0.5, weight_decay=0.3, decay=Independent()),
    "ours, stable": lambda p: weightdecay.SGD(p, lr=0.1, weight_decay=0.3, decay=Stable()),
}


ALONE = [(name, False) for name in DOES] + [(name, True) for name in DOES if not name.startswith("ours")]


@pytest.mark.parametrize(("name", "attached"), ALONE)
def test_a_weight_without_a_gradient_shrinks_by_the_pull(name, attached):
    weight = nn.Parameter(torch.full((2, 2), 2.0, dtype=torch.float64))
    model = nn.Module()
    model.weight = weight
    optimizer = DOES[name]([weight])
    if attached:
        weightdecay.attach(optimizer, Independent(), peak_lr=0.4, check=False)
    weight.grad = torch.zeros_like(weight)
    if name == "ours, stable":
        assert pull_of(audit(model, optimizer)) is None  # it follows from a step
        optimizer.step()
        with torch.no_grad():
            weight.fill_(2.0)
    claimed = pull_of(audit(model, optimizer))
    optimizer.step()
    torch.testing.assert_close(weight, torch.full_like(weight, 2 * (1 - claimed)), rtol=1e-12, atol=0)
    assert claimed > 0


def test_the_pull_of_sgd_with_momentum_is_that_of_its_steady_state():
    """λ small: the buffer is filled with λθ/(1 − momentum) long before θ has moved."""
    weight = nn.Parameter(torch.ones(1, dtype=torch.float64))
    model = nn.Module()
    model.w = nn.ParameterList([weight])
    optimizer = torch.optim.SGD([weight], lr=1e-3, momentum=0.9, dampening=0.2, weight_decay=1e-4)
    claimed = pull_of(audit(model, optimizer))
    weight.grad = torch.zeros_like(weight)
    for _ in range(300):
        before = weight.item()
        optimizer.step()
    assert 1 - weight.item() / before == pytest.approx(claimed, rel=1e-4)


@pytest.mark.parametrize("kind", ["Adam", "RMSprop", "Adagrad"])
def test_no_pull_is_claimed_where_it_depends_on_the_gradients(kind):
    model = nn.Linear(2, 2)
    (row, _) = audit(model, all_of(model, getattr(torch.optim, kind))).rows
    assert (row.decay, row.pull, row.half_life) == ("L2()", None, None)


class Foreign(torch.optim.AdamW):
    def step(self, closure=None):
        return None


class Renamed(torch.optim.AdamW):
    """Steps as its base does."""


def test_an_optimizer_of_an_unknown_class_does_as_its_own():
    model = nn.Linear(2, 2)
    assert {row.decay for row in audit(model, all_of(model, Foreign)).rows} == {"as its own (Foreign)"}
    assert {row.decay for row in audit(model, all_of(model, Renamed)).rows} == {"Decoupled()"}
    assert {row.decay for row in audit(model, torch.optim.LBFGS(model.parameters())).rows} == {"has none (LBFGS)"}


def test_half_life_is_when_half_is_left():
    model = nn.Module()
    model.weight = nn.Parameter(torch.ones(2, 2))
    (row,) = audit(model, all_of(model, lr=0.5, weight_decay=0.02)).rows
    assert (1 - row.pull) ** row.half_life == pytest.approx(0.5, rel=1e-12)


# ---------------------------------------------------------------- what is suspicious


def test_a_clean_split_has_no_findings_and_says_all_numbers():
    model = network()
    optimizer = torch.optim.AdamW(select(model, 0.1), lr=0.01)
    report = audit(model, optimizer, steps=1000)
    assert report.findings == ()
    assert str(report).splitlines() == [
        "AdamW",
        "  role       tensors  elements    λ  decay        pull per step  half-life  reason",
        "  matrix           1        16  0.1  Decoupled()          0.001        693  Linear",
        "  embedding        1        20    0  –                        0          –  Embedding",
        "  bias             2         8    0  –                        0          –  bias of Linear, bias of LayerNorm",
        "  norm             1         4    0  –                        0          –  LayerNorm",
    ]


SUSPICIOUS = {
    "everything decays": (
        lambda m: all_of(m),
        {"decays", "embedding"},
        "1 tensor of role norm decays towards 0: 2.weight.",
    ),
    "no matrix decays": (
        lambda m: torch.optim.AdamW([{"params": m[1].weight, "weight_decay": 0.0}, {"params": m[0].parameters()}]),
        {"matrix", "embedding", "missing"},
        "1 tensor of role matrix does not decay: 1.weight.",
    ),
    "nothing decays": (lambda m: all_of(m, weight_decay=0.0), {"nothing"}, "nothing decays: every λ is 0."),
    "in no group": (
        lambda m: torch.optim.AdamW(m[1].parameters(), weight_decay=0.0),
        {"missing", "nothing"},
        "3 tensors in no group: not trained, not decayed: 0.weight, 2.weight, 2.bias.",
    ),
    "in two optimizers": (
        lambda m: [torch.optim.AdamW(select(m)), torch.optim.SGD([m[1].weight], weight_decay=0.1)],
        {"twice"},
        "1 tensor in two groups: moved and decayed twice per step: 1.weight.",
    ),
    "not of the model": (
        lambda m: torch.optim.AdamW([*select(m), {"params": [nn.Parameter(torch.ones(2))]}]),
        {"foreign"},
        "1 tensor in the groups is not in the model",
    ),
    "a decay that nothing reads": (
        lambda m: torch.optim.AdamW(select(m, roles={"norm": Toward(1.0, Decoupled())})),
        {"unread", "decays"},
        "whose decay Toward(target=1.0, decay=Decoupled()) nothing reads",
    ),
}


@pytest.mark.parametrize("case", SUSPICIOUS)
def test_what_is_suspicious_is_said(case):
    build, expected, says = SUSPICIOUS[case]
    model = network()
    report = audit(model, build(model))
    assert kinds(report) == expected
    assert any(line.startswith("! ") and says in line for line in str(report).splitlines())


def test_a_frozen_tensor_in_a_decaying_group_and_one_of_no_role():
    model = nn.Sequential(nn.Linear(2, 2))
    model.theta = nn.Parameter(torch.ones(3))
    optimizer = all_of(model)
    model[0].weight.requires_grad_(False)
    assert {"frozen", "unknown"} <= kinds(audit(model, optimizer))


def test_an_anchor_and_touched_rows_are_not_suspicious():
    model = network()
    decays = {"norm": Toward(1.0, Decoupled()), "embedding": Cautious(TouchedRows(Decoupled())), "bias": 0.0}
    optimizer = weightdecay.Adam(select(model, 0.1, roles=decays), decay=Decoupled())
    assert audit(model, optimizer).findings == ()
    decays["norm"] = Toward(0.0, Decoupled())
    assert kinds(audit(model, weightdecay.Adam(select(model, 0.1, roles=decays), decay=Decoupled()))) == {"decays"}


@pytest.mark.parametrize(
    ("pull", "whose"), [(2**-9 * 0.999, "all weights"), (2**-9 * 1.001, "some weights"), (2**-8 * 1.001, None)]
)
def test_a_pull_under_half_a_spacing_of_bfloat16_is_lost(pull, whose):
    """The words are those of the arithmetic: of all bfloat16 numbers from 1 to 2, all, some or none stand still."""
    model = nn.Module()
    model.weight = nn.Parameter(torch.arange(128, dtype=torch.bfloat16).reshape(8, 16) / 128 + 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=pull, weight_decay=1.0, foreach=False)
    said = [finding.text for finding in audit(model, optimizer).findings if finding.kind == "rounding"]
    before = model.weight.detach().clone()
    model.weight.grad = torch.zeros_like(model.weight)
    optimizer.step()
    still = (model.weight == before).sum().item()
    assert whose == (None if still == 0 else "all weights" if still == 128 else "some weights")
    assert [f"for {whose}" in text for text in said] == [True] * bool(whose)


def test_rounding_that_keeps_a_small_pull_is_not_suspicious():
    model = nn.Module()
    model.weight = nn.Parameter(torch.ones(2, 2, dtype=torch.bfloat16))
    options = {"lr": 1e-3, "weight_decay": 1e-2, "decay": Decoupled()}
    assert kinds(audit(model, weightdecay.Adam([model.weight], rounding="stochastic", **options))) == set()
    with pytest.warns(UserWarning, match="rounding"):
        optimizer = weightdecay.Adam([model.weight], **options)
    assert kinds(audit(model, optimizer)) == {"rounding"}


@pytest.mark.parametrize(("steps", "found"), [(9, {"total"}), (11, set()), (49_000, set()), (51_000, {"total"})])
def test_pull_times_steps_far_from_recipes_is_said(steps, found):
    model = nn.Module()
    model.weight = nn.Parameter(torch.ones(2, 2))
    assert kinds(audit(model, all_of(model, lr=0.1, weight_decay=0.1), steps=steps)) == found


def test_the_groups_of_select_can_be_read_before_there_is_an_optimizer():
    model = network()
    report = audit(model, select(model, 0.2))
    assert next((row.role, row.weight_decay, row.pull) for row in report.rows) == ("matrix", 0.2, None)
    with pytest.raises(TypeError, match=r"audit\(\): Sequential is not an optimizer: it has no param_groups"):
        audit(model, model)


def test_the_role_that_a_rule_of_ones_own_gave_is_kept():
    model = network()
    report = audit(model, all_of_groups(model, rules=[(r"0\.weight", "matrix")]))
    assert [row.role for row in report.rows] == ["matrix", "bias", "norm"]
