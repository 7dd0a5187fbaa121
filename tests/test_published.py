"""The published scorecard: its verdicts and its text follow from its rows, and its page says what they say."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import get_args

import evidence
import pytest

from weightdecay.lab import paper
from weightdecay.lab.cli import main
from weightdecay.lab.paper.again import judged_again, with_verdicts
from weightdecay.lab.paper.ordering import Verdict
from weightdecay.lab.report import scorecard
from weightdecay.lab.run.recorded import read_runs, runs_csv

DOCS = Path(__file__).parents[1] / "docs"
PUBLISHED = DOCS / "scorecard"
PAGE = (DOCS / "scorecard.md").read_text(encoding="utf-8")
KEPT = json.loads((PUBLISHED / "scorecard.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module", params=[PUBLISHED, PUBLISHED / "medium"], ids=["small", "medium"])
def published(request):
    """A folder, its verdicts, and every experiment judged from its rows alone: once, for it takes ten seconds."""
    kept = json.loads((request.param / "scorecard.json").read_text(encoding="utf-8"))
    return request.param, kept, judged_again(read_runs(request.param / "runs.csv"), paper.EXPERIMENTS.values())


def test_the_published_verdicts_follow_from_the_published_rows(published):
    """Nothing is trained. What the rows cannot tell is as it was judged when the epochs were there."""
    folder, kept, again = published
    alone = [one for each in again for row in each.rows for one in row.judged.values() if not one.unrecorded]
    # At small, all claims but those about single epochs by two measures; at medium, all but one by three.
    assert len(alone) == (2 * (len(kept) - 5) if folder == PUBLISHED else sum(len(row["by_measure"]) for row in kept))
    rows = [row for one in with_verdicts(again, kept) for row in one.rows]
    assert [(row.experiment, row.panel, row.claim.text) for row in rows] == [
        (row["experiment"], row["panel"], row["claim"]) for row in kept
    ]
    for row, judged in zip(rows, kept, strict=True):
        assert {
            name: {"verdict": one.verdict, "measured": one.measured, "seeds_needed": one.seeds}
            for name, one in row.judged.items()
        } == judged["by_measure"]


def test_the_published_text_is_what_the_command_writes(published):
    folder, kept, again = published
    text = scorecard.markdown(with_verdicts(again, kept), "figures", folder / "figures")
    assert (folder / "claims.md").read_text(encoding="utf-8") == text
    shown = re.findall(r"\]\(figures/([^)]+)\)", text)
    assert shown
    assert set(shown) == {path.name for path in (folder / "figures").iterdir()}


def test_the_command_writes_text_rows_and_figures_from_a_table_alone(tmp_path, capsys):
    """Of one experiment: that of all of them draws for half a minute."""
    file = tmp_path / "runs.csv"
    (chosen,) = paper.experiments(("fig11",))
    asked = {run for panel in chosen.panels(paper.scale("small")) for runs in panel.points.values() for run in runs}
    file.write_text(runs_csv(row for row in read_runs(PUBLISHED / "runs.csv") if row.run in asked))
    before = file.read_bytes()
    assert main(["report", str(file), "--out", str(tmp_path / "made")]) == 0
    made = tmp_path / "made"
    assert {path.name for path in made.iterdir()} == {"claims.md", "figures", "scorecard.html", "scorecard.json"}
    assert {path.name for path in (made / "figures").iterdir()} == {"fig11-decay.png", "fig11-decay.svg"}
    (row,) = json.loads((made / "scorecard.json").read_text(encoding="utf-8"))
    (published,) = [one for one in KEPT if one["experiment"] == "fig11"]
    by = published["by_measure"]
    assert row["by_measure"] == {name: by[name] for name in ("best epoch", "last epoch")}  # no scorecard.json beside it
    assert file.read_bytes() == before
    assert "text    " in capsys.readouterr().out
    file.write_text("\n".join(before.decode().splitlines()[:5]) + "\n")
    assert main(["report", str(file)]) == 2
    assert "no arm of the referee has all of its runs in it" in capsys.readouterr().err


def test_the_page_is_one_page_and_counts_what_was_published():
    assert len(PAGE.splitlines()) < 130
    verdicts = Counter(row["by_measure"]["best epoch"]["verdict"] for row in KEPT)
    first = PAGE.split("## ")[0].replace("\n", " ")
    for verdict, words in (
        ("holds", "{} hold,"), ("refuted", "{} are refuted"), ("practically equal", "{} come out practically equal"),
        ("undecided", "{} are undecided"), ("not judged", "{} are not judged"),
    ):  # fmt: skip
        assert words.format(verdicts[verdict]) in first
    assert f"{len(KEPT)} claims" in first
    assert f"{sum(not row['agree'] for row in KEPT)} of the {len(KEPT)} claims get another verdict" in PAGE
    runs = (PUBLISHED / "runs.csv").read_text(encoding="utf-8").count("\n") - 1
    assert f"one row for each of the {runs:,} runs" in PAGE


def test_the_findings_have_the_verdicts_that_were_published():
    found = re.findall(
        r"^\| (.+) \| ([a-z]+\d*) \| (holds|refuted|practically equal|undecided|not judged) \|$", PAGE, re.MULTILINE
    )
    assert len(found) >= 10
    for claim, experiment, verdict in found:
        rows = [row for row in KEPT if (row["experiment"], row["claim"]) == (experiment, claim)]
        assert rows, claim
        assert {row["by_measure"]["best epoch"]["verdict"] for row in rows} == {verdict}, claim


def test_the_table_of_all_claims_counts_each_experiment():
    rows = re.findall(r"^\| \[(\w+)\]\(scorecard/claims.md#(\w+)\) \| (.+?) \| (.+) \|$", PAGE, re.MULTILINE)
    assert [name for name, *_ in rows] == list(dict.fromkeys(row["experiment"] for row in KEPT))
    for name, anchor, title, counts in rows:
        assert (anchor, title) == (name, paper.EXPERIMENTS[name].title)
        verdicts = Counter(row["by_measure"]["best epoch"]["verdict"] for row in KEPT if row["experiment"] == name)
        numbers = [int(cell or 0) for cell in map(str.strip, f"{counts} ".split("|"))]
        assert numbers == [verdicts[one] for one in get_args(Verdict)], name


def test_what_is_said_of_medium_is_what_its_rows_show():
    """How many runs there are, how many verdicts, and what these come to."""
    page = evidence.REPRODUCE.read_text(encoding="utf-8")
    assert "of its 2,860 runs" in page
    assert evidence.of_medium(page) == page
