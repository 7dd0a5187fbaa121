"""The referee is wrong about any arm at most as often as it says, and only if tuning and judging are kept apart."""

import math

import numpy as np
import pytest
from scipy import stats

from weightdecay.lab.referee.rulings import ruled
from weightdecay.lab.run.settings import SettingsError

TRUTH = {"better": lambda d, m: d < 0, "worse": lambda d, m: d > 0, "practically equal": lambda d, m: abs(d) < m}


def table(values):
    """Rows are arms, columns are seeds."""
    return {str(arm): dict(enumerate(map(float, row))) for arm, row in enumerate(values)}


def drawn(draw, differences, seeds, shared=1.0):
    """Seeds move all arms together, and each arm by itself."""
    own = draw.normal(size=(len(differences), seeds))
    return np.asarray(differences)[:, None] + shared * draw.normal(size=seeds) + own


# At d = 0 "better" and "worse" are at their worst, at d = ±margin "equal" is.
@pytest.mark.parametrize(
    ("differences", "margin", "seeds"),
    [
        ([0, 0], 0.1, 3),
        ([0, 0, 0, 0, 0], 0.1, 5),
        ([0, 3, 3, -3], 3.0, 8),
        ([0, 1, 0, -1, 2], 1.0, 5),
    ],
)
def test_any_ruling_is_wrong_at_most_as_often_as_the_level(differences, margin, seeds):
    draw, rounds = np.random.default_rng(1), 600
    wrong = 0
    for _ in range(rounds):
        rulings = ruled(table(drawn(draw, differences, seeds)), "0", margin)
        wrong += any(
            one.verdict != "undecided" and not TRUTH[one.verdict](differences[int(arm)], margin)
            for arm, one in rulings.items()
        )
    assert wrong / rounds <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / rounds)


def test_all_intervals_cover_together():
    draw, rounds, differences = np.random.default_rng(2), 600, [0, 1, -2, 0.5]
    covered = sum(
        all(
            one.interval[0] <= differences[int(arm)] <= one.interval[1]
            for arm, one in ruled(table(drawn(draw, differences, 4)), "0", 1.0).items()
        )
        for _ in range(rounds)
    )
    assert covered / rounds >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / rounds)


def test_with_one_arm_the_interval_is_scipys_and_equality_is_two_one_sided_tests():
    draw = np.random.default_rng(3)
    for shift in (-2.0, 0.0, 0.7, 2.0):
        values = drawn(draw, [0, shift], 9, shared=5.0)
        one = ruled(table(values), "0", 1.0)["1"]
        test = stats.ttest_rel(values[1], values[0])
        interval = test.confidence_interval(0.95)
        assert one.interval == pytest.approx((interval.low, interval.high), rel=1e-9)
        equal = max(
            stats.ttest_rel(values[1], values[0] - 1.0, alternative="greater").pvalue,
            stats.ttest_rel(values[1], values[0] + 1.0, alternative="less").pvalue,
        )
        assert (one.verdict == "practically equal") == (equal < 0.05)


def test_what_is_clear_is_ruled():
    noise = np.array([0.0, 0.01, -0.01, 0.02, 0.0])
    rulings = ruled(table([10 + noise, 8 + noise[::-1], 12 + noise[::-1], 10.05 + noise[::-1]]), "0", 0.5)
    assert [one.verdict for one in rulings.values()] == ["better", "worse", "practically equal"]
    wide = ruled(table([10 + 100 * noise, 9 - 100 * noise]), "0", 0.5)
    assert wide["1"].verdict == "undecided"


def test_runs_that_diverged_decide_only_what_is_beyond_doubt():
    rulings = ruled(table([[1, 2, 3], [math.inf] * 3, [1, math.inf, 3], [1, 2, 3]]), "0", 0.5)
    assert [one.verdict for one in rulings.values()] == ["worse", "undecided", "practically equal"]
    assert ruled(table([[1.0], [0.0]]), "0", 0.5)["1"].verdict == "undecided"


def test_tuning_on_the_judging_seeds_finds_differences_that_are_not_there_and_own_seeds_do_not():
    """All arms and choices are equal; an arm that is chosen and judged on one and the same noise "wins"."""
    draw, rounds, choices, seeds = np.random.default_rng(4), 500, 12, 4
    found = {"the same": 0, "own": 0}
    for _ in range(rounds):
        noise = draw.normal(size=(2, choices, 2 * seeds))
        tuned = {
            str(arm): {choice: dict(enumerate(noise[arm, choice, :seeds])) for choice in range(choices)}
            for arm in range(2)
        }
        best = {arm: min(choices, key=lambda one: sum(choices[one].values())) for arm, choices in tuned.items()}
        reference = {"0": noise[0, 0]}  # taken as it comes: not chosen by its luck
        for name, part in (("the same", slice(0, seeds)), ("own", slice(seeds, None))):
            numbers = {"0": reference["0"][part], "1": noise[1, best["1"], part]}
            verdict = ruled({arm: dict(enumerate(row)) for arm, row in numbers.items()}, "0", 0.01)["1"].verdict
            found[name] += verdict != "undecided"
    assert found["own"] / rounds <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / rounds)
    assert found["the same"] / rounds > 0.09


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ruled(table([[1, 2], [1, 2]]), "0", 1.0, frozenset({1, 7})), r"the seeds \[1\] were tuned on"),
        (lambda: ruled({"a": {0: 1.0}, "b": {1: 1.0}}, "a", 1.0), r"'b' has the seeds \[1\], and 'a' \[0\]"),
        (lambda: ruled(table([[1], [2]]), "sgd", 1.0), "reference='sgd' is none of the arms: '0', '1'"),
        (lambda: ruled(table([[1], [2]]), "0", 0.0), "margin=0: write the largest difference that does not matter"),
    ],
)  # fmt: skip
def test_an_unfair_comparison_is_refused(call, words):
    with pytest.raises(SettingsError, match=words):
        call()
