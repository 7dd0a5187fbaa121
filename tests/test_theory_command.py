"""``weightdecay theory``: what it computes for its figures, what it writes, and what it refuses."""

import csv
import itertools
import json
import math
import statistics
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from browser import browsing
from legible import assert_legible, needs_chromium

from weightdecay import theory
from weightdecay.lab.cli import main
from weightdecay.lab.pages.theory import best as theory_best
from weightdecay.lab.pages.theory import drift as theory_drift
from weightdecay.lab.pages.theory import equilibrium as theory_equilibrium
from weightdecay.lab.pages.theory import minimum as theory_minimum
from weightdecay.lab.pages.theory import paths as theory_paths
from weightdecay.lab.pages.theory.numbers import downloads
from weightdecay.lab.pages.theory.settings import TheorySettings

SMALL = ["--steps", "300", "--directions", "20", "--draws", "8", "--epochs", "2"]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A small one, once for all tests that read it."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("theory")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(theory_equilibrium, "STEPS", 60)
        patch.setattr(theory_equilibrium, "MEASURED", 20)
        patch.setattr(theory_paths, "STEPS", 300)
        assert main(["theory", *SMALL, "--out", str(folder)]) == 0
    return folder


def test_everything_is_written_and_the_page_says_what_the_numbers_say(written):
    figures = {"paths", "valleys", "parts", "best-decay", "minimum", "drift", "equilibrium"}
    assert {one.stem for one in written.glob("*.png")} == {one.stem for one in written.glob("*.svg")} == figures
    page = (written / "theory.html").read_text()
    numbers = json.loads((written / "theory.json").read_text())
    for answer in numbers["best_weight_decay"]:
        assert f"{answer['slope']['value']:.2f}".replace("-", "−") in page
        assert answer["slope"]["low"] <= answer["slope"]["value"] <= answer["slope"]["high"]
        assert answer["steps"] == [10, 30, 100, 300]
    for one in numbers["drift"]:
        assert f"{100 * one['shift']:.0f} %" in page
    assert page.count("<svg") == len(figures)
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")
    assert "weightdecay theory --out" in page


@needs_chromium
def test_in_a_browser_the_page_is_legible(written):
    with browsing() as tab:
        assert_legible(tab, written / "theory.html")


def test_the_files_hold_every_point_of_the_figures(written):
    rows = {path.name: list(csv.DictReader(path.read_text().splitlines())) for path in written.glob("*.csv")}
    assert len(rows["paths.csv"]) == 2 * 2 * theory_paths.POINTS
    assert len(rows["losses.csv"]) == len(theory_best.QUESTIONS) * 4 * theory_best.GRID.numel()
    assert len(rows["minimum.csv"]) == 2 * 2 * theory_minimum.STEPS
    assert len(rows["drift.csv"]) == 2 * 2
    assert len(rows["equilibrium.csv"]) == 4
    assert all(math.isfinite(float(row["simulated"])) for row in rows["losses.csv"])


def test_simulated_means_are_within_five_standard_errors_of_theorem_2(written):
    assert json.loads((written / "theory.json").read_text())["largest_score_of_a_mean"] < 5


def test_predicted_and_simulated_losses_agree():
    """Eight draws are few: 5 standard errors, from the draws themselves, where λ is small to where it is large."""
    (answer, *_) = theory_best.answers(20, 24, (10, 30), 0.1, seed=1)
    errors = answer.losses.std(-1) / math.sqrt(24)
    assert ((answer.losses.mean(-1) - answer.curves).abs() < 5 * errors).all()


def test_the_tip_of_a_parabola_is_found_between_the_values():
    for place in (3e-3, 0.02, 0.7):
        logs = (theory_best.GRID.log() - math.log(place)).square()
        assert theory_best.lowest(logs.exp()).item() == pytest.approx(place, rel=1e-9)
    rising = theory_best.GRID.clone()
    assert theory_best.lowest(rising).item() == pytest.approx(theory_best.GRID[0].item())
    assert theory_best.lowest(rising.flip(0)).item() == pytest.approx(theory_best.GRID[-1].item())


def test_the_slope_of_a_power_law_is_its_power():
    lengths = (100, 300, 1000)
    values = torch.tensor([[length**-1.2, 3 * length**0.5] for length in lengths], dtype=torch.float64).T
    assert theory_best.slope_of(lengths, values).tolist() == pytest.approx([-1.2, 0.5])


def naive_best(losses):
    """The λ of the least of (λ,) losses: the tip of numpy's parabola through three points, or the end of the grid."""
    at, x, y = int(np.argmin(losses)), np.log(theory_best.GRID.numpy()), np.log(losses)
    if at in (0, len(x) - 1):
        return math.exp(x[at])
    bend, slope, _ = np.polyfit(x[at - 1 : at + 2] - x[at], y[at - 1 : at + 2], 2)
    return math.exp(x[at] - slope / (2 * bend))


def test_intervals_are_those_of_all_ways_to_draw_the_draws_again(monkeypatch):
    """Of 4 draws, the same for every length, there are 4⁴ resamples: 2.5 % of them lie below the 6.4th.

    So many random ones are taken that the 5th to the 7th, which are equal here, are 5 standard errors wide.
    """
    monkeypatch.setattr(theory_best, "RESAMPLES", 20_000)
    lengths, draws = (10, 30, 100), 4
    answer = theory_best.answers(20, draws, lengths, 0.1, seed=4)[1]
    losses, x = answer.losses.numpy(), [math.log(steps) for steps in lengths]

    def once(picked):
        best = [naive_best(one[:, list(picked)].mean(1)) for one in losses]
        return *best, statistics.linear_regression(x, [math.log(one) for one in best]).slope

    *best, slope = once(range(draws))
    assert answer.best == pytest.approx(best, rel=1e-6)
    assert answer.slope.value == pytest.approx(slope, rel=1e-6)
    again = zip(*map(once, itertools.product(range(draws), repeat=draws)), strict=True)
    intervals = [*answer.interval, (answer.slope.low, answer.slope.high)]
    for values, interval in zip(again, intervals, strict=True):
        for ordered, end in zip((sorted(values), sorted(values, reverse=True)), interval, strict=True):
            assert ordered[5] == pytest.approx(ordered[7], rel=1e-6)
            assert ordered[6] not in (pytest.approx(ordered[2], rel=1e-3), pytest.approx(ordered[12], rel=1e-3))
            assert end == pytest.approx(ordered[6], rel=1e-6)


def test_errors_of_losses_are_standard_errors_of_a_mean_over_draws():
    answer = theory_best.answers(20, 9, (10, 30), 0.1, seed=2)[0]
    errors = [[statistics.stdev(draws) / 9**0.5 for draws in row] for row in answer.losses.tolist()]
    means = [[statistics.fmean(draws) for draws in row] for row in answer.losses.tolist()]
    # A curve that is off by known numbers of these, at most by 4.5 of them.
    away = torch.linspace(-4.5, 3, 2 * theory_best.GRID.numel(), dtype=torch.float64).view(2, -1)
    for sign in (1, -1):
        off = torch.tensor(means, dtype=torch.float64) + sign * away * torch.tensor(errors, dtype=torch.float64)
        assert replace(answer, curves=off).farthest == pytest.approx(4.5, rel=1e-6)
    rows = csv.DictReader(downloads(theory_paths.paths(0.1, 0), [answer], [], [], [])["losses.csv"].splitlines())
    assert [float(row["error"]) for row in rows] == pytest.approx([*itertools.chain(*errors)])


def test_a_spectrum_even_in_its_logarithm_has_the_slope_of_the_paper():
    """Why −1: with nothing else to set a scale, λ* × steps does not change, to 2 % over a hundredfold."""
    h = torch.logspace(-9, 0, 2000, dtype=torch.float64)
    model = theory.Ensemble(h, minimum=1.0, start=1.0)
    found = [
        steps * theory.best_weight_decay(model, theory.constant(steps, 0.1)).weight_decay
        for steps in (10_000, 100_000, 1_000_000)
    ]
    assert found == pytest.approx([found[0]] * 3, rel=0.02)


def test_norms_of_the_minimum_are_those_of_the_regularised_problem():
    for one in theory_minimum.moving(20, 0.1):
        assert one.stable == {"lr-coupled": True, "vanilla": False}
        assert one.span["lr-coupled"] == 0
        assert one.minimum["vanilla"][0].item() == pytest.approx(one.minimum["lr-coupled"][0].item())
        assert one.weights["vanilla"][0].item() == pytest.approx(one.minimum["vanilla"][0].item())
        assert one.hypothesis.from_step is None


class Watched:
    """An optimizer, the weights before and after its steps, and the gradients that it was given."""

    def __init__(self, weight, optimizer):
        self.weight, self.optimizer, self.path = weight, optimizer, [weight.detach().clone()]
        self.gradients = []

    def step(self):
        self.gradients.append(self.weight.grad.clone())
        self.optimizer.step()
        self.path.append(self.weight.detach().clone())


def test_norms_and_angles_are_those_of_the_weights_walked_over(monkeypatch):
    """In radians, between weights of one step and the next, by half the angle's tangent; errors are over tensors."""
    walks = []

    def watched(build):
        return lambda w: walks.append(Watched(w, build(w))) or walks[-1]

    cases = {name: (watched(build), predicted) for name, (build, predicted) in theory_equilibrium.CASES.items()}
    monkeypatch.setattr(theory_equilibrium, "CASES", cases)
    monkeypatch.setattr(theory_equilibrium, "STEPS", 30)
    monkeypatch.setattr(theory_equilibrium, "MEASURED", 10)
    for one, walk in zip(theory_equilibrium.balances(seed=1), walks, strict=True):
        path = torch.stack(walk.path)
        a, b = (way / way.norm(dim=2, keepdim=True) for way in (path[20:30], path[21:31]))
        angles = (2 * torch.atan2((a - b).norm(dim=2), (a + b).norm(dim=2))).mean(0).tolist()
        norms = path[21:].square().sum(2).mean(0).sqrt().tolist()
        for found, values in ((one.angle, angles), (one.norm, norms)):
            error = statistics.stdev(values) / len(values) ** 0.5
            assert found == (pytest.approx(statistics.fmean(values), rel=1e-9), pytest.approx(error, rel=1e-6))
        assert one.norms.tolist() == pytest.approx(path[1:].square().sum(2).mean(1).sqrt().tolist())
        gradients = torch.stack(walk.gradients)
        assert (gradients * path[:-1]).sum(2).abs().max() < 1e-12
        products = gradients.norm(dim=2) * path[:-1].norm(dim=2)
        torch.testing.assert_close(products, torch.full_like(products, theory_equilibrium.GRAD_NORM))
        assert path[0].norm(dim=1).tolist() == pytest.approx([theory_equilibrium.START * one.predicted.norm] * 12)


def test_norms_and_angles_settle_at_the_closed_forms(monkeypatch):
    """Within 5 standard errors and 0.5 %: v̂ of 1,000 weights and β₂ = 0.99 is not the exact second moment."""
    monkeypatch.setattr(theory_equilibrium, "STEPS", 800)
    monkeypatch.setattr(theory_equilibrium, "MEASURED", 200)
    for one in theory_equilibrium.balances(seed=0):
        for (mean, error), wanted in ((one.angle, one.predicted.angle), (one.norm, one.predicted.norm)):
            assert 0 < error < 0.01 * wanted
            assert mean == pytest.approx(wanted, abs=5 * error + 0.005 * wanted), one.name


def test_the_strength_of_adams_stays_where_it_is_in_the_mean_and_that_of_adamw_does_not():
    adamw, adams = theory_drift.drifts(2, 0, lambda line: None)
    # By the gain that the optimizer itself took in its last step of the epoch, not by the formula.
    assert adams.change == pytest.approx(1, abs=1e-5)
    assert adams.strength[0] == pytest.approx(adams.weight_decay, rel=1e-5)
    assert max(adams.shift_of_mean) < 1e-12
    assert adamw.change > 1.01
    assert adamw.strength[0] == pytest.approx(adamw.weight_decay * math.sqrt(adamw.mean_square[0]))
    assert adamw.shift[-1] == adams.shift[-1] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--steps", "100"], "--steps 100: the shortest training"),
        (["--directions", "5"], "--directions 5: ten are outliers"),
        (["--draws", "1"], "--draws 1: an error bar needs several quadratics. Use 8 or more."),
        (["--epochs", "1"], "--epochs 1"),
        (["--seed", "-1"], "--seed -1: a seed must be at least 0"),
        (["--seed", str(2**64)], f"--seed {2**64}: a seed must be at least 0 and fit into 64 bits"),
        (["--lr", "0.5"], "an lr above 0.15 diverges"),
        (["--lr", "nan"], "--lr nan"),
        (["--stepz", "5"], "--stepz"),
    ],
)
def test_bad_settings_are_one_line_and_nothing_is_written(words, message, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["theory", *words, "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not out.exists()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["theory", *SMALL, "--out", str(tmp_path / "file" / "in")]) == 1
    assert "Name another folder with --out." in capsys.readouterr().err


def test_the_command_on_the_page_asks_the_same():
    assert TheorySettings().command == "weightdecay theory"
    assert TheorySettings(steps=600, lr=0.05).command == "weightdecay theory --steps 600 --lr 0.05"


def test_help_does_not_import_torch():
    code = (
        "import sys; from weightdecay.lab.cli import main; assert main(['theory', '--help']) == 0; "
        "assert 'torch' not in sys.modules and 'matplotlib' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, timeout=120, capture_output=True, text=True)
    assert "--directions" in done.stdout


def test_a_best_decay_outside_of_what_was_searched_is_noted():
    """At this lr and these lengths the best λ is far above the grid."""
    from weightdecay.lab.pages.theory.explain import notes

    found = theory_best.answers(20, 8, (10, 30), 0.001, seed=0)
    assert all(answer.at_edge for answer in found)
    said = notes(theory_paths.paths(0.1, 0), found)
    assert sum("lies at an end of the searched range" in note for note in said) == len(found)
