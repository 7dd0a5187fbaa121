"""``weightdecay theory``: what it computes for its figures, what it writes, and what it refuses."""

import csv
import json
import math
import subprocess
import sys

import pytest
import torch

from weightdecay import theory
from weightdecay.lab.cli import main
from weightdecay.lab.explain import theory_best, theory_drift, theory_equilibrium, theory_minimum, theory_paths
from weightdecay.lab.explain.theory_settings import TheorySettings

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
        (["--draws", "1"], "--draws 1: an error bar needs several. Use 8 or more."),
        (["--epochs", "1"], "--epochs 1"),
        (["--seed", "-1"], "--seed -1: a seed is 0 or above"),
        (["--seed", str(2**64)], f"--seed {2**64}: a seed is 0 or above, and fits into 64 bits"),
        (["--lr", "0.5"], "more than 0.15 diverges"),
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
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "--directions" in done.stdout


def test_a_best_decay_outside_of_what_was_searched_is_noted():
    """At this lr and these lengths the best λ is far above the grid."""
    from weightdecay.lab.explain.theory import notes

    found = theory_best.answers(20, 8, (10, 30), 0.001, seed=0)
    assert all(answer.at_edge for answer in found)
    said = notes(theory_paths.paths(0.1, 0), found)
    assert sum("lies at an end of what was searched" in note for note in said) == len(found)
