"""The plan of a comparison and what is concluded from its results."""

from __future__ import annotations

import io
import math
import random
from dataclasses import replace

import pytest
from fakes import bases, fake_result, fake_results
from matplotlib.figure import Figure
from rich.console import Console
from scipy.stats import ttest_rel

import weightdecay
from weightdecay.lab.cli.view import View
from weightdecay.lab.report import page
from weightdecay.lab.report.lines import Moment, by_epoch
from weightdecay.lab.run.methods import METHODS, method
from weightdecay.lab.run.settings import SettingsError
from weightdecay.lab.run.store import Store
from weightdecay.lab.study.asked import questions
from weightdecay.lab.study.compare import (
    Settings,
    default_weight_decays,
    grid,
    question,
)
from weightdecay.lab.study.difference import paired
from weightdecay.lab.study.members import Member
from weightdecay.lab.study.question import Point
from weightdecay.lab.study.statistics import compare, compare_all


def test_the_default_plan_is_66_different_runs():
    # 5 optimizers × 3 λ × 3 seeds, and λ = 0 once for SGD and once for Adam
    runs = question(Settings()).runs
    assert len(runs) == len(set(runs)) == len({run.address for run in runs}) == 5 * 3 * 3 + 2 * 3


def test_without_decay_a_family_shares_its_runs():
    points = grid(Settings())
    for family in (("sgd", "sgds"), ("adam", "adamw", "adams")):
        lr = method(family[0]).lr
        shared = {points[Point(name, lr, 0.0)] for name in family}
        assert len(shared) == 1
        assert {run.optimizer for run in shared.pop()} == {family[0]}


def test_a_family_does_not_share_across_learning_rates():
    points = grid(Settings(lrs=("adams=1e-3,2e-3",)))
    assert points[Point("adams", 2e-3, 0.0)] != points[Point("adamw", 1e-3, 0.0)]


def test_every_available_optimizer_is_known_and_its_base_is_available():
    assert set(METHODS) == set(weightdecay.available())
    assert bases() <= set(weightdecay.available())


def test_every_optimizer_can_be_planned():
    runs = question(Settings(optimizers=tuple(weightdecay.available()))).runs
    assert {run.optimizer for run in runs} == set(METHODS) - {"muon"}  # which runs as MuonAdamW


@pytest.mark.parametrize(
    ("optimizer", "decay", "runs", "variant"),
    [
        ("adam", "stable", "adams", ""),
        ("adamw", "Stable", "adams", ""),
        ("adams", "l2", "adam", ""),
        ("sgd", "decoupled", "sgdw", ""),
        ("adam", "vanilla", "adam", "vanilla"),
        ("adamw", "independent", "adam", "independent"),
        ("radam", "stable", "radam", "stable"),
        ("adam", "cautious(stable)", "adam", "cautious(stable)"),
        ("adam", "weightdecay.decay:Corrected", "adam", "corrected"),
    ],
)
def test_an_optimizer_with_a_decay_is_run_under_the_name_it_has_or_as_a_curve_of_its_own(
    optimizer, decay, runs, variant
):
    points = grid(Settings(optimizers=(optimizer,), decays=(decay,), seeds=1))
    for point, (run,) in points.items():
        assert (point.optimizer, point.variant) == (runs, variant)
        assert run.optimizer == (runs if run.weight_decay else method(runs).base)
        assert dict(run.optimizer_options).get("decay", "") == (variant if run.weight_decay else "")


def test_named_decays_share_the_runs_of_the_optimizer_that_has_them():
    named = question(Settings(optimizers=("adam",), decays=("l2", "decoupled", "stable")))
    assert set(named.runs) == set(question(Settings(optimizers=("adam", "adamw", "adams"))).runs)


@pytest.mark.parametrize(
    ("optimizer", "decay", "best"),
    [
        ("adam", "stable", "adams"),
        ("adam", "elementwise", "adams"),
        ("adam", "cautious(stable)", "adams"),
        ("adam", "cautious", "adamw"),
        ("sgd", "corrected", "sgdw"),
        ("nadam", "stable", "adams"),
    ],
)
def test_lambda_is_expected_where_a_decay_of_the_same_meaning_has_it(optimizer, decay, best):
    lr = method(optimizer).lr
    assert Member(optimizer, decay).centre(lr, 0.9) == Member(best).centre(lr, 0.9)


@pytest.mark.parametrize("decay", ["vanilla", "independent", "logtime", "cautious(independent)"])
def test_a_lambda_that_is_a_fraction_per_step_is_expected_there_whatever_the_lr_is(decay):
    for lr in (1e-3, 1e-2):
        assert Member("adam", decay).centre(lr, 0.9) == pytest.approx(lr * Member("adamw").centre(lr, 0.9))


def test_lambdas_are_given_to_a_decay_by_its_name():
    chosen = ("0", "stable=0.1", "cautious(stable)=0.3,auto", "adam=7")
    points = grid(Settings(optimizers=("adam",), decays=("stable", "cautious(stable)", "l2"), weight_decays=chosen))
    found: dict[str, set[float]] = {}
    for point in points:
        found.setdefault(point.curve, set()).add(point.weight_decay)
    assert found == {"adams": {0.1}, "adam, cautious(stable)": {0, 0.037, 0.12, 0.3, 0.38}, "adam": {7}}


def test_the_first_seed_of_all_points_comes_first():
    seeds = [run.seed for run in question(Settings()).runs]
    assert seeds == sorted(seeds)


@pytest.mark.parametrize("optimizer", sorted(METHODS))
@pytest.mark.parametrize("times", [2, 8, 200])
def test_the_default_grid_scales_as_one_over_steps(optimizer, times):
    lr = method(optimizer).lr
    short = default_weight_decays(Member(optimizer), lr, Settings(epochs=25))
    long = default_weight_decays(Member(optimizer), lr, Settings(epochs=25 * times))
    assert short[0] == long[0] == 0
    for a, b in zip(short[1:], long[1:], strict=True):
        assert a == pytest.approx(times * b, rel=0.06)  # both are rounded to two digits


@pytest.mark.parametrize(
    ("optimizer", "best"),
    [("adams", 0.1), ("adamw", 17.0), ("sgd", 0.05), ("sgds", 0.09), ("adam", 3.0), ("sgdw", 0.8), ("adai", 0.05)],
)
def test_the_default_grid_has_the_measured_optimum_inside(optimizer, best):
    """Measured at the 400 steps that the catalog's centres come from."""
    values = default_weight_decays(Member(optimizer), method(optimizer).lr, Settings(network="resnet8", epochs=25))
    assert values[1] < best < values[3]
    assert min(abs(value / best - 1) for value in values) < 0.15


def test_a_decoupled_grid_keeps_the_decay_of_a_step():
    once, thrice = (default_weight_decays(Member("adamw"), lr, Settings()) for lr in (1e-3, 3e-3))
    for a, b in zip(once, thrice, strict=True):
        assert a * 1e-3 == pytest.approx(b * 3e-3, rel=0.06)


def test_plain_numbers_are_for_all_and_named_ones_for_one():
    points = grid(
        Settings(optimizers=("SGD", "adams,adamw"), weight_decays=("0", "1e-2", "adams=0.2,0.1", "adamw=auto,7"))
    )
    values = {name: [p.weight_decay for p in points if p.optimizer == name] for name in ("sgd", "adams", "adamw")}
    assert values == {"sgd": [0, 0.01], "adams": [0.1, 0.2], "adamw": [0, 5.6, 7, 19, 56]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"optimizers": ("adms",)}, ["no optimizer is called 'adms'", "Did you mean 'adams'?", "Known:"]),
        ({"optimizers": ()}, ["--optimizers is empty"]),
        ({"decays": ("stabel",)}, ["--decays stabel", "Did you mean 'stable'?"]),
        ({"decays": ("stable(",)}, ["--decays stable(", "is not a decay"]),
        ({"decays": ("nowhere:Mine",)}, ["--decays nowhere:Mine", "cannot be imported"]),
        ({"decays": ("stable",), "weight_decays": ("vanilla=1",)}, ["'vanilla' is not compared", "Compared: stable"]),
        ({"weight_decays": ("-0.1",)}, ["--weight-decays -0.1", "0 or above", "not -0.1"]),
        ({"weight_decays": ("nan",)}, ["--weight-decays nan", "finite"]),
        ({"weight_decays": ("adams=0.1,inf",)}, ["--weight-decays adams=0.1,inf", "finite", "not inf"]),
        ({"weight_decays": ("adams=0.1,x",)}, ["'x' is not a number", "sgd=0.1,1"]),
        ({"weight_decays": ("padam=0.1",)}, ["'padam' is not compared", "--optimizers"]),
        ({"weight_decays": ("adams=",)}, ["'' is not a number"]),
        ({"lrs": ("0",)}, ["--lrs 0", "above 0"]),
        ({"lrs": ("sgd=-1",)}, ["--lrs sgd=-1", "above 0"]),
        ({"lrs": ("nan",)}, ["--lrs nan", "finite"]),
        ({"seeds": 0}, ["--seeds 0", "at least 1", "3"]),
        ({"epochs": 0}, ["--epochs 0", "at least 1"]),
        ({"batch_size": 0}, ["--batch-size 0", "at least 1"]),
        ({"train_size": 0}, ["--train-size 0", "at least 1"]),
        ({"train_size": 1797}, ["--train-size 1797", "test"]),
        ({"jobs": -1}, ["--jobs -1", "at least 0"]),
        ({"label_noise": 1.0}, ["--label-noise 1", "below 1"]),
        ({"label_noise": -0.1}, ["--label-noise -0.1"]),
        ({"label_noise": math.nan}, ["--label-noise nan"]),
        ({"momentum": 1.0}, ["--momentum 1", "below 1"]),
        ({"momentum": math.nan}, ["--momentum nan"]),
    ],
)
def test_a_bad_setting_is_refused_in_one_line_before_anything_starts(change, words):
    with pytest.raises(SettingsError) as caught:
        question(Settings(**change))
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("count", [2, 3, 5, 20])
def test_the_interval_is_that_of_a_paired_t_test(count):
    draw = random.Random(count)
    a, b = ([draw.gauss(mean, 1) for _ in range(count)] for mean in (5, 4))
    found = paired(a, b)
    expected = ttest_rel(a, b).confidence_interval(0.95)
    assert found.interval == pytest.approx((expected.low, expected.high), rel=1e-12)
    assert (found.verdict != "undecided") == (ttest_rel(a, b).pvalue < 0.05)


def test_the_interval_covers_the_truth_in_95_of_100_cases():
    # 4,000 comparisons of three seeds: the standard error of the share is 0.34 points; the bound is three of them.
    draw = random.Random(0)
    inside = 0
    for _ in range(4000):
        shared = [draw.gauss(5, 1) for _ in range(3)]
        a = [value + 0.7 + draw.gauss(0, 0.3) for value in shared]
        b = [value + draw.gauss(0, 0.3) for value in shared]
        low, high = paired(a, b).interval
        inside += low <= 0.7 <= high
    assert inside / 4000 == pytest.approx(0.95, abs=0.0104)


def test_what_all_optimizers_share_by_seed_cancels():
    a, b = [4.0, 5.1, 6.2], [3.5, 4.5, 5.5]
    shift = [10.0, -3.0, 0.5]
    moved = paired([x + s for x, s in zip(a, shift, strict=True)], [x + s for x, s in zip(b, shift, strict=True)])
    assert moved.interval == pytest.approx(paired(a, b).interval, rel=1e-12)


def test_one_seed_decides_nothing():
    settings = Settings(seeds=1)
    comparison = compare(question(settings), fake_results(settings))
    assert [one.verdict for one in comparison.standings] == ["best"] + ["one seed: unknown"] * 4
    assert all(cell.std is None for cell in comparison.cells)


def test_the_best_cell_has_the_lowest_mean_and_the_best_optimizer_the_lowest_of_those():
    settings = Settings()
    comparison = compare(question(settings), fake_results(settings))
    for standing in comparison.standings:
        assert standing.best.mean == min(cell.mean for cell in comparison.of(standing.optimizer))
    means = [standing.best.mean for standing in comparison.standings]
    assert means == sorted(means)
    assert [one.difference is None for one in comparison.standings] == [True] + [False] * 4
    assert {one.optimizer: one.best.point.weight_decay for one in comparison.standings} == {
        "adams": 0.12, "adamw": 19.0, "sgd": 0.062, "sgds": 0.1, "adam": 3.8,
    }  # fmt: skip


def test_the_order_of_the_results_does_not_matter():
    settings = Settings(optimizers=("sgd", "adams"))
    results = fake_results(settings)
    assert compare(question(settings), results) == compare(question(settings), results[::-1])


def test_a_comparison_prints_as_a_line_for_each_optimizer():
    settings = Settings(optimizers=("sgd", "adams"))
    comparison = compare(question(settings), fake_results(settings))
    head, *lines = str(comparison).splitlines()
    assert head.split("  ")[0].startswith("On scikit-learn’s handwritten digits")
    assert [line.split()[:2] for line in lines] == [
        [one.title, f"{one.best.point.weight_decay:g}"] for one in comparison.standings
    ]
    assert all(line.endswith(one.verdict) for line, one in zip(lines, comparison.standings, strict=True))


def test_a_missing_run_is_not_passed_over():
    settings = Settings()
    with pytest.raises(KeyError):
        compare(question(settings), fake_results(settings)[1:])


@pytest.mark.parametrize(
    ("weight_decays", "edges"),
    [
        (("0.01", "0.03"), ("--weight-decays",)),  # the optimum, 0.1, is above
        (("0.1", "0.3"), ("--weight-decays",)),  # below, and 0 was not run
        (("0.01", "0.1", "0.3"), ()),
        (("0", "0.1", "0.3"), ()),  # between two others
        (("0", "0.3"), ()),  # 0 is best, and there is nothing below it
        (("0.1",), ()),  # a single value has no edge to speak of
    ],
)
def test_an_optimum_at_the_edge_of_its_grid_is_flagged(weight_decays, edges):
    settings = Settings(optimizers=("adams",), weight_decays=weight_decays, epochs=25)
    assert compare(question(settings), fake_results(settings)).standings[0].edges == edges


def test_a_diverged_run_counts_with_its_error():
    settings = Settings(optimizers=("adams",), weight_decays=("0.1", "1"))
    worst = compare(question(settings), fake_results(settings)).cells[-1]
    assert worst.diverged == 3
    assert worst.mean > 80


def test_a_tie_with_the_best_is_within_noise():
    settings = Settings(optimizers=("sgd", "adam"), weight_decays=("0",))
    asked = question(settings)
    tied = [replace(fake_result(run), epochs=fake_result(asked.runs[0]).epochs) for run in asked.runs]
    comparison = compare(asked, tied)
    assert comparison.standings[1].difference.mean == 0
    assert comparison.standings[1].verdict == "within seed noise"


@pytest.mark.parametrize("order", ["as planned", "backwards", "as a folder lists them"])
def test_of_equals_the_best_is_the_same_whatever_the_order_of_the_runs(order, tmp_path):
    """A sweep has the order of its file, a report that of the folder, and the live view that of the results."""
    planned = question(Settings(("sgd", "adams"), weight_decays=("0.3", "0.1", "0.2"), lrs=("0.2", "0.1"))).runs
    runs = {
        "as planned": planned,
        "backwards": planned[::-1],
        "as a folder lists them": sorted(planned, key=lambda run: run.address),
    }[order]
    (asked,) = questions(runs, "").values()
    epochs = {run.seed: fake_result(replace(run, optimizer="sgd", lr=0.1, weight_decay=0.1)).epochs for run in runs}
    tied = [replace(fake_result(run), epochs=epochs[run.seed]) for run in runs]
    found = [one.best.point for one in compare(asked, tied).standings]
    assert found == [Point("adams", 0.1, 0.1), Point("sgd", 0.1, 0.1)]
    view = View(asked, Store(tmp_path), Console(file=io.StringIO()))
    for result in tied:
        view.add(result, reused=True)
    assert {view.best()[point.curve][0] for point in found} == set(found)


@pytest.mark.parametrize("seeds", [1, 3])
def test_rows_of_the_same_runs_are_not_said_to_be_hard_to_distinguish(seeds):
    """At λ = 0 all decays of a method are one optimizer."""
    settings = Settings(optimizers=("sgd", "sgds"), weight_decays=("0",), seeds=seeds)
    comparison = compare(question(settings), fake_results(settings))
    assert [one.verdict for one in comparison.standings] == ["best", "the same runs"]
    said = page.answer(comparison)
    assert "SGDS (" in said
    assert "measured by the same runs" in said
    assert "distinguishable" not in said


def test_a_mean_is_said_to_be_over_the_seeds_that_it_has():
    """A sweep that is half done, or whose runs failed: of the best row one seed is there, of the other three."""
    settings = Settings(optimizers=("adams", "sgd"), weight_decays=("0.1",), lrs=("0.1",), seeds=3)
    asked = question(settings)
    best = min(asked.points, key=lambda point: fake_result(asked.points[point][0]).last)
    lost = asked.points[best][1:]
    comparison = compare_all({"": asked}, [fake_result(run) for run in asked.runs if run not in lost])[""]
    assert comparison.standings[0].best.point == best
    assert "(one seed, last epoch)" in page.answer(comparison).replace("\xa0", " ")
    assert "over 1 to 3 seeds" in page.read(comparison)[0]
    assert page.seeds_of(compare(asked, fake_results(settings))) == "3 seeds"


def test_decoupled_decays_are_drawn_at_what_they_take_in_a_step():
    settings = Settings(optimizers=("adamw", "adams"))
    asked = question(settings)
    for cell in compare(asked, fake_results(settings)).cells:
        factor = 1e-3 if cell.point.optimizer == "adamw" else 1
        assert asked.place(cell.point) == pytest.approx(cell.point.weight_decay * factor)


def test_a_row_and_a_place_are_those_of_the_decay_that_the_arm_was_given():
    """Not of the optimizer's own; also where its best λ is 0, whose runs all decays share."""
    given = ("l2", "vanilla", "decoupled", "independent", "stable", "corrected", "cautious(stable)")
    settings = Settings(optimizers=("adam",), decays=given)
    compared = compare(question(settings), fake_results(settings))
    words = {one.title.removeprefix("Adam, "): one.decay_in_words for one in compared.standings}
    assert words["vanilla"] == "vanilla: λ"
    assert words["corrected"] == "corrected: λ × lr²/peak lr"
    assert words["cautious(stable)"] == "cautious(stable)"
    assert words["AdamS"] == "stable: effective lr × λ"
    for cell in compared.cells:
        factor = 1e-3 if cell.point.title in ("AdamW", "Adam, corrected") else 1
        assert compared.question.place(cell.point) == pytest.approx(cell.point.weight_decay * factor)


def test_a_curve_of_one_epoch_is_seen():
    axes = Figure().subplots()
    by_epoch(axes, [Moment(1, 5.0, 4.0, 6.0)], "one", {"color": "black", "marker": ""})
    by_epoch(axes, [Moment(1, 5.0, 4.0, 6.0), Moment(2, 4.0, 3.0, 5.0)], "two", {"color": "black", "marker": ""})
    assert [line.get_marker() for line in axes.get_lines()] == ["o", ""]


def test_best_epoch_never_exceeds_last_epoch():
    settings = Settings()
    for cell in compare(question(settings), map(fake_result, question(settings).runs)).cells:
        assert all(best <= last for best, last in zip(cell.best_epoch_errors, cell.errors, strict=True))


def test_results_of_another_question_are_left_out():
    settings = Settings(optimizers=("adams",))
    more = fake_results(replace(settings, seeds=5))
    assert len(compare(question(settings), more).results) == len(question(settings).runs) < len(more)


def test_the_network_that_was_the_default_keeps_its_addresses():
    """Those of the version before: its runs are found again, and not trained anew."""
    runs = question(Settings(network="resnet8", epochs=25)).runs
    found = {run.address for run in runs if run.seed == 0}
    assert {"27aee44361c17770", "046ae9b824d4d6fd"} <= found  # AdamS at λ = 0.03, SGD at 0


def test_pairs_without_a_meaning_are_left_out_and_named():
    """Lion and Muon have no gain, which stable decay reads, in a modifier too; the other pairs are compared."""
    settings = Settings(
        optimizers=("adam", "muon,lion"), decays=("decoupled", "stable", "cautious(stable)", "corrected"), seeds=1
    )
    asked = question(settings)
    assert {point.curve for point in asked.points} == {
        *("adamw", "adams", "adam, cautious(stable)", "adam, corrected"),
        *("muonadamw", "muonadamw, corrected", "lion", "lion, corrected"),
    }
    said = " ".join(text for term, text in asked.rows if term == "Compared")
    assert "Muon moves matrices only: the runs are of MuonAdamW" in said
    assert "stable is left out for MuonAdamW and Lion: it needs the gain" in said
    assert "cautious(stable) is left out for MuonAdamW and Lion" in said
    assert "corrected" not in said


def test_a_pair_without_a_meaning_that_stands_alone_is_not_left_out():
    """It goes on to be refused, with the reason that the optimizer gives."""
    assert [point.curve for point in question(Settings(optimizers=("lion",), decays=("stable",))).points]


def test_numbers_for_muon_are_those_of_what_runs_for_it():
    asked = question(Settings(optimizers=("muon",), weight_decays=("muon=0.5",), seeds=1))
    assert [(point.optimizer, point.weight_decay) for point in asked.points] == [("muonadamw", 0.5)]


def test_stable_decay_of_an_optimizer_of_ones_own_is_not_left_out(tmp_path, monkeypatch):
    """The table knows nothing of its gain; the class does, and refuses where it has none."""
    (tmp_path / "own_gain.py").write_text("import weightdecay\n\n\nclass Mine(weightdecay.Optimizer):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    asked = question(Settings(optimizers=("lion", "own_gain:Mine"), decays=("stable", "corrected"), seeds=1))
    assert {point.curve for point in asked.points} == {
        *("lion, corrected", "own_gain:Mine, stable", "own_gain:Mine, corrected"),
    }
