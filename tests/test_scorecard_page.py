"""The scorecard as a file and in a browser: offline, safe whatever it is told, and read by hand or keyboard."""

from __future__ import annotations

import base64
import hashlib
import re
import statistics
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from browser import browsing
from legible import assert_legible, needs_chromium
from reading import Reader
from reproductions import reproduction, three

from weightdecay.lab.paper.experiment import Row
from weightdecay.lab.report.drawn.view import views
from weightdecay.lab.report.scorecard import markdown, write
from weightdecay.lab.report.scorecard.story import stories

HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script>&\"'|$x$ `a` [b](javascript:alert(3)) _"


@pytest.fixture(scope="module")
def told():
    return three()


@pytest.fixture(scope="module")
def written(told, tmp_path_factory):
    return write(told, tmp_path_factory.mktemp("scorecard") / "made" / "for it")


@pytest.fixture(scope="module")
def page(written):
    return Reader(written.page.read_text(encoding="utf-8"))


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
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:;")
    assert policy.endswith(f"; script-src 'sha256-{digest}'")
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


# Hostile names.


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


def test_hostile_names_do_not_leave_their_cell_of_the_text():
    text = re.sub(r"^    .*$", "", markdown([hostile()], "images"), flags=re.MULTILINE)  # the command is code
    assert "<img" not in text
    assert "<script" not in text
    assert not re.search(r"(?<!\\)\]\(javascript", text)


# The page in a browser.


chromium = needs_chromium


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
        "[...document.querySelectorAll('tr[data-tags]')].filter((row) => row.offsetParent)"
        ".map((row) => row.dataset.tags.split('|').filter((tag) => tag != 'own').join())"
    )
    assert len(browser.run(visible)) == 12
    browser.click(*browser.run(CENTRE.format("document.querySelector('.filters input[data-tag=\"not judged\"]')")))
    assert browser.run(visible) == ["holds", "holds", "refuted"] * 2
    browser.click(*browser.run(CENTRE.format("document.querySelector('.filters input[data-tag=own]')")))
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
def test_in_a_browser_all_of_it_is_legible_on_a_desktop_and_a_phone(written, browser):
    assert_legible(browser, written.page)


@chromium
def test_in_a_browser_hostile_names_do_not_widen_the_page(hostile_page, browser):
    assert_legible(browser, hostile_page)
