"""The scorecard says what was measured: every row and every number on its page, in its files and in its text."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import re
import statistics
from dataclasses import replace

import pytest
from reading import Reader
from reproductions import reproduction, three

from weightdecay.lab.paper.ordering import Judgement
from weightdecay.lab.report.scorecard import markdown, rows, write
from weightdecay.lab.report.scorecard.lines import MARK, Tally, lines
from weightdecay.lab.run import PERPLEXITY
from weightdecay.lab.run.recorded import results_csv


@pytest.fixture(scope="module")
def told():
    return three()


@pytest.fixture(scope="module")
def written(told, tmp_path_factory):
    return write(told, tmp_path_factory.mktemp("scorecard") / "made" / "for it")


@pytest.fixture(scope="module")
def page(written):
    return Reader(written.page.read_text(encoding="utf-8"))


# The rows.


def test_every_row_is_on_the_page_with_its_verdict_and_numbers_by_every_measure(told, page):
    for one in told:
        for row in one.rows:
            assert row.claim.text in page.words
            assert row.claim.paper in page.words
            for name, judgement in row.judged.items():
                mark = {"holds": "✓", "refuted": "✗", "undecided": "?", "not judged": "–"}[judgement.verdict]
                row_of_table = f"{name}{mark} {judgement.verdict}{judgement.measured}"
                assert "".join(row_of_table.split()) in "".join(page.words.split())


def test_every_row_names_network_data_and_scale(told):
    for one, line in zip([each for each in told for _ in each.rows], lines(told), strict=True):
        assert line.where == f"{line.row.panel}, scale {one.scale.name}"
        assert line.row.panel.startswith("a network on some data")


def test_the_rows_for_a_terminal_are_plain_and_in_order(told):
    found = rows(told)
    assert [row["experiment"] for row in found] == ["fig7"] * 3 + ["fig8"] * 3 + ["table1"] * 6
    assert {tuple(row) for row in found} == {("experiment", "panel", "claim", "verdict", "measured")}
    assert [row["verdict"] for row in found] == ["holds", "holds", "refuted"] * 2 + ["not judged"] * 6
    assert found[0]["measured"] == told[0].rows[0].headline.measured


def disagreeing():
    one = reproduction(figures=())
    row = one.rows[0]
    other = Judgement("undecided", "a small difference", 17)
    return replace(one, rows=(replace(row, judged={**row.judged, "last epoch": other}), *one.rows[1:]))


def test_a_verdict_that_another_measure_does_not_share_is_marked(tmp_path):
    one = disagreeing()
    assert [row["verdict"] for row in rows([one])] == [f"holds {MARK}", "holds", "refuted"]
    assert f"1 row gets another verdict at the last epoch or by validation ({MARK})." in (str(Tally(lines([one]))))
    text = write([one], tmp_path).page.read_text(encoding="utf-8")
    assert len(re.findall('<tr data-tags="[^"]*disagree', text)) == 1
    assert "17 seeds would decide" in Reader(text).words
    assert "17 seeds would decide" in markdown([one], "images")


def test_the_tally_is_counted(told):
    assert str(Tally(lines(told))) == (
        "12 claims, at scale small and paper and smoke: 4 hold, 2 are refuted and 6 are not judged."
    )


def test_the_file_of_rows_has_all_that_a_row_has(told, written):
    found = json.loads(written.rows.read_text(encoding="utf-8"))
    expected = [(one, row) for one in told for row in one.rows]
    assert len(found) == len(expected)
    for plain, (one, row) in zip(found, expected, strict=True):
        assert plain["experiment"] == one.experiment.name
        assert (plain["panel"], plain["scale"]) == (row.panel, one.scale.name)
        assert (plain["network"], plain["data"]) == ("a network", "some data")
        assert (plain["claim"], plain["paper"], plain["own"]) == (row.claim.text, row.claim.paper, row.claim.own)
        assert plain["by_measure"] == {
            name: {"verdict": judged.verdict, "measured": judged.measured, "seeds_needed": judged.seeds}
            for name, judged in row.judged.items()
        }


# The numbers.


def test_the_tables_hold_the_numbers_of_the_cells(told, page):
    for one in told:
        for answer in one.answers:
            for cell in answer.cells:
                each = [result.best for result in cell.results]
                assert ", ".join(f"{value:.2f}" for value in each) in page.words
                assert f"{statistics.fmean(each):.2f} ± {statistics.stdev(each):.2f}" in page.words
                last = [result.last for result in cell.results]
                assert f"{statistics.fmean(last):.2f} ± {statistics.stdev(last):.2f}" in page.words


def test_a_best_λ_at_the_edge_of_its_grid_is_said(tmp_path):
    inside = write([reproduction(figures=())], tmp_path / "inside").page.read_text(encoding="utf-8")
    outside = [reproduction(figures=(), weight_decays=(0.01, 0.03, 0.1))]
    text = write(outside, tmp_path / "outside").page.read_text(encoding="utf-8")
    assert inside.count("at the edge of its grid") == 0
    assert text.count("at the edge of its grid") == 3 * 3  # curves × measures
    assert markdown(outside, "").count("at the edge") == 3 * 3


def test_what_was_run_is_said_with_its_cost(told, page):
    for one in told:
        assert one.command in page.words
    runs = len(told[0].results)
    assert f"{runs} runs, {1.25 * runs:.0f} seconds of training on cpu" in page.words
    shared = {result.run: result.seconds for one in told for result in one.results}
    assert f"{len(shared)} runs, {sum(shared.values()):,.0f} seconds of training on cpu, runs that" in page.words
    assert "torch 2.15.0" in page.words


def test_the_page_says_once_that_the_papers_number_peeks(page):
    assert page.words.count("That number uses the test set to choose the epoch") == 1


def test_the_raw_numbers_are_beside_the_page_and_in_it(told, written, page):
    every = {result.run: result for one in told for result in one.results}
    text = written.results.read_text(encoding="utf-8")
    assert text == results_csv(every.values())
    links = {attributes["download"]: attributes["href"] for tag, attributes in page.seen if "download" in attributes}
    assert set(links) == {"results.csv.gz", "fig7.csv", "fig8.csv", "table1.csv"}
    content = {name: base64.b64decode(address.split("base64,")[1]) for name, address in links.items()}
    assert gzip.decompress(content["results.csv.gz"]).decode() == text
    table = list(csv.DictReader(io.StringIO(content["fig7.csv"].decode())))
    by_address = {result.run.address: result for result in told[0].results}
    assert {row["address"] for row in table} == set(by_address)
    for row in table:
        result = by_address[row["address"]]
        assert (float(row["best_epoch"]), float(row["last_epoch"])) == (result.best, result.last)
        assert float(row["validation"]) == result.selected
        assert (int(row["seed"]), row["scale"]) == (result.run.seed, "small")


def test_a_number_that_no_run_has_has_no_column(tmp_path):
    without = [reproduction(figures=("decay",), validation=False)]
    card = write(without, tmp_path)
    assert "thin: validation" not in card.page.read_text(encoding="utf-8")
    assert [len(row.judged) for row in without[0].rows] == [2, 2, 2]
    assert "test error, %, validation" not in markdown(without, "")
    assert "test error, %, last epoch" in markdown(without, "")


def test_perplexities_have_four_digits_and_no_unit():
    text = markdown([reproduction(figures=(), metric=PERPLEXITY)], "")
    assert "4.010 ± 0.010 (λ 0.1)" in text
    assert "test perplexity, best epoch" in text


def test_every_run_has_a_row_of_its_own_with_what_the_measures_read(told, written):
    results = {result.run.address: result for one in told for result in one.results}
    with written.runs.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["address"] for row in rows] == list(results)
    for row in rows:
        result = results[row["address"]]
        assert (float(row["best"]), float(row["last"])) == (result.best, result.last)
        assert row["selected"] == ("" if result.selected is None else str(result.selected))


# The text.


def test_the_text_has_every_row_number_picture_and_command(told, written):
    text = markdown(told, "images/scorecard/")
    for one in told:
        assert f"    {one.command}\n" in text
        for row in one.rows:
            assert re.sub(r"\\(.)", r"\1", text).count(row.headline.measured) >= 2
    pictures = re.findall(r"!\[[^]]*\]\(images/scorecard/([^)]+)\)", text)
    assert sorted(pictures) == sorted(path.name for path in written.figures if path.suffix == ".png")
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        columns = {len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}
        assert len(columns) == 1
    headings = re.findall(r"^#+ .*$", text, re.MULTILINE)
    assert headings == ["# The scorecard, claim by claim", "## fig7", "## fig8", "## table1"]
