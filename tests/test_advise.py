"""``weightdecay advise`` and the answers behind it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from weightdecay.lab.cli import main
from weightdecay.transfer import MissingError, Setting, Wanted, advise

ADAMW = Setting("adamw", lr=1e-3, weight_decay=0.1, batch_size=128, epochs=90, samples=1_281_167)
SGD = Setting("sgd", lr=0.1, weight_decay=5e-4, batch_size=128, epochs=200, samples=50_000, momentum=0.9)
ADAMS = Setting("adams", lr=1e-3, weight_decay=5e-4, batch_size=128, epochs=200, samples=50_000, mean_square=1e-5)
WORDS = replace(ADAMW, lr=6e-3, batch_size=2**19, epochs=1, samples=2.2e9, parameters=111e6)

PAPER, LINEAR, ROOT = "batch × k ⇒ λ × k; λ ∝ 1/length", "linear lr scaling", "square-root lr scaling"
MEMORY, LINES = "τ in epochs stays", "Power Lines"


def numbers(old, **wanted):
    return {each.name: (each.lr, each.weight_decay) for each in advise(old, Wanted(**wanted)).recommendations}


CHANGES = [
    {"batch_size": 1024},
    {"epochs": 30},
    {"samples": 10_000_000.0},
    {"width": 4.0},
    {"batch_size": 512, "epochs": 45, "samples": 2_000_000.0, "width": 2.0},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
@pytest.mark.parametrize("old", [ADAMW, SGD, ADAMS, WORDS, replace(ADAMW, decay="independent")], ids=lambda s: s.name)
def test_every_rule_keeps_what_it_says_it_keeps(old, change):
    if old is WORDS and "batch_size" in change:
        change = {**change, "batch_size": 2.0**20, "samples": 4e9, "parameters": 300e6}
    advice = advise(old, Wanted(**change))
    assert advice.recommendations
    for each in advice.recommendations:
        assert each.kept
        for kept in each.kept:
            if "from nothing" not in each.name:
                assert kept.after == pytest.approx(kept.before, rel=1e-12), (each.name, kept.name)
        low, middle, high = each.grid
        assert middle == each.weight_decay
        assert high / middle == pytest.approx(middle / low)


def test_batch_times_k_in_every_rule():
    found = numbers(ADAMW, batch_size=1024)
    assert found[PAPER] == pytest.approx((1e-3, 0.8))
    assert found[LINEAR] == pytest.approx((8e-3, 0.1))  # as Goyal: λ stays
    assert found[ROOT] == pytest.approx((1e-3 * 8**0.5, 0.1 * 8**0.5))
    assert found[MEMORY] == pytest.approx((1e-3, 0.8))


def test_length_times_k_in_every_rule():
    found = numbers(replace(ADAMW, parameters=1e9), epochs=900)
    assert found[PAPER] == pytest.approx((1e-3, 0.01))
    assert found[MEMORY] == pytest.approx((1e-3, 0.1))
    assert found[LINES] == pytest.approx((1e-3, 0.1 * 10**-0.473))
    assert LINEAR not in found
    assert ROOT not in found


def test_where_rules_disagree_it_is_said_which_and_why():
    advice = advise(replace(ADAMW, parameters=1e9), Wanted(epochs=900))
    pairs = {(each.one, each.other): each.why for each in advice.disagreements}
    assert "number of epochs" in pairs[PAPER, MEMORY]
    assert "D^−0.473" in pairs[PAPER, LINES]
    agreed = advise(ADAMW, Wanted(batch_size=1024))
    assert (PAPER, MEMORY) not in {(each.one, each.other) for each in agreed.disagreements}


def test_a_lambda_that_the_lr_does_not_multiply_follows_the_pull():
    independent = replace(ADAMW, decay="independent", weight_decay=1e-4)
    found, usual = numbers(independent, batch_size=1024), numbers(ADAMW, batch_size=1024)
    for rule, (lr, weight_decay) in usual.items():
        assert found[rule] == pytest.approx((lr, lr * weight_decay)), rule


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
    assert found[f"sgd → sgdw, same minimum, another path + {PAPER}"] == pytest.approx((0.1, 0.01))


@pytest.mark.parametrize(
    ("old", "wanted", "words"),
    [
        (ADAMW, {"batch_size": 32768}, ["16384", "8192", "β falls below 0"]),
        (SGD, {"epochs": 5000}, ["50 to 2000 epochs"]),
        (WORDS, {"parameters": 70e9, "samples": 1e12}, ["1.11e+08 to 3.3e+09 parameters"]),
        (SGD, {"epochs": 100, "samples": 10_000}, ["measured at samples 50000"]),
        (replace(ADAMW, weight_decay=900.0), {"epochs": 80}, ["erases"]),
        (replace(ADAMW, weight_decay=1e-5), {"epochs": 80}, ["never forgotten"]),
        (SGD, {"batch_size": 64, "width": 2.0}, ["hidden matrices only"]),
    ],
)
def test_outside_its_range_a_rule_warns(old, wanted, words):
    said = " ".join(w for each in advise(old, Wanted(**wanted)).recommendations for w in each.warnings)
    for word in words:
        assert word in said


def test_inside_its_range_the_papers_rule_does_not_warn():
    (paper,) = (r for r in advise(ADAMW, Wanted(batch_size=1024)).recommendations if r.name == PAPER)
    assert paper.warnings == ()


@pytest.mark.parametrize(
    ("old", "wanted", "quantity"),
    [
        (replace(ADAMW, samples=None), {"batch_size": 256}, "samples"),
        (replace(ADAMW, epochs=None), {"samples": 1e6}, "epochs"),
        (replace(ADAMW, batch_size=None), {"batch_size": 256}, "batch_size"),
        (SGD, {"optimizer": "adamw"}, "new_lr"),
        (ADAMW, {"optimizer": "sgd", "lr": 0.1}, "new_momentum"),
        (WORDS, {"parameters": 1e9}, ""),
    ],
)
def test_what_is_missing_is_named(old, wanted, quantity):
    if not quantity:
        assert numbers(old, **wanted)
        return
    with pytest.raises(MissingError, match=quantity) as caught:
        advise(old, Wanted(**wanted))
    assert caught.value.quantity == quantity


def test_sgd_without_momentum_is_asked_for_it():
    with pytest.raises(MissingError, match="momentum is missing"):
        replace(SGD, momentum=None)


@pytest.mark.parametrize(
    ("old", "wanted", "message"),
    [
        (ADAMW, {}, "nothing changes"),
        (ADAMW, {"batch_size": 128}, "nothing changes"),
        (replace(ADAMW, weight_decay=0.0), {"epochs": 10}, "0 stays 0"),
        (ADAMW, {"optimizer": "adamz"}, "Did you mean 'adam'"),
        (ADAMW, {"decay": "stabel"}, "Did you mean 'stable'"),
        (ADAMW, {"batch_size": -1}, "batch_size=-1"),
        (ADAMW, {"batch_size": 2e6}, "exceeds samples"),
        (ADAMW, {"lr": 0.1, "optimizer": "adams"}, "another family"),
        (SGD, {"momentum": 0.5}, "another momentum"),
        (ADAMW, {"width": 0.0}, "width=0"),
    ],
)
def test_what_makes_no_sense_is_refused(old, wanted, message):
    with pytest.raises(ValueError, match=message):
        advise(old, Wanted(**wanted))


# ------------------------------------------------------------------------------------- the command

COMMAND = (
    "advise --optimizer AdamW --lr 1e-3 --weight-decay 0.1 --batch-size 128 --epochs 90 --samples 1281167 "
    "--new-batch-size 1024"
)


def test_the_command_prints_a_short_table(capsys):
    assert main(COMMAND.split()) == 0
    out = capsys.readouterr().out
    assert "λ 0.1 → batch 128 → 1024" in out
    assert "0.27  0.8  2.4" in out
    assert "pull × steps 90.1 → 90.1" in out
    assert "≠  batch × k" in out
    assert "arXiv:2205.10287" in out


def test_json_holds_what_the_table_shows(capsys):
    assert main([*COMMAND.split(), "--json"]) == 0
    read = json.loads(capsys.readouterr().out)
    advice = advise(ADAMW, Wanted(batch_size=1024))
    assert [(r["rule"], r["lr"], r["weight_decay"]) for r in read["recommendations"]] == [
        (r.name, r.lr, r.weight_decay) for r in advice.recommendations
    ]
    assert read["old"]["optimizer"] == "adamw"
    assert read["new"]["batch_size"] == 1024
    assert all(r["kept"][0]["before"] == pytest.approx(r["kept"][0]["after"]) for r in read["recommendations"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--lr 1e-3 --weight-decay 0.1", "--optimizer is missing"),
        ("--optimizer adamw --lr 1e-3", "--weight-decay is missing"),
        ("--optimizer adamw --lr 1e-3 --weight-decay 0.1 --new-batch-size 256", "--batch-size is missing"),
        ("--optimizer sgd --lr 0.1 --weight-decay 0.1 --new-optimizer sgdw", "--momentum is missing"),
        ("--optimizer adamw --lr 1e-3 --weight-decay 0.1 --new-optimizer sgdw", "--new-momentum is missing"),
        ("--optimizer adamw --lr 1e-3 --weight-decay 0.1", "nothing changes: give at least one of --new-batch-size"),
        ("--optimizer adamw --lr -1 --weight-decay 0.1 --new-decay stable", "--lr -1: "),
        ("--optimizer adamw --lr 1e-3 --weight-decay 0.1 --new-bach-size 256", "Did you mean --new-batch-size"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_flag(words, message, capsys):
    assert main(["advise", *words.split()]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert not captured.out


def test_advice_needs_no_torch():
    code = (
        "import sys\nfrom weightdecay.lab.cli import main\n"
        f"assert main({COMMAND.split()!r}) == 0\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
