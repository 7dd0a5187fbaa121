"""The plan before a long run: on one screen, and true."""

from dataclasses import replace
from pathlib import Path

import pytest
from lab import small

from weightdecay.lab import paper
from weightdecay.lab.cli.planned import lasting, print_plan
from weightdecay.lab.run import options
from weightdecay.lab.study.conduct import Planned
from weightdecay.lab.sweeps.cost import Cost, kind

COST = Cost(start=1.0, step=0.5, judging=2.0, steps=10, where="CPU, 1 threads")


def all_of(scale):
    every = (one.panels(paper.scale(scale)) for one in paper.EXPERIMENTS.values())
    return {run: None for panels in every for panel in panels for runs in panel.points.values() for run in runs}


@pytest.mark.parametrize("scale", ["small", "medium", "paper", "smoke"])
@pytest.mark.parametrize("measured", [False, True])
def test_the_plan_of_the_whole_paper_fits_a_screen(scale, measured, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    runs = tuple(all_of(scale))
    costs = {kind(run): COST for run in runs} if measured else {}
    print_plan(Planned(f"the paper at scale {scale}", runs, runs, costs, 8, Path("weightdecay-paper")))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert f"{len(runs)} runs, 0 of them kept from before, in weightdecay-paper" in lines


def test_its_numbers_are_sums_of_what_was_measured(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    runs = [small(epochs=epochs, seed=seed) for epochs in (4, 8) for seed in (0, 1, 2)]
    runs += [small(epochs=4, network_options=options(width=8))]
    total = sum(1.0 + run.epochs * (10 * 0.5 + 2.0) for run in runs[1:])
    costs = {kind(run): COST for run in runs}
    print_plan(Planned("[/x] and more", tuple(runs), tuple(runs[1:]), costs, 2, Path("there")))
    out = capsys.readouterr().out
    assert "[/x] and more" in out  # a title is no markup
    assert "7 runs, 1 of them kept from before, in there" in out
    assert f"estimated: {lasting(total)} of computing on CPU, 1 threads" in out
    assert f"about {lasting(total / 2)} with 2 runs at a time" in out
    cells = [line.split() for line in out.splitlines() if line.startswith(" digits")]
    assert [(row[2], *row[4:6]) for row in cells] == [
        ("width=4", "2", "4"),
        ("width=4", "3", "8"),
        ("width=8", "1", "4"),
    ]


def test_nothing_is_measured_and_nothing_missing(capsys):
    run = small()
    print_plan(Planned("kept", (run, replace(run, seed=1)), (), {}, None, Path("there")))
    assert capsys.readouterr().out == "2 runs, 2 of them kept from before, in there\n"
