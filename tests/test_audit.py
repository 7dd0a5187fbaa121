"""audit(): the pull it claims is what the optimizer does; what is suspicious is said; a changed split fails CI."""

import json

import pytest
import torch
from torch import nn

import weightdecay
from weightdecay import Cautious, Decoupled, Independent, Stable, TouchedRows, Toward, Vanilla, audit, select
from weightdecay.lab.cli import main


def network(dtype=torch.float64):
    return nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4), nn.LayerNorm(4)).to(dtype)


def all_of(model, optimizer=torch.optim.AdamW, **options):
    return optimizer(model.parameters(), **{"lr": 0.1, "weight_decay": 0.1, **options})


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
        "  role       tensors  elements    λ  decay        pull a step  half-life  reason",
        "  matrix           1        16  0.1  Decoupled()        0.001        693  Linear",
        "  embedding        1        20    0  –                      0          –  Embedding",
        "  bias             2         8    0  –                      0          –  bias of Linear, bias of LayerNorm",
        "  norm             1         4    0  –                      0          –  LayerNorm",
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
        "1 tensor in two groups: moved and decayed twice a step: 1.weight.",
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
    with pytest.raises(TypeError, match=r"audit\(\): Sequential is no optimizer: it has no param_groups"):
        audit(model, model)


def test_the_role_that_a_rule_of_ones_own_gave_is_kept():
    model = network()
    report = audit(model, all_of_groups(model, rules=[(r"0\.weight", "matrix")]))
    assert [row.role for row in report.rows] == ["matrix", "bias", "norm"]


def all_of_groups(model, **options):
    return torch.optim.AdamW(select(model, 0.1, **options), lr=0.1)


# ---------------------------------------------------------------- decay.lock

BEFORE, AFTER = {"lr": 0.1}, {"roles": {"norm": 0.1, "matrix": (0.3, Stable()), "embedding": 0.0}}


def test_the_file_holds_a_line_a_tensor_whatever_the_order_of_the_groups(tmp_path):
    model, paths = network(), [tmp_path / "a.lock", tmp_path / "b.lock"]
    groups = select(model, 0.1)
    for path, order in zip(paths, (groups, groups[::-1]), strict=True):
        audit(model, torch.optim.AdamW(order, lr=0.1)).save(path)
    text = paths[0].read_text(encoding="utf-8")
    assert paths[1].read_text(encoding="utf-8") == text
    assert text.splitlines()[1:3] == [
        '  "0.weight": {"role": "embedding", "weight_decay": 0.0, "decay": null},',
        '  "1.bias": {"role": "bias", "weight_decay": 0.0, "decay": null},',
    ]
    assert len(text.splitlines()) == len(list(model.parameters())) + 2
    assert json.loads(text)["tensors"]["1.weight"] == {"role": "matrix", "weight_decay": 0.1, "decay": "Decoupled()"}


def test_names_are_sorted_as_a_person_counts(tmp_path):
    model = nn.Sequential(*(nn.Linear(1, 1, bias=False) for _ in range(11)))
    audit(model, all_of(model)).save(tmp_path / "lock")
    assert list(json.loads((tmp_path / "lock").read_text())["tensors"]) == [f"{i}.weight" for i in range(11)]


def test_every_change_is_a_line(tmp_path):
    model, path = network(), tmp_path / "decay.lock"
    audit(model, all_of_groups(model, roles={"embedding": 0.1})).save(path)
    assert audit(model, all_of_groups(model, roles={"embedding": 0.1})).differences(path) == []
    model.register_parameter("gamma", nn.Parameter(torch.ones(2)))
    del model[2].bias
    model[2].register_parameter("bias", None)
    model[2].weight.requires_grad_(True)
    changed = audit(model, weightdecay.SGD(select(model, 0.1, **AFTER), lr=0.1, decay=Decoupled()))
    assert changed.differences(path) == [
        "no longer decays, λ 0.1 Decoupled() → λ 0: 1 tensor: 0.weight",
        "λ 0.1 → λ 0.3, decay Decoupled() → Stable(power=0.5, eps=0.0): 1 tensor: 1.weight",
        "gone, had λ 0: 1 tensor: 2.bias",
        "now decays, λ 0 → λ 0.1 Decoupled(): 1 tensor: 2.weight",
        "new, λ 0: 1 tensor: gamma",
    ]


@pytest.mark.parametrize(
    "text", ["", "[]", '{"weightdecay": 9, "tensors": {}}', '{"weightdecay": 1, "tensors": {"a": {}}}']
)
def test_a_file_that_is_none_of_ours_is_refused(tmp_path, text):
    path = tmp_path / "decay.lock"
    path.write_text(text)
    model = network()
    with pytest.raises(ValueError, match=r"decay.lock is no file of audit\(\).save\(\).*weightdecay audit --save"):
        audit(model, all_of(model)).differences(path)


# ---------------------------------------------------------------- weightdecay audit

CODE = """
import torch, weightdecay

def model():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LayerNorm(4))

def build():
    built = model()
    return built, torch.optim.AdamW(weightdecay.select(built, 0.1), lr=0.1)

def refactored():
    built = model()
    return built, torch.optim.AdamW(built.parameters(), lr=0.1, weight_decay=0.1)

def broken():
    raise RuntimeError("no data")

def nothing():
    return 3
"""


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    (tmp_path / "audited_code.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    def run(words):
        status = main(["audit", *words.split()])
        return status, *capsys.readouterr()

    return run


def test_the_command_prints_saves_and_checks(command):
    status, out, _ = command("audited_code:build --save decay.lock --steps 100")
    assert status == 0
    assert out.startswith("AdamW\n")
    assert out.endswith("saved   decay.lock\n")
    assert command("audited_code:build --check decay.lock")[:2] == (0, "decay.lock: 4 tensors, nothing has changed\n")
    assert command("audited_code:model")[1].startswith("groups without an optimizer\n")


def test_the_check_fails_when_a_refactoring_changes_what_decays(command):
    command("audited_code:build --save decay.lock")
    status, out, err = command("audited_code:refactored --check decay.lock")
    assert status == 1
    assert out == "now decays, λ 0 → λ 0.1 Decoupled(): 3 tensors: 0.bias, 1.bias, 1.weight\n"
    assert "If that is meant: weightdecay audit audited_code:refactored --save decay.lock." in err
    status, out, _ = command("audited_code:refactored --check decay.lock --save decay.lock")
    assert (status, out.count("now decays")) == (0, 1)
    assert command("audited_code:refactored --check decay.lock")[0] == 0


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        ("audited_code", 2, "'audited_code' is no target. Write \"module:factory\""),
        ("audited_code:bild", 2, "audited_code has no 'bild'. Did you mean 'build'?"),
        ("audited_cod:build", 2, "no module is called 'audited_cod'. Start in the directory that holds it"),
        ("audited_code:broken", 2, "audited_code:broken() raised RuntimeError: no data"),
        (
            "audited_code:nothing",
            2,
            "audited_code:nothing returned int. It must return (model, optimizer), or a model.",
        ),
        ("audited_code:build --check nowhere.lock", 1, "nowhere.lock: No such file or directory."),
        ("audited_code:build --check audited_code.py", 2, "--check: audited_code.py is no file of audit().save()"),
    ],
)
def test_a_mistake_of_the_command_is_one_line(command, words, status, says):
    code, out, err = command(words)
    assert (code, out) == (status, "")
    assert err.count("\n") == 1
    assert says in err
