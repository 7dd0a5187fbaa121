"""The page is self-contained, escaped and complete; the figures are files that refer to nothing."""

from __future__ import annotations

import base64
import csv
import io
import os
import re
import subprocess
import sys
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from browser import browsing
from fakes import fake_results
from legible import assert_legible, needs_chromium
from matplotlib.figure import Figure
from reading import Reader
from rich.console import Console

from weightdecay.lab.cli import outcome
from weightdecay.lab.cli.view import View
from weightdecay.lab.report import compared, figures, page, write
from weightdecay.lab.report.drawn import curves
from weightdecay.lab.report.drawn import decay as by_decay
from weightdecay.lab.report.lines import with_bars
from weightdecay.lab.report.ticks import error_scale, plain_ticks
from weightdecay.lab.run.methods import METHODS
from weightdecay.lab.run.recorded import COLUMNS, results_csv
from weightdecay.lab.study import statistics
from weightdecay.lab.study.compare import Settings, question

HOSTILE = '<script>alert("x")</script>&\'"$_{'


def comparison(**changes):
    settings = Settings(**changes)
    return statistics.compare(question(settings), fake_results(settings))


@pytest.fixture(scope="module")
def whole():
    return comparison()


@pytest.fixture(scope="module")
def written(whole, tmp_path_factory):
    return write(whole, tmp_path_factory.mktemp("report") / "made" / "for it")


def test_the_page_opens_without_a_network(written):
    reader = Reader(written.page.read_text(encoding="utf-8"))
    assert {tag for tag, _ in reader.seen} & {"link", "iframe", "img", "object", "embed", "base"} == set()
    assert [tag for tag, _ in reader.seen].count("script") == 1
    for _, attributes in reader.seen:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("href", "xlink:href", "src", "action"):
                assert value.startswith(("#", "data:text/csv"))
    text = re.sub(r'xmlns(:xlink)?="[^"]*"', "", written.page.read_text(encoding="utf-8"))
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", re.sub(r'href="data:[^"]*"', "", text))
    assert "default-src 'none'" in text


def test_no_two_ids_of_the_page_are_the_same(written):
    ids = [
        attributes["id"]
        for _, attributes in Reader(written.page.read_text(encoding="utf-8")).seen
        if "id" in attributes
    ]
    assert len(ids) == len(set(ids)) > 0


def test_every_reference_of_the_page_finds_its_id(written):
    text = written.page.read_text(encoding="utf-8")
    ids = set(re.findall(r'\bid="([^"]+)"', text))
    references = set(re.findall(r'href="#([^"]+)"', text)) | set(re.findall(r"url\(#([^)]+)\)", text))
    assert references
    assert references <= ids


def test_the_page_follows_light_and_dark(written):
    text = written.page.read_text(encoding="utf-8")
    assert "prefers-color-scheme: dark" in text
    assert "currentColor" in text
    assert figures.INK not in re.findall(r"<figure>.*</figure>", text, re.DOTALL)[0]


def test_a_hostile_name_is_text_and_nothing_else(monkeypatch, tmp_path):
    base = comparison(optimizers=("adams", "sgd"), seeds=2)
    evil = replace(METHODS["adams"], title=HOSTILE)
    monkeypatch.setitem(METHODS, "adams", evil)
    cells = tuple(
        replace(cell, results=tuple(replace(result, versions={HOSTILE: HOSTILE}) for result in cell.results))
        for cell in base.cells
    )
    standings = tuple(
        replace(
            one,
            method=evil if one.optimizer == "adams" else one.method,
            title=HOSTILE if one.optimizer == "adams" else one.title,
            best=cells[base.cells.index(one.best)],
        )
        for one in base.standings
    )
    asked = replace(
        base.question, command=HOSTILE, setting=HOSTILE, rows=((HOSTILE, HOSTILE),), grid=(HOSTILE, HOSTILE)
    )
    report = write(replace(base, question=asked, cells=cells, standings=standings), tmp_path)
    text = report.page.read_text(encoding="utf-8")
    assert [tag for tag, _ in Reader(text).seen].count("script") == 1
    assert HOSTILE in "".join(Reader(text).text)
    for path in report.figures:
        if path.suffix == ".svg":
            assert "<script" not in path.read_text(encoding="utf-8")
            ElementTree.parse(path)


def test_a_name_on_the_terminal_is_no_markup(capsys):
    """Titles come from files, names of metrics from code: rich would end at a tag that nothing opens."""
    name = "[/x] [bold]name"
    base = comparison(optimizers=("adams",), weight_decays=("0.1",), seeds=1)
    asked = base.question
    points = {replace(point, variant=name): runs for point, runs in asked.points.items()}
    results = [replace(result, metric=replace(result.metric, name=name)) for result in base.results]
    odd = statistics.compare(replace(asked, points=points, setting=name), results)
    console = Console(width=200)
    console.print(outcome._table(odd))
    live = View(odd.question, None, console)
    for result in results:
        live.add(result, reused=True)
    console.print(live)
    out = capsys.readouterr().out
    assert out.count(name) >= 4  # the title and a row of both, in whatever case


@pytest.mark.parametrize("named", ["nonsense", "module://no_such_module.backend", "svg"])
def test_figures_are_drawn_whatever_back_end_is_named(named):
    """Notebooks name one of their own, for every program that they start."""
    code = (
        "import os, weightdecay.lab.report.backend, matplotlib\n"
        "from matplotlib.figure import Figure\n"
        "Figure().savefig(os.devnull, format='png')\n"
        "print(os.environ['MPLBACKEND'], matplotlib.rcParams._get_backend_or_none())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "MPLBACKEND": named}, check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.stdout.split() == [named, "None" if named == "nonsense" else named]


def test_both_legends_have_the_order_of_the_keys(whole):
    view = compared.view(whole)
    names = [title for title, _ in view.keys]
    for picture in (curves.draw(view), by_decay.draw(view)):
        (legend,) = picture.figure.legends
        labels = [text.get_text() for text in legend.get_texts()]
        found = [next(name for name in sorted(names, key=len, reverse=True) if label.startswith(name))
                 for label in labels if label.startswith(tuple(names))]  # fmt: skip
        assert found == names


def test_a_bar_does_not_leave_a_logarithmic_axis():
    axes = Figure().subplots()
    means, bars = [2.0, 30.0, 90.0], [5.0, 1.0, 40.0]
    with_bars(axes, [1e-3, 1e-2, 1e-1], means, bars, "one", {"color": "black", "marker": "o", "linestyle": "-"})
    axes.set_xscale("log")
    error_scale(axes, means)
    assert axes.get_yscale() == "log"
    (bar,) = axes.collections
    low, high = axes.get_ylim()
    for (_, bottom), (_, top) in bar.get_segments():
        assert 0 < bottom < top
        assert top <= high
    assert low > 0


def test_the_page_says_what_was_found_and_what_was_run(whole, written):
    words = " ".join("".join(Reader(written.page.read_text(encoding="utf-8")).text).split())
    for standing in whole.standings:
        assert standing.method.title in words
        assert standing.verdict in words
    for text in (
        "weightdecay compare",
        "The choice uses the test set",
        "51,",
        "torch 2.15.0",
        "smallcnn, width 16",
        "320 steps",
    ):
        assert text in words
    for cell in whole.cells:
        assert ", ".join(f"{error:.2f}" for error in cell.errors) in words


def test_the_answer_is_computed(whole):
    text = page.answer(whole).replace("\xa0", " ")
    best = whole.standings[0]
    assert f"{best.method.title} did best: {best.best.mean:.1f} ± {best.best.std:.1f} % test error at λ = " in text
    assert f"Without weight decay it makes {best.without.mean:.1f}" in text
    for standing in whole.standings[1:]:
        assert f"{standing.method.title} ({standing.best.mean:.1f} %)" in text
    assert "240 times the paper’s 0.0005" in text
    assert "244 times shorter" in text
    # What the library is about comes first: those whose λ means the same, and the λ's of the others.
    first = text.partition(". ")[0]
    same = [one.best.point.weight_decay for one in whole.standings if one.optimizer in ("sgd", "sgds", "adams")]
    assert first.startswith("λ means the same to ")
    assert f"within a factor of {max(same) / min(same):.1f}" in first
    for one in whole.standings:
        assert one.title in first


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seeds": 1}, "One seed says nothing about noise"),
        ({"optimizers": ("adams",)}, "AdamS makes"),
        ({"optimizers": ("adamw", "adam")}, "AdamW did best"),
        ({"weight_decays": ("0",)}, "not distinguishable"),
        ({"label_noise": 0.0, "optimizers": ("sgd", "adams")}, ". On scikit-learn’s handwritten digits, AdamS"),
    ],
)
def test_the_answer_fits_the_question(changes, words):
    assert words in page.answer(comparison(**changes))


def test_edges_and_divergence_are_said():
    found = " ".join(page.notes(comparison(optimizers=("adams",), weight_decays=("0.03", "0.05", "1"))))
    assert "3 runs diverged" in found
    assert "adams at λ = 1" in found
    found = " ".join(page.notes(comparison(optimizers=("adams",), weight_decays=("0.03", "0.05"))))
    assert "Widen --weight-decays." in found


@pytest.mark.parametrize(
    "changes",
    [
        {"seeds": 1},
        {"optimizers": ("adams",), "weight_decays": ("0.1",), "seeds": 1},
        {"weight_decays": ("0",)},
        {"optimizers": ("adams",), "lrs": ("1e-3", "2e-3")},
        {"optimizers": tuple(METHODS), "seeds": 1},
        {"epochs": 1},
        {"weight_decays": ("1", "1000")},
    ],
    ids=["one seed", "one run", "only zero", "two lrs", "all optimizers", "one epoch", "all diverged"],
)
def test_every_shape_of_comparison_is_drawn(changes, tmp_path):
    report = write(comparison(**changes), tmp_path)
    Reader(report.page.read_text(encoding="utf-8"))
    assert all(path.stat().st_size > 1000 for path in report.figures)


def test_the_figures_are_png_and_svg_that_refer_to_nothing(written):
    assert sorted(path.suffix for path in written.figures) == [".png", ".png", ".svg", ".svg"]
    for path in written.figures:
        if path.suffix == ".png":
            assert path.read_bytes().startswith(b"\x89PNG")
            continue
        text = path.read_text(encoding="utf-8")
        assert "<!DOCTYPE" not in text
        assert "<metadata" not in text
        for element in ElementTree.fromstring(text).iter():
            for name, value in element.attrib.items():
                assert not name.endswith("href") or value.startswith("#")
                assert "url(" not in value or "url(#" in value


def test_drawing_twice_gives_the_same_bytes(whole, written, tmp_path):
    again = write(whole, tmp_path)
    for old, new in zip((written.page, *written.figures), (again.page, *again.figures), strict=True):
        assert old.read_bytes() == new.read_bytes()


def test_no_two_optimizers_look_alike():
    looks = [figures.look(position) for position in range(len(METHODS))]
    assert len({(str(one["color"]), str(one["linestyle"])) for one in looks}) == len(METHODS)
    assert len({(one["color"], one["marker"]) for one in looks}) == len(METHODS)


def test_the_table_of_raw_numbers_holds_every_epoch_of_every_run(whole, written):
    text = written.results.read_text(encoding="utf-8")
    assert text == results_csv(whole.results)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == sum(len(result.epochs) for result in whole.results)
    last = {row["address"]: float(row["test"]) for row in rows}
    assert last == {result.run.address: result.last for result in whole.results}
    for row, result in zip(rows, whole.results, strict=False):
        assert float(row["lr"]) == result.run.lr
        break
    assert {row["milestones"] for row in rows} == {"0.4 0.8"}


def test_the_download_is_the_table(written):
    seen = Reader(written.page.read_text(encoding="utf-8")).seen
    links = [attributes for tag, attributes in seen if tag == "a" and "download" in attributes]
    assert [link["download"] for link in links] == ["results.csv"]
    assert base64.b64decode(links[0]["href"].split("base64,")[1]) == written.results.read_bytes()


@needs_chromium
def test_in_a_browser_a_comparison_and_a_sweep_are_legible(whole, written, tmp_path):
    asked = replace(
        whole.question,
        name="sweep",
        setting="a network with a long name " * 9,
        command="weightdecay sweep " + "x" * 200,
    )
    sweep = write(replace(whole, question=asked), tmp_path)
    with browsing() as tab:
        assert_legible(tab, written.page)
        assert_legible(tab, sweep.page)


def test_an_axis_with_both_signs_is_labelled_on_both_sides_of_nothing():
    axes = Figure().subplots()
    axes.plot([0, 1], [-30.0, 200.0])
    axes.set_yscale("symlog", linthresh=2.0)
    plain_ticks(axes.yaxis)
    low, high = axes.get_ylim()
    labels = [axes.yaxis.get_major_formatter()(tick) for tick in axes.get_yticks() if low <= tick <= high]
    assert labels == ["−50", "−20", "−10", "−5", "−2", "−1", "0", "1", "2", "5", "10", "20", "50", "100", "200"]
