"""A row per run is enough to judge the paper's claims again: the published verdicts follow from the published rows."""

from __future__ import annotations

import csv
import math
from dataclasses import replace

import pytest
from reproductions import error, reproduction, result

from weightdecay.lab import paper
from weightdecay.lab.paper.again import judged_again, with_verdicts
from weightdecay.lab.paper.measure import BEST, LAST, MEASURES, SELECTED
from weightdecay.lab.run import PERPLEXITY, Metric, Run, options
from weightdecay.lab.run.recorded import LATE, NUMBERS, Recorded, UnrecordedError, read_runs, runs_csv
from weightdecay.lab.run.settings import SettingsError


def written(tmp_path, results):
    path = tmp_path / "runs.csv"
    path.write_text(runs_csv(results), encoding="utf-8")
    return path


def several():
    """Return results of every kind: options of every type, diverged, without validation, of another metric."""
    odd = options(decay="cautious(toward(1.0, stable(power=0.25)))", nesterov=True, momentum=0.9, depth=3, name="a=b")
    return [
        result(Run("adams", 1e-3, 0.1, 0, epochs=10), 4.0),
        result(Run("sgd", 0.1, 3e-4, 7, epochs=10, optimizer_options=odd, network_options=options(width=16)), 5.5),
        result(Run("adam", 1e-3, 1 / 3, 1, epochs=10, augment=False, milestones=(1 / 3, 0.5)), 6.0, validation=False),
        result(Run("adam", 1e-3, 30.0, 2, epochs=10), 6.0, diverged=True),
        result(Run("adamw", 1e-3, 0.0, 3, epochs=10, milestones=()), 115.3, PERPLEXITY),
        result(Run("adamw", 1e-3, 0.0, 4, epochs=10), 0.3, Metric("distance", "m")),
    ]


def test_what_is_written_is_read_to_the_last_bit(tmp_path):
    results = several()
    for before, after in zip(results, read_runs(written(tmp_path, results)), strict=True):
        assert after.run == before.run
        assert (after.status, after.metric, after.seconds) == (before.status, before.metric, before.seconds)
        assert (after.where, after.versions, after.weights) == (before.where, before.versions, before.weights)
        for name, of in NUMBERS.items():
            assert of(after) == of(before), name
        assert (after.late("test", LATE), after.late("train_loss", LATE)) == (
            before.late("test", LATE),
            before.late("train_loss", LATE),
        )
    assert (tmp_path / "runs.csv").read_text() == runs_csv(read_runs(tmp_path / "runs.csv"))


def test_every_measure_reads_a_row_as_it_reads_the_run(tmp_path):
    results = several()
    for before, after in zip(results, read_runs(written(tmp_path, results)), strict=True):
        assert [one.reads([after]) for one in MEASURES] == [one.reads([before]) for one in MEASURES]
        there = [one for one in MEASURES if one.reads([before])]
        assert [(m.of(after), m.chosen_by(after)) for m in there] == [
            (m.of(before), m.chosen_by(before)) for m in there
        ]


def test_a_row_that_was_edited_is_refused_with_its_line(tmp_path):
    path = written(tmp_path, several())
    path.write_text(path.read_text().replace(",0.0003,", ",0.0004,"))
    with pytest.raises(SettingsError, match=r"runs.csv, line 3: .* The row was edited"):
        read_runs(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [("a,b\n1,2\n", "no column 'address'"), (None, "cannot be read"), (b"\xff\xfe", "not text in UTF-8")],
)
def test_what_is_no_table_of_runs_is_refused(content, words, tmp_path):
    path = tmp_path / "runs.csv"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SettingsError, match=words):
        read_runs(path)


def without(path, *columns):
    """Rewrite a file of runs as an older version wrote it."""
    rows = list(csv.DictReader(path.read_text().splitlines()))
    with path.open("w") as file:
        writer = csv.DictWriter(file, [name for name in rows[0] if name not in columns], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_a_number_that_the_file_does_not_have_is_not_made_up(tmp_path):
    path = without(written(tmp_path, several()[:1]), "validated", "late_test", "unit")
    (one,) = read_runs(path)
    assert isinstance(one, Recorded)
    assert (one.best, one.metric.unit) == (4.0, "%")
    assert [measure.reads([one]) for measure in (BEST, LAST, SELECTED)] == [True, True, False]
    with pytest.raises(UnrecordedError, match="no column 'late_test'"):
        one.late("test", LATE)
    again = read_runs(written(tmp_path, [one]))  # and stays unknown through another file
    with pytest.raises(UnrecordedError):
        again[0].late("test", LATE)


def test_a_small_reproduction_is_judged_again_from_its_rows_alone(tmp_path):
    """Every verdict by every measure, the claims about late epochs and about v̄ among them."""
    chosen = paper.experiments(("fig5", "fig7", "norms"))
    scale = replace(paper.scale("small"), seeds=2)
    runs = {
        run: point
        for experiment in chosen
        for panel in experiment.panels(scale)
        for point, several in panel.points.items()
        for run in several
    }
    known = {"adams": "adams", "adamw": "adamw"}
    results = [
        result(run, error(replace(point, optimizer=known.get(point.optimizer, "adam")), run.seed))
        for run, point in runs.items()
    ]
    judged = judged_again(results, chosen)
    again = judged_again(read_runs(written(tmp_path, results)), chosen)
    assert [one.experiment.name for one in again] == ["fig5", "fig7", "norms"]
    assert [row.judged for one in again for row in one.rows] == [row.judged for one in judged for row in one.rows]
    assert not any(judgement.unrecorded for one in again for row in one.rows for judgement in row.judged.values())
    names = ("fig5", "fig7", "norms")
    assert [one.command for one in again] == [f"weightdecay reproduce {name} --seeds 2" for name in names]
    incomplete = judged_again(results[:-1], chosen)  # the last run is one of figure 7
    assert [one.experiment.name for one in incomplete] == ["fig5", "norms"]


def test_an_experiment_is_judged_with_the_seeds_that_it_has_whatever_others_have():
    """Figure 7 has four seeds; the norms have five, and their points are points of figure 7 too."""
    points = {
        run: point
        for name, seeds in (("norms", 5), ("fig7", 4))
        for panel in paper.EXPERIMENTS[name].panels(replace(paper.scale("small"), seeds=seeds))
        for point, several in panel.points.items()
        for run in several
    }

    def seeds_of(runs):
        results = [result(run, 4.0 + run.seed + math.log10(2 + points[run].weight_decay)) for run in runs]
        again = judged_again(results, paper.experiments(("fig7", "norms")))
        return {one.experiment.name: max(len(cell.results) for cell in one.answers[0].cells) for one in again}

    assert seeds_of(points) == {"fig7": 4, "norms": 5}
    largest = max(run.weight_decay for run in points if run.optimizer == "adams")
    lost = {run.seed: run for run in points if run.optimizer == "adams" and run.weight_decay == largest}
    assert seeds_of(points.keys() - {lost[3]}) == {"fig7": 3, "norms": 5}  # as many as the scale asks for
    assert seeds_of(points.keys() - {lost[1]}) == {"norms": 5}
    assert seeds_of(run for run in points if run.seed) == {}


def test_two_contents_of_the_data_are_not_judged_together():
    (experiment,) = paper.experiments(("norms",))
    (panel,) = experiment.panels(paper.scale("small"))
    runs = [run for several in panel.points.values() for run in several]
    both = [result(replace(run, data_digest=digest), 4.0) for digest in ("a" * 64, "b" * 64) for run in runs]
    assert len(judged_again(both[: len(runs)], (experiment,))) == 1
    with pytest.raises(SettingsError, match=r"on two contents of 'mnist', with the digests a{12} and b{12}, as of .*"):
        judged_again(both, (experiment,))


def test_a_kept_verdict_is_taken_only_for_a_claim_that_comes_out_as_it_did(tmp_path):
    chosen = paper.experiments(("norms",))
    runs = {
        run for panel in chosen[0].panels(paper.scale("small")) for several in panel.points.values() for run in several
    }
    path = without(written(tmp_path, [result(run, 4.0 + run.seed) for run in runs]), "validated", "first_gain")
    (bare,) = judged_again(read_runs(path), chosen)
    assert [judgement.verdict for row in bare.rows for judgement in row.judged.values()] == ["not judged"] * 6
    row = bare.rows[0]
    kept = {"experiment": "norms", "panel": row.panel, "claim": row.claim.text, "scale": "small"}
    kept["by_measure"] = {
        name: {"verdict": "holds", "measured": "0.1", "seeds_needed": None}
        for name in ("best epoch", "last epoch", "validation")
    }
    (full,) = with_verdicts([bare], [kept])
    assert [one.verdict for one in full.rows[0].judged.values()] == ["holds"] * 3
    assert full.rows[1:] == bare.rows[1:]
    judged = reproduction(figures=())
    changed = {**kept, "experiment": "fig7", "panel": judged.rows[0].panel, "claim": judged.rows[0].claim.text}
    assert with_verdicts([judged], [changed]) == [judged]
