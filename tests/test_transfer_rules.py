"""Laws of every rule that is listed, and of one that is not: a rule is one object, and nothing else has to know it."""

from __future__ import annotations

import inspect
import math
import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from weightdecay import transfer
from weightdecay.transfer import RULES, Change, Rule, Setting, Wanted, advise, rules

ADAMW = Setting("adamw", lr=1e-3, weight_decay=0.1, batch_size=128, epochs=90, samples=1_281_167, parameters=1e9)
HAVE = {
    "adamw": ADAMW,
    "adam": replace(ADAMW, optimizer="adam", weight_decay=5e-4),
    "sgd": replace(ADAMW, optimizer="sgd", lr=0.1, weight_decay=5e-4, momentum=0.9),
    "lion": replace(ADAMW, optimizer="lion", lr=1e-4, weight_decay=1.0),
    "muon": replace(ADAMW, optimizer="muon", lr=0.02),
}
# Two steps of a change, by what a rule is about: sizes, and how many times as wide.
STEPS = {
    "batch": ({"batch_size": 1024}, {"batch_size": 64}),
    "length": ({"epochs": 30, "samples": 4e6}, {"epochs": 300, "samples": 2e6}),
    "training": (
        {"batch_size": 1024, "epochs": 30, "samples": 4e6, "parameters": 3e8},
        {"batch_size": 64, "epochs": 45, "samples": 2e6, "parameters": 2e9},
    ),
    "width": ({}, {}),
}
WIDTHS = (4.0, 0.5)
FROM_NOTHING = [rule for rule in RULES if rule.about == "nothing"]


def name_of(rule):
    return rule.name


def changes(rule, old):
    """Return a change in two steps, and at once."""
    middle, new = (replace(old, **sizes) for sizes in STEPS[rule.about])
    one, two = WIDTHS if rule.about == "width" else (1.0, 1.0)
    return Change(old, middle, one), Change(middle, new, two), Change(old, new, one * two)


CASES = [
    pytest.param(rule, old, id=f"{rule.name}, {name}")
    for rule in RULES
    if rule.about in STEPS
    for name, old in HAVE.items()
    if all(rule.applies(change) for change in changes(rule, old))
]


def test_every_rule_that_advise_applies_is_among_the_cases():
    assert {case.values[0].name for case in CASES} == {rule.name for rule in RULES if rule.about in STEPS}


@pytest.mark.parametrize(("rule", "old"), CASES)
def test_a_rule_composes_and_inverts(rule, old):
    first, second, both = changes(rule, old)
    start = (old.lr, old.weight_decay)
    assert rule.answer(second, *rule.answer(first, *start)) == pytest.approx(rule.answer(both, *start), rel=1e-13)
    back = Change(first.new, first.old, 1 / first.width)
    assert rule.answer(back, *rule.answer(first, *start)) == pytest.approx(start, rel=1e-13)


@pytest.mark.parametrize(("rule", "old"), CASES)
def test_a_rule_keeps_the_quantity_that_it_names(rule, old):
    first, *_ = changes(rule, old)
    lr, weight_decay = rule.answer(first, old.lr, old.weight_decay)
    words, before = rule.keeps(old, 1.0)
    after = rule.keeps(replace(first.new, lr=lr, weight_decay=weight_decay), first.width)
    assert after == (words, pytest.approx(before, rel=1e-12))


@pytest.mark.parametrize("rule", FROM_NOTHING, ids=name_of)
def test_a_rule_that_starts_from_nothing_asks_for_no_lambda(rule):
    (old,) = (each for each in HAVE.values() if rule.applies(Change(each, replace(each, epochs=50))))
    change = Change(old, replace(old, epochs=50))
    assert rule.answer(change, old.lr, 1e-3) == rule.answer(change, old.lr, 7.0)


@pytest.mark.parametrize("rule", RULES, ids=name_of)
def test_a_rule_says_all_that_is_known_of_it(rule):
    assert all((rule.change, rule.lr, rule.weight_decay, rule.kept, rule.measured, rule.sources, all(rule.sources)))
    assert getattr(transfer, rule.function.__name__) is rule.function
    for part in (".. math::", "Source", "Units", "Raises", ">>> "):
        assert part in rule.function.__doc__


def test_rules_have_names_of_their_own_and_speak_of_those_before_them():
    """Of two rules "the one" is the first in the list, and one of them says why they part."""
    assert len({rule.name for rule in RULES}) == len(RULES)
    for place, rule in enumerate(RULES):
        assert set(rule.against) <= {earlier.name for earlier in RULES[:place]}


def test_the_page_has_the_table_of_the_rules():
    page = Path(__file__).parent.parent / "docs" / "transfer.md"
    text = page.read_text(encoding="utf-8")
    written = runpy.run_path(str(page.parent / "transfer_table.py"))["written"]
    assert text == written(text), "python docs/transfer_table.py writes it anew"


MINE = Rule(
    name="λ ∝ batch^¼",
    about="batch",
    change="batch × k",
    lr="as it was",
    weight_decay="× k^¼",
    kept="λ / batch^¼",
    measured="nowhere: it is made up",
    sources=("nobody",),
    function=lambda weight_decay, k: weight_decay * k**0.25,
    answer=lambda c, lr, weight_decay: (lr, weight_decay * c.batch**0.25),
    applies=lambda c: c.batch != 1,
    keeps=lambda s, width: ("λ / batch^¼", s.weight_decay / s.batch_size**0.25),
    moments=lambda c: ((0.5, 0.9), 1e-6),
    doubts=lambda c: ["it is made up"],
    against={"linear lr scaling": "the one moves the lr"},
)


@pytest.mark.parametrize("length", [{}, {"epochs": 45}], ids=["batch", "batch and length"])
def test_a_rule_of_ones_own_needs_nothing_but_its_object(length):
    wanted = Wanted(batch_size=2048, **length)
    before, after = advise(ADAMW, wanted), advise(ADAMW, wanted, (*RULES, MINE))
    (row,) = (each for each in after.recommendations if MINE.name in each.rules)
    assert [each for each in after.recommendations if each is not row] == list(before.recommendations)
    assert row.rules == ((MINE.name, "λ ∝ 1/length") if length else (MINE.name,))
    assert (row.lr, row.weight_decay) == pytest.approx((1e-3, 0.1 * 2 * (2 if length else 1)))
    assert row.sources[0] == "nobody"
    assert "it is made up" in row.warnings
    assert (row.betas, row.eps) == ((0.5, 0.9), 1e-6)
    assert row.kept[0].name == "λ / batch^¼"
    parted = {(each.one, each.other): each.why for each in after.disagreements}
    assert parted["linear lr scaling", MINE.name] == "the one moves the lr"


def test_only_the_rules_that_are_passed_are_asked():
    (row,) = advise(ADAMW, Wanted(batch_size=2048), [MINE]).recommendations
    assert row.rules == (MINE.name,)
    with pytest.raises(ValueError, match="no rule"):
        advise(ADAMW, Wanted(batch_size=2048), [])


FUNCTIONS = [getattr(rules, name) for name in rules.__all__ if inspect.isfunction(getattr(rules, name))]
GOOD = {"beta1": 0.9, "beta2": 0.99, "eps": 1e-8}


@pytest.mark.parametrize("bad", ["0.1", None, math.nan, math.inf, np.ones((9, 1)), 10**400], ids=type)
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_what_is_no_number_is_named_by_every_function_that_is_listed(function, bad):
    good = {name: GOOD.get(name, 2.0) for name in inspect.signature(function).parameters}
    function(**good)
    for name in good:
        with pytest.raises(ValueError, match=f"^{name}="):
            function(**{**good, name: bad})
