"""How the referee tunes and judges: equal budgets, optima that are found, and what it costs to keep λ elsewhere."""

from __future__ import annotations

import dataclasses
import math
import random

import matplotlib as mpl
import pytest

from weightdecay.lab.referee.answer import answered
from weightdecay.lab.referee.arm import Cell, arms, usual_gain
from weightdecay.lab.referee.carried import KEPT, TIMES, carried, changes, variants
from weightdecay.lab.referee.hearing import _within
from weightdecay.lab.referee.ladder import AT_MOST, BEYOND, JUDGING, TUNING, Ladder, sides_untried
from weightdecay.lab.referee.task import TASKS, on_scale
from weightdecay.lab.report.drawn import basins
from weightdecay.lab.report.drawn.heat import MAP
from weightdecay.lab.run import ERROR, PERPLEXITY
from weightdecay.lab.run.settings import SettingsError

DECAYS = ("none", "l2", "decoupled", "stable", "cautious(decoupled)", "corrected", "hyperball")
TASK = TASKS["noisy-digits"]
SEEDS = tuple(range(JUDGING, JUDGING + 5))
OWN = {"optimizer": "sgd", "lr": 0.1, "weight_decay": 0.0, "seed": 0}


def climbed(arm, error, gain=lambda run: None, seeds=SEEDS, task=TASK, carry=False):
    """Return a finished ladder of an arm whose runs have errors that a function gives, and the runs it asked for."""
    known = {}
    ladder = Ladder(arm, task, known.get, gain, seeds, carry)
    while (step := ladder.asked())[0] != "done":
        assert not set(step[1]) & set(known), "a run is asked for twice"
        known |= {run: error(run) for run in step[1]}
    return ladder, known


def valley(lr, weight_decay):
    """Errors that grow with the distance, in decades, from one best cell."""

    def error(run):
        distance = math.log10(run.lr / lr) ** 2
        return 10 + distance + math.log10((run.weight_decay or 1e-9) / weight_decay) ** 2

    return error


def test_every_arm_has_the_same_number_of_tries():
    for arm in arms(("adam", "sgd", "lion", "muon"), DECAYS):
        ladder, known = climbed(arm, lambda run: random.Random(run.address).random())
        tuning = [run for run in known if run.seed in TUNING]
        judging = [run for run in known if run.seed not in TUNING]
        assert sorted(run.seed for run in judging) == list(SEEDS)
        assert {(run.lr, run.weight_decay) for run in judging} == {tuple(ladder.chosen())}
        assert 24 <= len(tuning) <= AT_MOST + 1, arm.title  # the run that shows the gain is one more
        assert 15 <= len(ladder.tried()) <= 20 + BEYOND
        assert {run.seed for run in tuning} == set(TUNING)


WITHIN = [(1, 1), (5, 1), (1 / 5, 10), (1, 1 / 10), (3, 3), (1 / 8, 0.03)]
BEYOND_THE_GRID = [(40, 1), (1 / 40, 1), (1, 1000), (1, 1e-3), (20, 300), (1 / 20, 300)]


@pytest.mark.parametrize("times", WITHIN + BEYOND_THE_GRID)
def test_the_best_cell_is_found_where_the_guess_is_wrong_and_is_followed_until_it_is_inside(times):
    for arm in arms(("adam",), ("l2", "decoupled", "stable", "corrected")):
        guess = arm.guess(TASK, None)
        lr, weight_decay = guess.lr * times[0], guess.weight_decay * times[1]
        ladder, known = climbed(arm, valley(lr, weight_decay))
        found = ladder.chosen()
        assert abs(math.log10(found.lr / lr)) < 0.5, arm.title
        assert abs(math.log10(found.weight_decay / weight_decay)) < 0.5, arm.title
        assert not sides_untried(found, ladder.tried()), arm.title
        assert len([run for run in known if run.seed in TUNING]) <= AT_MOST


def test_a_valley_without_an_end_ends_with_the_budget_and_is_said():
    for arm in arms(("adam",), ("none", "decoupled")):
        ladder, known = climbed(arm, lambda run: 50 - math.log(run.lr))
        assert len(ladder.tried()) <= 20 + BEYOND
        answer = answered(TASK, [ladder], known.get, 1.0, 0.0)
        assert answer.standings[0].edge == ("lr",)


def test_beyond_an_edge_nothing_is_tried_where_all_diverge():
    (arm,) = arms(("adam",), ("decoupled",))
    ladder, _ = climbed(arm, lambda run: math.inf)
    assert len(ladder.tried()) <= 20


def test_an_arm_without_a_weight_decay_tries_as_many_learning_rates():
    none, *switched = arms(("adam",), ("none", "hyperball", "radialbrake", "cautious(hyperball)"))
    assert len(switched) == 3
    for arm, weight_decay in ((none, 0.0), *((one, 1.0) for one in switched)):
        ladder, known = climbed(arm, lambda run: abs(math.log10(run.lr / 4e-3)))
        assert {run.weight_decay for run in known} == {weight_decay}
        assert ladder.chosen().lr == pytest.approx(4e-3, rel=0.3)


def test_hopeless_cells_get_one_seed_and_the_best_get_four():
    (arm,) = arms(("adam",), ("decoupled",))
    ladder, known = climbed(arm, valley(1e-3, 10.0))
    seeds = {}
    for run in known:
        if run.seed in TUNING:
            seeds.setdefault(Cell(run.lr, run.weight_decay), set()).add(run.seed)
    counts = sorted(map(len, seeds.values()), reverse=True)
    assert counts[:6] == [4, 4, 2, 2, 2, 1]
    assert seeds[ladder.chosen()] == set(TUNING)


def test_a_cell_that_diverges_is_not_chosen_and_all_that_diverge_are_said():
    (arm,) = arms(("adam",), ("stable",))
    ladder, _ = climbed(arm, lambda run: math.inf if run.lr > 5e-4 else 20 - run.lr)
    assert ladder.chosen().lr <= 5e-4
    everything, _ = climbed(arm, lambda run: math.inf)
    answer = answered(TASK, [everything], lambda run: math.inf, 1.0, 0.0)
    assert answer.standings[0].mean == math.inf


def test_the_guess_of_a_stable_decay_follows_the_measured_gain():
    """Where gradients are a hundred times smaller, the same pull ηλḡ takes a λ a hundred times smaller."""
    (arm,) = arms(("adam",), ("stable",))
    usual = usual_gain("adam")
    assert arm.guess(TASK, usual).weight_decay == pytest.approx(arm.guess(TASK, None).weight_decay, rel=0.05)
    assert arm.guess(TASK, 100 * usual).weight_decay == pytest.approx(
        arm.guess(TASK, None).weight_decay / 100, rel=0.05
    )
    _, known = climbed(arm, lambda run: 1.0, gain=lambda run: 100 * usual)
    first = next(iter(known))
    assert (first.optimizer, first.weight_decay, first.seed) == ("adam", 0.0, 0)


def test_pairs_without_a_meaning_are_left_out_and_none_is_the_base_at_0():
    found = arms(("lion", "muon", "sgd"), DECAYS)
    assert not [arm for arm in found if arm.optimizer == "lion" and arm.decay == "stable"]
    assert {arm.optimizer for arm in found} == {"lion", "muonadamw", "sgd"}
    run = next(arm for arm in found if (arm.optimizer, arm.decay) == ("sgd", "none")).run(TASK, Cell(0.1, 0.0), 3)
    assert (run.optimizer, run.weight_decay, dict(run.optimizer_options)) == ("sgd", 0.0, {"momentum": 0.9})


def drawn(arm, effect, draw):
    """Errors of an arm whose best cell is better by an effect, with noise that seeds share and noise of their own."""

    def error(run):
        shared = random.Random(f"{draw} {run.seed}").gauss(0, 1)
        own = random.Random(f"{draw} {run.address}").gauss(0, 0.4)
        return 20 - effect + valley(arm.lr, 10.0)(run) + shared + own

    return error


def test_where_all_arms_are_equal_hardly_ever_is_any_called_better_or_worse():
    """The whole procedure, tuning included: in 60 rounds with two arms beside the reference."""
    wrong = rounds = 0
    own = arms(("adam",), ("decoupled", "corrected", "cautious(decoupled)"))
    for draw in range(60):
        ladders, tests = [], {}
        for arm in own:
            error = drawn(arm, 0.0, draw)
            ladder, known = climbed(arm, error)
            ladders.append(ladder)
            flat = drawn(arm, 0.0, f"test {draw}")
            best = valley(arm.lr, 10.0)
            tests |= {run: flat(run) - best(run) for run in known}  # equally good wherever it was tuned to
        answer = answered(TASK, ladders, tests.get, 0.5, 0.0)
        rounds += 1
        wrong += any(one.ruling and one.ruling.verdict in ("better", "worse") for one in answer.standings)
    assert wrong / rounds <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / rounds)


def test_a_decay_that_is_better_by_three_points_is_found():
    own = arms(("adam",), ("decoupled", "corrected"))
    ladders, tests = [], {}
    for arm in own:
        error = drawn(arm, 3.0 if arm.decay == "corrected" else 0.0, 1)
        ladder, known = climbed(arm, error)
        ladders.append(ladder)
        tests |= known
    answer = answered(TASK, ladders, tests.get, 1.0, 0.0)
    assert [(one.arm.decay, one.ruling and one.ruling.verdict) for one in answer.standings] == [
        ("corrected", "better"),
        ("decoupled", None),
    ]


def test_a_ruling_does_not_change_when_another_arm_ends_or_another_optimizer_is_asked_for():
    own = arms(("adam",), ("decoupled", "corrected", "cautious(decoupled)"))
    others = arms(("sgd",), ("decoupled", "stable"))
    ladders, tests, known_by = [], {}, {}
    for arm in (*own, *others):
        ladder, known = climbed(arm, drawn(arm, 0.5 if arm.decay == "corrected" else 0.0, 3))
        ladders.append(ladder)
        known_by[arm] = known
        tests |= known

    def ruling(taken):
        answer = answered(TASK, taken, tests.get, 1.0, 0.0)
        (one,) = [one for one in answer.standings if (one.arm.optimizer, one.arm.decay) == ("adam", "corrected")]
        return one.ruling

    cautious = ladders[2]
    half = Ladder(cautious.arm, TASK, {}.get, cautious.gain, SEEDS)  # asked for, and not begun
    assert ruling(ladders) == ruling(ladders[:3]) == ruling([*ladders[:2], half])


def test_basin_and_the_cost_of_keeping_the_weight_decay_are_what_they_say():
    """In a valley along ηλ = const. the best λ moves with the lr; in one along λ = const. it stays."""
    (arm,) = arms(("adam",), ("decoupled",))
    guess = arm.guess(TASK, None)

    def standing(error):
        ladder, known = climbed(arm, error)
        return answered(TASK, [ladder], lambda run: known[run], 1.0, 0.0).standings[0]

    still = standing(lambda run: 10 * math.log10(run.weight_decay / guess.weight_decay) ** 2)
    moving = standing(lambda run: 10 * math.log10(run.weight_decay * run.lr / (guess.weight_decay * guess.lr)) ** 2)
    assert still.kept_cost == pytest.approx(0.0, abs=1e-9)
    assert moving.kept_cost == pytest.approx(10 * math.log10(3) ** 2, rel=0.2)
    assert still.basin == pytest.approx(3 / 15)  # of the five λ's only the best is within 2: half a decade costs 2.5
    flat = standing(lambda run: 10.0)
    assert flat.basin == 1.0


def test_perplexities_are_compared_by_their_logarithm():
    assert on_scale(PERPLEXITY, 110.0) - on_scale(PERPLEXITY, 100.0) == pytest.approx(100 * math.log(1.1))
    assert on_scale(ERROR, 3.5) == 3.5
    assert on_scale(PERPLEXITY, math.inf) == math.inf


def test_the_hours_are_kept_by_what_runs_took_so_far():
    (arm,) = arms(("adam",), ("decoupled",))
    runs = {arm.run(TASK, Cell(1e-3, 1.0), seed): "noisy-digits" for seed in range(10)}
    assert len(_within(runs, 35.0, {"noisy-digits": [10.0, 10.0]})) == 3
    assert len(_within(runs, math.inf, {"noisy-digits": []})) == 10
    assert not _within(runs, 0.0, {"noisy-digits": []})
    assert list(_within(runs, 35.0, {"noisy-digits": []})) == [next(iter(runs))]  # one, to see what it takes


def test_what_it_costs_to_keep_the_weight_decay_is_found_where_it_moves_and_is_nothing_where_it_stays():
    """In a valley along ηλ = const. the best λ moves with the lr and, for Adam, by √k with the batch."""
    (arm,) = arms(("adam",), ("decoupled",))
    guess = arm.guess(TASK, None)

    def found(error):
        return {one.change.title: one for one in carried(arm, TASK, guess, TUNING, error)}

    def pull(run):
        return run.lr * run.weight_decay / (guess.lr * guess.weight_decay)

    still = found(lambda run: 10 * math.log10(run.weight_decay / guess.weight_decay) ** 2)
    assert {(one.best, one.mean) for one in still.values()} == {(1.0, 0.0)}
    moving = found(lambda run: 10 * math.log10(pull(run)) ** 2)
    assert {title: one.best for title, one in moving.items()} == {
        "lr / 3": 3.0, "lr × 3": 0.3, "batch / 4": 3.0, "batch × 4": 0.3, "width / 2": 1.0, "width × 2": 1.0,
    }  # fmt: skip
    assert moving["lr × 3"].costs == pytest.approx([10 * math.log10(3) ** 2] * len(TUNING), rel=0.15)


def test_noise_alone_costs_nothing_on_average():
    (arm,) = arms(("sgd",), ("l2",))
    guess = arm.guess(TASK, None)
    costs = []
    for draw in range(60):

        def noise(run, draw=draw):
            return 10 + random.Random(f"{draw} {run.address}").gauss(0, 1)

        costs += [one.mean for one in carried(arm, TASK, guess, TUNING, noise)]
    error = math.sqrt(2 / len(TUNING)) / math.sqrt(len(costs))
    assert abs(sum(costs) / len(costs)) < 4 * error


def test_with_the_batch_the_learning_rate_goes_by_the_rule_of_its_optimizer():
    by_optimizer = {}
    for arm in arms(("sgd", "adam", "lion"), ("decoupled",)):
        (change,) = [one for one in changes(TASK) if one.title == "batch × 4"]
        run = change.runs(arm, TASK, Cell(0.01, 1.0), 0)[KEPT]
        by_optimizer[arm.optimizer] = run.lr / 0.01
        assert (run.batch_size, run.epochs, run.weight_decay) == (256, TASK.base(**OWN).epochs, 1.0)
    assert by_optimizer == {"sgd": 4.0, "adam": 2.0, "lion": 2.0}


def test_changes_that_a_task_cannot_have_are_left_out():
    assert [one.title for one in changes(TASKS["lstm"])] == ["lr / 3", "lr × 3", "batch / 2", "batch × 2"]
    for task in TASKS.values():
        for each in variants(task):
            assert not each.has(task.base(**OWN))
            assert each.has(each.base(**OWN))


def test_the_map_of_a_basin_has_every_cell_that_was_tried_and_the_chosen_one_in_the_middle():
    own = arms(("adam", "lion"), ("none", "decoupled", "corrected", "stable"))
    ladders, tests = [], {}
    for arm in own:
        ladder, known = climbed(arm, valley(arm.lr, 10.0))
        ladders.append(ladder)
        tests |= known
    picture = basins.draw(answered(TASK, ladders, tests.get, 1.0, 0.0))
    maps = {axes.get_title(loc="center"): axes for axes in picture.figure.axes if axes.get_title(loc="center")}
    tuned = [ladder for ladder in ladders if ladder.arm.has_weight_decay]
    assert set(maps) == {ladder.arm.title for ladder in tuned}
    for ladder in tuned:
        cells = maps[ladder.arm.title].patches
        assert len(cells) == len(ladder.tried()) + 2  # and a frame, black on white
        (middle,) = [patch for patch in cells[:-2] if patch.get_center() == pytest.approx((0.0, 0.0))]
        assert middle.get_facecolor()[:3] == pytest.approx(mpl.colormaps[MAP](0.0)[:3])


def test_an_arm_is_judged_before_it_is_known_how_its_weight_decay_carries_over():
    (arm,) = arms(("adam",), ("decoupled",))
    error = valley(1e-3, 10.0)
    _, known = climbed(arm, error)
    ladder, more = climbed(arm, error, carry=True)
    assert set(known) < set(more)
    runs = len(changes(TASK)) * len(TIMES) * len(TUNING)
    assert runs - len(more) + len(known) <= runs / 5  # some cells of the grid are the same
    half = Ladder(arm, TASK, known.get, lambda run: None, SEEDS, carry=True)
    assert half.asked()[0] == "carrying"
    (before,) = answered(TASK, [half], known.get, 1.0, 0.0).standings
    (after,) = answered(TASK, [ladder], more.get, 1.0, 0.0).standings
    assert (before.cell, before.judged, before.carried) == (after.cell, after.judged, ())
    assert len(after.carried) == len(changes(TASK))
    (none,) = arms(("adam",), ("none",))
    assert climbed(none, error, carry=True)[0].carried() == ()


# ---------------------------------------------------------------- λ over time


def test_an_arm_whose_strength_changes_over_time_is_the_same_but_for_the_shape():
    plain, cosine, rise = arms(("adam",), ("decoupled", "decoupled@cosine", "decoupled@rise(0.1, 1)"))
    assert [one.title for one in (plain, cosine)] == ["Adam, decoupled", "Adam, decoupled@cosine"]
    assert cosine.has_weight_decay
    cell = Cell(1e-3, 0.1)
    runs = [one.run(TASK, cell, 0) for one in (plain, cosine, rise)]
    assert [run.weight_decay_schedule for run in runs] == ["", "cosine", "rise(0.1, 1)"]
    assert {dataclasses.replace(run, weight_decay_schedule="") for run in runs} == {runs[0]}
    assert all(TASK.has(run) for run in runs)


def test_an_arm_of_another_decay_keeps_its_own_options_beside_the_shape():
    (arm,) = arms(("adam",), ("cautious(decoupled)@cosine",))
    run = arm.run(TASK, Cell(1e-3, 0.1), 0)
    assert (dict(run.optimizer_options)["decay"], run.weight_decay_schedule) == ("cautious(decoupled)", "cosine")


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("decoupled@cosin", "Did you mean 'cosine'"),
        ("decoupled@", "'' is not a shape"),
        ("decoupled@plateau(0.1)", "waits for a metric"),
        ("none@cosine", "none has no λ to change"),
        ("hyperball@cosine", "hyperball has no λ to change"),
        ("l3@cosine", "no decay is called 'l3'"),
    ],
)
def test_a_shape_that_no_arm_can_have_is_refused_by_its_word(word, reason):
    with pytest.raises(SettingsError, match=reason):
        arms(("adam",), (word,))
