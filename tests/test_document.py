"""The page that any command can fill: escaped, self-contained, every part in its place."""

import base64
import re

import pytest
from matplotlib.figure import Figure

from weightdecay.document import Column, Document, Filter, Mark, Section, Table, render, write
from weightdecay.lab.report.figures import draw, styled


@pytest.fixture
def page(tmp_path):
    with styled():
        figure = Figure(figsize=(4, 3))
        figure.subplots().plot([0, 1], [1, 0], label="<line>")
    return Document(
        title="a <title>",
        answer="1 < 2 & 3",
        notes=("mind <this>",),
        sections=(
            Section(
                "First", ("para <b>",), (draw(figure, tmp_path, "one", "cap <i>"), Table(("n", "x"), ((1, "<x>"),)))
            ),
            Section("Later", folded=True),
        ),
        facts=(("Data", "<none>"),),
        command="weightdecay x --out '<y>'",
        downloads={"numbers.csv": "a,b\n1,é\n"},
    )


def test_all_text_is_escaped_and_nothing_is_loaded_from_elsewhere(page):
    text = render(page)
    for raw in ("<title> ", "<b>", "<i>", "<x>", "<none>", "<y>", "<this>", "<line>"):
        assert raw not in text
    assert "1 &lt; 2 &amp; 3" in text
    assert "default-src 'none'" in text
    assert "<script" not in text
    links = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert links
    assert all(link.startswith(("#", "data:")) for link in links)


def test_the_files_beside_the_page_are_those_in_it(page, tmp_path):
    path = write(page, tmp_path / "new", "page")
    assert path == tmp_path / "new" / "page.html"
    link = re.search(r'download="numbers.csv" href="data:text/csv;charset=utf-8;base64,([^"]*)"', path.read_text())
    assert base64.b64decode(link[1]).decode() == (tmp_path / "new" / "numbers.csv").read_text() == "a,b\n1,é\n"
    assert {one.name for one in tmp_path.iterdir()} >= {"one.png", "one.svg"}


def test_parts_keep_their_order_and_numbers_are_set_right(page):
    text = render(page)
    assert text.index("<h2>First") < text.index("<svg") < text.index("<table>") < text.index("<summary>Later")
    assert re.search(r'<td class="number">1</td><td>&lt;x&gt;</td>', text)


def test_a_row_of_the_wrong_length_is_refused():
    with pytest.raises(ValueError, match="row 2 has 1 cells, the heading 2"):
        Table(("a", "b"), ((1, 2), (3,)))


def test_the_page_knows_dark_paper_phones_and_keys_without_a_browser(page):
    text = render(page)
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in text
    for rule in (
        "@media screen and (prefers-color-scheme: dark)",
        "@media print",
        ":focus-visible",
        "max-width: 46rem",
    ):
        assert rule in text
    assert text.index('<a class="skip" href="#main">') < text.index("<h1>") < text.index('<main id="main"')
    for start in [one.start() for one in re.finditer("<table|<svg", text)]:  # in a box that scrolls by itself
        assert text.rindex('<div class="wide">', 0, start) > text.rfind("</div>", 0, start)


def test_a_column_is_one_line_and_its_cells_are_written_by_it():
    columns = (
        Column("name", lambda one: Mark(one[0], "strong", "#0072B2")),
        Column("twice", lambda one: 2 * one[1]),
        Column("said", lambda one: f"{one[1]} points", number=True),
    )
    table = Table.of((("a<", 1.5), ("b", 2)), columns, chosen=frozenset((1,)))
    assert table.numeric == (False, True, True)
    text = render(Document("t", "a", (Section("s", (), (table,)),)))
    assert '<td><span class="strong"><i class="swatch" style="background:#0072B2"></i>a&lt;</span></td>' in text
    assert '<td class="number">3</td><td class="number">1.5 points</td>' in text
    assert text.count('<tr class="chosen">') == 1


def test_a_page_that_nobody_can_act_on_runs_no_script():
    assert "script" not in render(Document("t", "a", (Section("s", ("text",), (Table(("x",), ((1,),)),)),)))
    filtered = Table(
        ("x",), ((1,), (2,)), tags=(frozenset("a"), frozenset()), filters=(Filter("only a", "a", only=True),)
    )
    text = render(Document("t", "a", (Section("s", (), (filtered,)),)))
    assert text.count("<script>") == 1
    assert "script-src 'sha256-" in text
    assert re.search(r'<tr data-tags="a"><td class="number">1', text)
