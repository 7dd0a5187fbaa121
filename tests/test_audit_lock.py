"""decay.lock: a line per tensor; a refactoring that changes what decays fails, with the names."""

import json

import pytest
import torch
from selecting import all_of, all_of_groups, network
from torch import nn

import weightdecay
from weightdecay import Decoupled, Stable, audit, select
from weightdecay.lab.cli import main

AFTER = {"roles": {"norm": 0.1, "matrix": (0.3, Stable()), "embedding": 0.0}}


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
    with pytest.raises(ValueError, match=r"decay.lock is not a file of audit\(\).save\(\).*weightdecay audit --save"):
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
        ("audited_code:build --check audited_code.py", 2, "--check: audited_code.py is not a file of audit().save()"),
    ],
)
def test_a_mistake_of_the_command_is_one_line(command, words, status, says):
    code, out, err = command(words)
    assert (code, out) == (status, "")
    assert err.count("\n") == 1
    assert says in err
