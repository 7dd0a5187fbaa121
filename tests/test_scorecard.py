"""The scorecard says what was measured, on one page that is safe, opens offline and can be read by hand."""

from __future__ import annotations

import base64
import csv
import gzip
import hashlib
import io
import json
import math
import re
import statistics
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from browser import MISSING, browsing, program
from reading import Reader
from reproductions import NETWORK, OPTIMIZERS, PAPER, WEIGHT_DECAYS, reproduction

from weightdecay.lab.paper.experiment import Row
from weightdecay.lab.paper.ordering import Judgement
from weightdecay.lab.report.drawn import KINDS
from weightdecay.lab.report.drawn.scatter import late
from weightdecay.lab.report.drawn.view import PLACES, views
from weightdecay.lab.report.raw import results_csv
from weightdecay.lab.report.scorecard import markdown, rows, write
from weightdecay.lab.report.scorecard.lines import MARK, Tally, lines
from weightdecay.lab.report.scorecard.story import stories
from weightdecay.lab.run import PERPLEXITY

HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script>&\"'|$x$ `a` [b](javascript:alert(3)) _"


@pytest.fixture(scope="module")
def told():
    return [
        reproduction("fig7", ("decay", "curves")),
        reproduction("fig8", ("heat",), scale="paper", lrs=(1e-4, 1e-3)),
        reproduction("table1", ("scatter",), scale="smoke", panels=("first", "second")),
    ]


@pytest.fixture(scope="module")
def written(told, tmp_path_factory):
    return write(told, tmp_path_factory.mktemp("scorecard") / "made" / "for it")


@pytest.fixture(scope="module")
def page(written):
    return Reader(written.page.read_text(encoding="utf-8"))


def view(kind, **changes):
    (found,) = views(reproduction(figures=(kind,), **changes))
    return found


def drawn(kind, **changes):
    """Return the view and the picture of one kind."""
    shown = view(kind, **changes)
    return shown, KINDS[kind](shown)


def line_of(axes, shown, curve):
    """Return x and y of the labelled line of a curve."""
    title = shown.title(curve)
    (found,) = [line for line in axes.lines if line.get_label() == title or line.get_label().startswith(f"{title}, λ")]
    return np.asarray(found.get_xdata()), np.asarray(found.get_ydata())


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
    assert len(re.findall('<tr class="line"[^>]* data-disagree', text)) == 1
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
            for cell in answer.cells.values():
                each = [result.best for result in cell.results]
                assert ", ".join(f"{value:.2f}" for value in each) in page.words
                assert f"{statistics.fmean(each):.2f} ± {statistics.stdev(each):.2f}" in page.words
                last = [result.last for result in cell.results]
                assert f"{statistics.fmean(last):.2f} ± {statistics.stdev(last):.2f}" in page.words


def test_a_best_λ_at_the_edge_of_its_grid_is_said(tmp_path):
    inside = write([reproduction(figures=())], tmp_path / "inside").page.read_text(encoding="utf-8")
    outside = [reproduction(figures=(), weight_decays=(0.01, 0.03, 0.1))]
    text = write(outside, tmp_path / "outside").page.read_text(encoding="utf-8")
    assert inside.count("◂ edge") == 0
    assert text.count("◂ edge") == 3 * 3  # curves × measures
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
    assert page.words.count("peeks at the test set") == 1


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


# The figures.


def test_error_against_decay_is_drawn_as_measured():
    shown, picture = drawn("decay")
    (axes,) = picture.figure.axes
    for curve in shown.curves:
        x, y = line_of(axes, shown, curve)
        cells = [cell for cell in shown.answer.of(curve) if cell.point.weight_decay > 0]
        assert x.tolist() == [cell.point.weight_decay for cell in cells]
        assert y == pytest.approx([statistics.fmean(cell.best_epoch_errors) for cell in cells])
        best = shown.best(curve)
        rings = [line for line in axes.lines if line.get_marker() == "o" and line.get_markersize() == 13]
        mean = statistics.fmean(best.best_epoch_errors)
        assert any(
            ring.get_xdata()[0] == best.point.weight_decay and ring.get_ydata()[0] == pytest.approx(mean)
            for ring in rings
        )
        squares = [line.get_xdata()[0] for line in axes.lines if line.get_markersize() == 17]
        assert squares == [shown.answer.panel.fixed[curve].weight_decay] * 3


def test_the_curves_are_means_over_seeds_at_the_best_λ():
    shown, picture = drawn("curves")
    upper, lower = picture.figure.axes
    assert lower.get_yscale() == "log"
    for curve in shown.curves:
        best = shown.best(curve)
        x, y = line_of(upper, shown, curve)
        assert x.tolist() == list(range(1, 11))
        by_epoch = zip(*(result.epochs for result in best.results), strict=True)
        assert y == pytest.approx([statistics.fmean(epoch.test for epoch in epochs) for epochs in by_epoch])
        x, y = line_of(lower, shown, curve)
        assert y[-1] == pytest.approx(statistics.fmean(result.epochs[-1].train_loss for result in best.results))


def test_a_map_has_a_colour_and_a_number_for_every_cell_on_one_scale():
    shown, picture = drawn("heat", lrs=(1e-4, 1e-3, 1e-2))
    maps = [axes for axes in picture.figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in maps] == [shown.title(curve) for curve in shown.curves]
    faces = {}
    for axes, curve in zip(maps, shown.curves, strict=True):
        cells = shown.answer.of(curve)
        assert [text.get_text() for text in axes.texts] == [
            shown.say.exact(statistics.fmean(c.best_epoch_errors)) for c in cells
        ]
        bold = [text.get_text() for text in axes.texts if text.get_fontweight() == "bold"]
        assert bold == [shown.say.exact(statistics.fmean(shown.best(curve).best_epoch_errors))]
        painted = [patch for patch in axes.patches if patch.get_fill()]
        for patch, cell in zip(painted, cells, strict=True):
            lightness = sum(patch.get_facecolor()[:3])
            faces[lightness] = statistics.fmean(cell.best_epoch_errors)
    by_lightness = [faces[lightness] for lightness in sorted(faces)]
    assert by_lightness == sorted(by_lightness)  # dark is low


def test_the_scatter_is_the_last_fifth_of_the_epochs():
    shown, picture = drawn("scatter")
    (axes,) = picture.figure.axes
    clouds = [line for line in axes.lines if len(line.get_xdata()) > 1]
    for curve, cloud in zip(shown.curves, clouds, strict=True):
        results = shown.best(curve).results
        expected = [(e.train_loss, e.test) for result in results for e in result.epochs[-2:]]
        assert list(zip(cloud.get_xdata(), cloud.get_ydata(), strict=True)) == expected
        assert late(results[0]) == expected[:2]


def test_rules_for_a_batch_are_drawn_at_their_multiple():
    shown, picture = drawn("batch", weight_decays=(1.0, 4.0, 16.0))
    (axes,) = picture.figure.axes
    for curve in shown.curves:
        x, y = line_of(axes, shown, curve)
        assert x.tolist() == [1.0, 4.0, 16.0]
        assert y == pytest.approx([statistics.fmean(cell.best_epoch_errors) for cell in shown.answer.of(curve)])
    picture.figure.canvas.draw()
    assert [label.get_text() for label in axes.get_xticklabels()] == ["× 1", "× 4", "× 16"]


def test_gradient_norm_and_v_are_drawn_for_the_methods_that_have_them():
    shown, picture = drawn("norms", optimizers=("adams", "adam"))
    upper, lower = picture.figure.axes
    for axes in (upper, lower):
        assert axes.get_yscale() == "log"
        assert len(axes.lines) == 2
    assert line_of(upper, shown, "adams")[1] == pytest.approx([3 * 0.9**epoch for epoch in range(1, 11)])
    # lr drops by ten at the fifth and the ninth epoch, the effective lr of these results does not
    dropped = [1.0] * 4 + [0.1] * 4 + [0.01] * 2
    assert line_of(lower, shown, "adams")[1] == pytest.approx(
        [(drop * 0.1 * 0.9**epoch) ** 2 for epoch, drop in enumerate(dropped, 1)]
    )


def test_without_gradient_norms_the_figure_says_so():
    def bare(result):
        return replace(result, epochs=tuple(replace(e, grad_norm=None, effective_lr=None) for e in result.epochs))

    _, picture = drawn("norms", change=bare)
    assert [text.get_text() for axes in picture.figure.axes for text in axes.texts] == ["not measured"] * 2


@pytest.mark.parametrize("kind", ["decay", "curves", "batch"])
def test_the_papers_numbers_are_drawn_only_where_the_data_are_the_papers(kind):
    for scale, count in (("paper", 1), ("small", 0), ("smoke", 0)):
        _, picture = drawn(kind, scale=scale, weight_decays=WEIGHT_DECAYS[1:])
        dashes = [line for axes in picture.figure.axes for line in axes.lines if line.get_linewidth() == 2.4]
        assert len(dashes) == count
        assert [line.get_ydata().tolist() for line in dashes] == [[PAPER.mean] * 2] * count
        assert sum("in the paper (table9): 6.96 ± 0.02 %" in spot.text for spot in picture.spots) == count


def test_other_data_than_the_scales_are_not_passed_off_as_its_own():
    other = replace(NETWORK, run={"data": "images:/a/long/path/cifar10-jpeg"})
    one = reproduction(figures=("decay",), scale="paper", setting=other)
    words = "a network on some data (read from cifar10-jpeg), scale paper"
    (shown,) = views(one)
    picture = KINDS["decay"](shown)
    assert words in picture.title
    assert "at the right: the paper’s, on its own data" in [text.get_text() for text in picture.figure.legends[0].texts]
    assert lines([one])[0].where == words
    assert rows([one])[0]["panel"] == "a network on some data (read from cifar10-jpeg)"
    text = markdown([one], "")
    assert words in re.sub(r"\\(.)", r"\1", text)
    assert "/a/long/path" not in text
    (own,) = views(reproduction(setting=replace(NETWORK, run={"data": "mnist"})))
    assert own.where == "a network on some data, scale small"


@pytest.mark.parametrize("kind", KINDS)
def test_titles_name_network_data_and_scale(kind):
    shown, picture = drawn(kind, weight_decays=WEIGHT_DECAYS[1:])
    assert picture.title.startswith("fig7: ")
    assert shown.where in picture.title
    texts = [axes.get_title(loc="left") for axes in picture.figure.axes] + [picture.figure.get_suptitle()]
    assert picture.title in texts


@pytest.mark.parametrize("kind", KINDS)
def test_what_diverged_has_no_place_and_stops_no_figure(kind, tmp_path):
    def some(result):
        return replace(result, status="diverged", epochs=(replace(result.epochs[0], test=None, train_loss=None),))

    def change(result):
        return some(result) if result.run.optimizer == "adam" or result.run.weight_decay == 0.3 else result

    shown, picture = drawn(kind, change=change, weight_decays=WEIGHT_DECAYS[1:])
    picture.save(tmp_path, kind)
    ElementTree.fromstring(re.sub("xlink:", "", picture.inline(kind)))
    assert shown.best("adams").point.weight_decay == 0.1
    if kind in ("decay", "batch"):
        (axes,) = picture.figure.axes
        assert sum(line.get_marker() == "x" for line in axes.lines) == 4 + 1 + 1


def level(point, seed):
    return 4.0 + abs(math.log10(point.weight_decay or 0.01)) + 0.1 * seed


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "changes",
    [
        {"weight_decays": (0.1,), "optimizers": ("adams", "sgd"), "seeds": 1},
        {"weight_decays": (0.03, 0.1), "lrs": (1e-3, 1e-2)},
    ],
    ids=["one λ and one seed", "two lrs"],
)
def test_every_shape_of_panel_is_drawn(kind, changes):
    _, picture = drawn(kind, error=level, **changes)
    ElementTree.fromstring(picture.svg)
    assert picture.spots


def test_all_optimizers_and_λ_0_alone_are_drawn():
    for kind, changes in (("batch", {"optimizers": PLACES, "seeds": 1}), ("decay", {"weight_decays": (0.0,)})):
        shown, picture = drawn(kind, error=level, **{"weight_decays": (0.1, 0.3), **changes})
        ElementTree.fromstring(picture.svg)
        assert len(picture.spots) == len(shown.answer.cells)


def test_a_spot_lies_on_the_mark_it_speaks_of():
    shown, picture = drawn("decay")
    text = picture.inline("it")
    spots = re.findall(r'<circle class="spot" data-curve="(\d+)" cx="([\d.]+)" cy="([\d.]+)"', text)
    assert len(spots) == len(picture.spots) == len(shown.answer.cells)
    marks = [(float(x), float(y)) for x, y in re.findall(r'<use [^>]*x="([\d.]+)" y="([\d.]+)"', text)]
    for _, x, y in spots:
        assert min(math.dist((float(x), float(y)), mark) for mark in marks) < 0.1


def test_an_optimizer_looks_the_same_in_every_experiment(told):
    for optimizer in OPTIMIZERS:
        assert len({str(shown.looks[optimizer]) for one in told for shown in views(one)}) == 1


def test_variants_of_several_optimizers_share_a_colour_and_those_of_one_do_not():
    from weightdecay.lab.report.drawn.view import _looks

    several = _looks({"adam": "adam", "adam, big": "adam", "adams": "adams", "adams, big": "adams"})
    assert several["adam"]["color"] == several["adam, big"]["color"] != several["adams"]["color"]
    assert several["adam"]["linestyle"] != several["adam, big"]["linestyle"]
    two = _looks({"sgd": "sgd", "tensorflowsgd": "tensorflowsgd"})  # whose own colours are the same
    assert two["sgd"]["color"] != two["tensorflowsgd"]["color"]
    one = _looks({f"sgd, {n}": "sgd" for n in range(5)})
    assert len({look["color"] for look in one.values()}) == 5


# The page as a file.


def test_the_page_opens_without_a_network_and_runs_one_known_script(written, page):
    text = written.page.read_text(encoding="utf-8")
    assert {tag for tag, _ in page.seen} & {"link", "iframe", "img", "image", "object", "embed", "base"} == set()
    for _, attributes in page.seen:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("href", "xlink:href", "src", "action"):
                assert value.startswith(("#", "data:text/csv", "data:application/gzip"))
    bare = re.sub(r'href="data:[^"]*"', "", re.sub(r'xmlns(:xlink)?="[^"]*"', "", text))
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", bare)
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [tag["content"] for _, tag in page.seen if tag.get("http-equiv") == "Content-Security-Policy"]
    assert f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'" in policy
    assert "eval" not in policy
    assert not re.search(r"\beval\b|Function\(|innerHTML|insertAdjacentHTML|document\.write", script)


def test_every_id_is_there_once_and_every_reference_finds_its_own(written):
    text = written.page.read_text(encoding="utf-8")
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids)) > 0
    references = set(re.findall(r'href="#([^"]+)"', text)) | set(re.findall(r"url\(#([^)]+)\)", text))
    assert references
    assert references <= set(ids)


def test_the_figures_are_files_named_for_experiment_panel_and_kind(written):
    assert {path.name for path in written.figures} == {
        f"{name}.{ending}"
        for name in ("fig7-decay", "fig7-curves", "fig8-heat", "table1-1-scatter", "table1-2-scatter")
        for ending in ("png", "svg")
    }
    for path in written.figures:
        assert path.parent == written.page.parent / "figures"
        if path.suffix == ".svg":
            text = path.read_text(encoding="utf-8")
            assert "<!DOCTYPE" not in text
            for element in ElementTree.fromstring(text).iter():
                for name, value in element.attrib.items():
                    assert not name.endswith("href") or value.startswith("#")


def test_writing_twice_gives_the_same_bytes(told, tmp_path):
    one, other = write(told[2:], tmp_path / "one"), write(told[2:], tmp_path / "other")
    for old, new in zip((one.page, *one.figures), (other.page, *other.figures), strict=True):
        assert old.read_bytes() == new.read_bytes()


def test_two_experiments_of_one_name_do_not_share_their_files():
    names = [story.name for story in stories([reproduction("A b!"), reproduction("a-b"), reproduction("☃")])]
    assert names == ["a-b", "a-b-run2", "experiment"]


def hostile():
    one = reproduction(HOSTILE, ("decay", "curves"), variant=HOSTILE, claim=HOSTILE, panels=(HOSTILE,))
    rows_ = tuple(
        Row(row.experiment, row.panel, replace(row.claim, paper=HOSTILE),
            {name: replace(judged, measured=HOSTILE) for name, judged in row.judged.items()})
        for row in one.rows
    )  # fmt: skip
    experiment = replace(one.experiment, title=HOSTILE, asks=HOSTILE, notes=(HOSTILE,))
    return replace(one, rows=rows_, command=HOSTILE, experiment=experiment)


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory):
    return write([hostile()], tmp_path_factory.mktemp("hostile")).page


def test_a_hostile_name_is_text_and_nothing_else(hostile_page):
    text = hostile_page.read_text(encoding="utf-8")
    found = Reader(text)
    assert [tag for tag, _ in found.seen].count("script") == 1
    assert "img" not in {tag for tag, _ in found.seen}
    assert found.words.count(" ".join(HOSTILE.split())) > 20
    for path in hostile_page.parent.glob("figures/*.svg"):
        ElementTree.parse(path)
        assert re.fullmatch(r"[a-z0-9-]+", path.stem)


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
    assert headings == ["# The paper as a scorecard", "## fig7", "## fig8", "## table1"]


def test_hostile_names_do_not_leave_their_cell_of_the_text():
    text = re.sub(r"^    .*$", "", markdown([hostile()], "images"), flags=re.MULTILINE)  # the command is code
    assert "<img" not in text
    assert "<script" not in text
    assert not re.search(r"(?<!\\)\]\(javascript", text)


# The page in a browser.

chromium = pytest.mark.skipif(program() is None, reason=MISSING)


@pytest.fixture(scope="module")
def browser():
    with browsing() as tab:
        yield tab


CENTRE = "(() => {{ const e = {0}; e.scrollIntoView({{block: 'center'}}); const r = e.getBoundingClientRect(); "
CENTRE += "return [r.x + r.width / 2, r.y + r.height / 2] }})()"

TIP = "(() => { const t = document.getElementById('tip'); return t.hidden ? null : t.textContent })()"


def shown_of(curve):
    """Return the number of parts of a curve in the first panel, and how many of them are shown."""
    return (
        f"(() => {{ const parts = [...document.querySelectorAll('#fig7 .panel [data-curve=\"{curve}\"]')];"
        " return [parts.length, parts.filter((part) => getComputedStyle(part).display != 'none').length] })()"
    )


@chromium
def test_in_a_browser_a_curve_can_be_hidden_and_a_number_read(told, written, browser):
    browser.open(written.page.as_uri())
    count, shown = browser.run(shown_of(1))
    assert count == shown > 10
    browser.click(*browser.run(CENTRE.format("document.querySelector('#fig7 input[data-hides=\"1\"]')")))
    assert browser.run(shown_of(1)) == [count, 0]
    others = browser.run(shown_of(0))
    assert others[0] == others[1] > 10
    browser.click(*browser.run(CENTRE.format("document.querySelector('#fig7 input[data-hides=\"1\"]')")))
    assert browser.run(shown_of(1)) == [count, count]

    (shown,) = views(told[0])
    cell = shown.best("adams")
    numbers = [result.best for result in cell.results]
    expected = f"AdamS, λ = 0.1: best epoch {statistics.fmean(numbers):.2f} ± {statistics.stdev(numbers):.2f} %"
    spot = (
        "[...document.querySelectorAll('#fig7-decay-figure_1, #fig7 figure:first-of-type .spot')]"
        ".find((one) => (one.getAttribute('aria-label') || '').startsWith('AdamS, λ = 0.1:'))"
    )
    assert browser.run(TIP) is None
    browser.point(*browser.run(CENTRE.format(spot)))
    assert browser.run(TIP).startswith(expected)
    browser.point(2, 2)
    assert browser.run(TIP) is None
    assert browser.complaints() == []
    assert browser.requests() == [written.page.as_uri()]


@chromium
def test_in_a_browser_numbers_are_read_with_the_keyboard_alone(told, written, browser):
    browser.open(written.page.as_uri())
    (shown,) = views(told[0])
    browser.run("document.querySelector('#fig7 input[data-hides=\"2\"]').focus()")
    browser.press("Tab")
    assert browser.run("document.activeElement.getAttribute('class')") == "spot"
    cells = shown.answer.of(shown.curves[0])
    assert browser.run(TIP) == shown.said(cells[0])
    browser.press("ArrowRight")
    assert browser.run(TIP) == shown.said(cells[1])
    browser.press("ArrowDown")
    assert browser.run(TIP) == shown.said(shown.answer.of(shown.curves[1])[0])
    browser.press("Escape")
    assert browser.run(TIP) is None
    assert browser.complaints() == []


@chromium
def test_in_a_browser_the_scorecard_is_filtered_by_verdict(written, browser):
    browser.open(written.page.as_uri())
    visible = (
        "[...document.querySelectorAll('tr.line')].filter((row) => row.offsetParent).map((r) => r.dataset.verdict)"
    )
    assert len(browser.run(visible)) == 12
    browser.click(*browser.run(CENTRE.format("document.querySelector('.filters input[data-verdict=\"not judged\"]')")))
    assert browser.run(visible) == ["holds", "holds", "refuted"] * 2
    browser.click(*browser.run(CENTRE.format("document.querySelector('.filters input[data-own]')")))
    assert browser.run(visible) == ["holds", "refuted"] * 2
    assert browser.complaints() == []


@chromium
def test_in_a_browser_hostile_names_run_nothing(hostile_page, browser):
    browser.open(hostile_page.as_uri())
    assert browser.run("document.querySelectorAll('img').length") == 0
    assert browser.run("document.scripts.length") == 1
    browser.run("document.querySelectorAll('.spot')[3].focus()")
    assert "<img src=x onerror=alert(1)>" in browser.run(TIP)
    assert browser.run("document.querySelectorAll('img').length") == 0
    assert browser.complaints() == []
    assert browser.requests() == [hostile_page.as_uri()]


@chromium
def test_in_a_browser_a_phone_shows_all_of_it(written, browser):
    browser.call("Emulation.setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=2, mobile=True)
    browser.open(written.page.as_uri())
    assert browser.run("document.documentElement.scrollWidth") <= 390
    browser.call("Emulation.clearDeviceMetricsOverride")


def test_every_run_has_a_row_of_its_own_with_what_the_measures_read(told, written):
    results = {result.run.address: result for one in told for result in one.results}
    with written.runs.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["address"] for row in rows] == list(results)
    for row in rows:
        result = results[row["address"]]
        assert (float(row["best"]), float(row["last"])) == (result.best, result.last)
        assert row["selected"] == ("" if result.selected is None else str(result.selected))
