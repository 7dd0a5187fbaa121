"""Seeds go to the cells that can change a verdict, and "practically equal" is a verdict that is rarely wrong."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from weightdecay.lab import paper
from weightdecay.lab.cli import main
from weightdecay.lab.cli.conducted import Terminal
from weightdecay.lab.paper import arms, claims, optima
from weightdecay.lab.paper.experiment import panel_of
from weightdecay.lab.paper.measure import BEST
from weightdecay.lab.paper.ordering import all_of, margin
from weightdecay.lab.paper.race import raced
from weightdecay.lab.run import ERROR, PERPLEXITY, Epoch, Result, Run
from weightdecay.lab.run.recorded import read_runs
from weightdecay.lab.run.store import Store
from weightdecay.lab.study.answer import answered, in_the_race
from weightdecay.lab.study.difference import LEVEL, paired
from weightdecay.lab.study.question import Point

SETTING = paper.scale("small").setting("ResNet18, CIFAR-10")
PLACES = (0.01, 0.1, 1.0, 10.0)


def panel(seeds=8, fixed=None, named=()):
    """Two optimizers along four λ's."""
    points = {
        Point(name, 0.1, place): tuple(Run(name, 0.1, place, seed, epochs=2) for seed in range(seeds))
        for name in ("adams", "sgd")
        for place in PLACES
    }
    at = {point.curve: point for point in points if point.weight_decay == fixed}
    drawn = {point: point.weight_decay for point in points}
    return panel_of(SETTING, points, drawn, fixed=at, named=frozenset(named))


def result(run, error, last=None):
    epochs = tuple(Epoch(i, 0.1, 1.0, 1.0, one) for i, one in enumerate((error, error if last is None else last), 1))
    return Result(run, "finished", epochs, 1.0)


def known(asked, error):
    return {run: result(run, error(point, run.seed)) for point, runs in asked.points.items() for run in runs}


def apart(point, seed):
    """The best λ is 0.1 with 40 % of errors, its neighbours are a point and three points above, 10 is at chance."""
    return {0.01: 43.0, 0.1: 40.0, 1.0: 41.0, 10.0: 90.0}[point.weight_decay] + 0.01 * seed


def counts(asked):
    return {(point.optimizer, point.weight_decay): len(runs) for point, runs in asked.points.items()}


def test_every_cell_has_the_first_seeds_and_only_those_near_the_best_go_on():
    everything = panel()
    assert set(counts(raced(everything, 3, {})).values()) == {3}
    first = known(raced(everything, 3, {}), apart)
    went = counts(raced(everything, 3, first))
    assert went == {(name, at): 3 if at == 10.0 else 8 for name in ("adams", "sgd") for at in PLACES}
    # One unfinished run of the first seeds, and nobody goes on: the best may still be another.
    first.popitem()
    assert set(counts(raced(everything, 3, first)).values()) == {3}


def test_what_a_claim_names_goes_on_wherever_it_stands():
    everything = panel(fixed=10.0)
    assert set(counts(raced(everything, 3, known(everything, apart))).values()) == {8}
    point = next(point for point in panel().points if point.weight_decay == 10.0)
    went = counts(raced(panel(named=[point]), 3, known(panel(), apart)))
    assert [at for at, seeds in went.items() if seeds == 3] == [("sgd", 10.0)]


def test_a_cell_goes_on_that_is_near_the_best_by_any_measure():
    """At 0.01 the lowest error over the epochs is far above the best, and that of the last epoch is the lowest."""
    everything = panel()
    results = known(everything, apart)
    for run in results:
        if run.weight_decay == 0.01:
            results[run] = result(run, 50.0)
        elif run.weight_decay < 10:
            results[run] = result(run, results[run].best, last=60.0)
    went = counts(raced(everything, 3, results))
    assert went["sgd", 0.01] == went["sgd", 0.1] == went["sgd", 1.0] == 8
    assert went["sgd", 10.0] == 3


def test_where_all_diverged_nobody_goes_on():
    results = {
        run: Result(run, "diverged", (Epoch(1, 0.1, None, None, None),), 1.0)
        for runs in panel().points.values()
        for run in runs
    }
    assert set(counts(raced(panel(), 3, results)).values()) == {3}


def judged(asked, results):
    answer = answered(asked, results.values())
    rules = [
        claims.lowest("adams", ["sgd"]),
        claims.lower_everywhere("adams", ["sgd"]),
        optima.optimum_at("adams", 0.1),
        optima.same_optimum(["adams", "sgd"]),
        optima.wider("adams", ["sgd"]),
    ]
    return [rule(answer, BEST) for rule in rules]


def test_verdicts_are_those_of_all_seeds_for_all_cells():
    """What is left behind changes no verdict: eight draws of curves whose cells lie up to 60 points apart."""
    draw = np.random.default_rng(5)
    left, trained = 0, 0
    for _ in range(8):
        table = {(name, at): draw.choice([20.0, 21.0, 24.0, 40.0, 80.0]) for name in ("adams", "sgd") for at in PLACES}

        def error(point, seed, table=table):
            return table[point.optimizer, point.weight_decay] + draw.normal(0, 0.5)

        everything = panel()
        results = known(everything, error)
        asked = raced(everything, 3, results)
        left += len(everything.runs) - len(asked.runs)
        trained += len(everything.runs)
        verdicts = [[one.verdict for one in judged(each, results)] for each in (asked, everything)]
        # A claim about every place has fewer seeds where they were left behind, and may stay open there.
        assert verdicts[0][0] == verdicts[1][0]
        assert verdicts[0][2:] == verdicts[1][2:]
        assert verdicts[0][1] in (verdicts[1][1], "undecided")
    assert left > trained / 4


def test_the_best_is_looked_for_among_those_that_went_on():
    """A cell that was left behind is not the best, though the others got worse with more seeds."""
    everything = panel()

    def error(point, seed):
        return {0.01: 45.0, 0.1: 40.0 if seed < 3 else 60.0, 1.0: 90.0, 10.0: 90.0}[point.weight_decay]

    results = known(everything, error)
    answer = answered(raced(everything, 3, results), results.values())
    assert [cell.point.weight_decay for cell in in_the_race(answer.of("sgd"))] == [0.1]
    assert answer.best("sgd").point.weight_decay == 0.1


# ---------------------------------------------------------------- practically equal


@pytest.mark.parametrize(
    ("metric", "value", "difference"),
    [(ERROR, 44.0, 1.0), (ERROR, 20.0, 1.0), (ERROR, 6.0, 0.3), (PERPLEXITY, 600.0, 6.0)],
)
def test_what_does_not_matter_is_a_point_a_twentieth_or_a_percent(metric, value, difference):
    assert margin(metric, value) == pytest.approx(difference)


def test_small_differences_are_shown_to_be_small_only_with_a_margin():
    close = paired([40.1, 40.0, 39.9, 40.0], [40.0, 40.0, 40.0, 40.1])
    far = paired([40.0, 40.1, 40.2, 40.1], [60.0, 60.1, 60.0, 60.2])
    assert all_of([close])[0] == "undecided"
    assert all_of([close], [1.0])[0] == "practically equal"
    assert all_of([close], [0.01])[0] == "undecided"
    # Lower than each: the far one is, the close one is practically equal, so that the claim is not what it says.
    assert all_of([far, close], [1.0, 1.0])[0] == "practically equal"
    assert all_of([far, far], [1.0, 1.0])[0] == "holds"
    higher = paired([60.0, 60.1, 60.2, 60.0], [40.0, 40.1, 40.0, 40.1])
    assert all_of([higher, close], [1.0, 1.0])[0] == "refuted"
    # Far behind with two seeds that do not show it, among many: what is equal elsewhere makes that no equality.
    behind = paired([60.0, 79.0], [40.0, 40.0])
    assert all_of([behind], [1.0])[0] == all_of([behind, close], [1.0, 1.0])[0] == "undecided"


@pytest.mark.parametrize("several", [1, 3])
def test_a_difference_that_matters_is_called_equal_in_at_most_one_of_twenty(several):
    """Simulated where it is hardest: every true difference is the margin itself."""
    draw, wrong, draws = np.random.default_rng(8), 0, 3000
    for _ in range(draws):
        ones = [paired(draw.normal(1.0, 1.0, size=8).tolist(), [0.0] * 8) for _ in range(several)]
        wrong += all_of(ones, [1.0] * several)[0] == "practically equal"
    assert wrong / draws <= LEVEL + 4 * (LEVEL * (1 - LEVEL) / draws) ** 0.5


def test_the_interval_of_equality_is_that_of_two_one_sided_tests():
    from scipy import stats

    a, b = [1.0, 2.0, 3.5, 2.2], [1.5, 1.0, 3.0, 2.9]
    one = paired(a, b)
    low, high = one.leaving(0.05)
    differences = np.subtract(a, b)
    assert stats.ttest_1samp(differences, low, alternative="greater").pvalue == pytest.approx(0.05)
    assert stats.ttest_1samp(differences, high, alternative="less").pvalue == pytest.approx(0.05)
    assert one.leaving(0.025) == pytest.approx(one.interval)


# ---------------------------------------------------------------- the command

SMOKE = ("--scale", "smoke", "--executor", "here", "--device", "cpu")


def test_the_command_trains_more_seeds_only_of_cells_that_go_on_and_judges_them_again(tmp_path, capsys):
    """Four seeds where the scale begins with two: a second round, the same command trains nothing, a table tells it."""
    asked = ["reproduce", "fig20", *SMOKE, "--seeds", "4", "--out", str(tmp_path)]
    assert main(asked) == 0
    said = capsys.readouterr().out
    results = Store(tmp_path).results()
    begun = sum(one.run.seed < 2 for one in results)
    more = len(results) - begun
    assert 0 < more < begun
    assert f"the results ask for {more} more runs" in said
    scale = replace(paper.scale("smoke"), seeds=4)
    plain = {replace(one.run, data_digest=""): one for one in results}
    (shown,) = paper.asked(paper.EXPERIMENTS["fig20"], scale, plain)
    assert set(shown.runs) == set(plain)
    rows = (tmp_path / "scorecard.json").read_text()
    assert main(asked) == 0
    assert "more run" not in capsys.readouterr().out
    assert main(["report", str(tmp_path / "runs.csv"), "--out", str(tmp_path / "again")]) == 0
    again = json.loads((tmp_path / "again" / "scorecard.json").read_text())
    again = [row for row in again if row["experiment"] == "fig20"]  # another experiment has all of its runs here too
    assert [row["by_measure"] for row in again] == [row["by_measure"] for row in json.loads(rows)]
    assert {row["command"] for row in again} == {"weightdecay reproduce fig20 --scale smoke --seeds 4"}
    assert len(read_runs(tmp_path / "runs.csv")) == len(results)


def test_runs_that_fail_are_not_asked_for_again_and_again(tmp_path, capsys, monkeypatch):
    from weightdecay.lab.training import train as module

    trained = module.train

    def fails(run, *args, **kwargs):
        if run.optimizer == "adams":
            raise RuntimeError("this one does not")
        return trained(run, *args, **kwargs)

    monkeypatch.setattr(module, "train", fails)
    assert main(["reproduce", "fig7", *SMOKE, "--seeds", "3", "--out", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert "is not judged" in said.err + said.out


def test_a_stop_in_a_later_round_counts_the_runs_of_all_rounds(tmp_path, capsys, monkeypatch):
    from contextlib import contextmanager

    first = Terminal.watch

    @contextmanager
    def stopped(self, everything, store):
        if any(run.seed >= 2 for run in everything.runs):
            raise KeyboardInterrupt
        with first(self, everything, store) as view:
            yield view

    monkeypatch.setattr(Terminal, "watch", stopped)
    assert main(["reproduce", "fig7", *SMOKE, "--seeds", "3", "--out", str(tmp_path)]) == 130
    kept, planned = map(int, re.search(r"stopped: (\d+) of (\d+) runs", capsys.readouterr().err).groups())
    assert kept == len(Store(tmp_path).results()) < planned


def test_no_curve_of_the_paper_is_without_its_first_seeds():
    """At every scale the first seeds are some of its seeds, and the arms of a panel have them."""
    for scale in paper.SCALES.values():
        assert 2 <= scale.first <= scale.seeds
        for found in paper.asked(paper.EXPERIMENTS["table1"], scale, {}):
            assert set(counts(found).values()) == {scale.first}
            assert arms.ADAMS.curve in found.curves


def test_the_cells_that_two_figures_name_are_there():
    """Figure 2 compares λ × epochs = 0.1 at five lengths, figure 3 every multiple of lr and of λ."""
    (lengths,), (multiples,) = (paper.EXPERIMENTS[name].panels(paper.scale("small")) for name in ("fig2", "fig3"))
    assert len({point.curve for point in lengths.named}) == len(lengths.named) == 5
    assert multiples.named == set(multiples.points)
