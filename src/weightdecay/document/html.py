"""The one template: a document as a page. All text is escaped; only the SVG of drawings is not."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path

from weightdecay.document.parts import (
    Cell,
    Document,
    Download,
    Drawing,
    Mark,
    Note,
    Panel,
    Part,
    Section,
    Table,
    Terms,
    shown,
)
from weightdecay.whole import write_whole

MEDIA = {
    ".csv": "text/csv;charset=utf-8", ".json": "application/json;charset=utf-8", ".toml": "text/plain;charset=utf-8",
    ".txt": "text/plain;charset=utf-8", ".gz": "application/gzip",
}  # fmt: skip

POINTING = "Point at a mark to read it; with the keyboard, arrows go from one to the next."


def write(document: Document, folder: Path, name: str) -> Path:
    """Write ``name.html`` and the downloads into the folder, which is made if needed; return the page's path.

    Raises: OSError, where the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in document.downloads.items():
        write_whole(folder / file, text)
    return write_whole(folder / f"{name}.html", render(document))


def render(document: Document) -> str:
    """Return the page."""
    body = "\n".join(_body(document))
    script = own("page.js") if _asks_for_a_script(body) else ""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    policy += f"; script-src 'sha256-{digest}'" if script else ""
    tip = '<div id="tip" role="status" hidden></div>\n' if script else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{escape(document.head or document.title)}</title>
<style>
{own("page.css")}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the sections</a>
{body}
{tip}{f"<script>{script}</script>" if script else ""}
</body>
</html>
"""


@cache
def own(name: str) -> str:
    """Return a file that lies beside this one."""
    return (files(__package__) / name).read_text(encoding="utf-8")


def _asks_for_a_script(body: str) -> bool:
    return 'class="spot"' in body or "<fieldset" in body


def _body(document: Document) -> Iterator[str]:
    yield f'<header>\n<h1>{escape(document.title)}</h1>\n<p class="answer">{escape(document.answer)}</p>'
    yield from (_note(note) for note in document.notes)
    yield '</header>\n<main id="main" tabindex="-1">'
    for section in document.sections:
        yield from _section(section, 2)
    if document.command or document.facts:
        rows = [("Command", document.command)] if document.command else []
        yield from _section(Section("What was run", (), (Terms((*rows, *document.facts), frozenset(("Command",))),)), 2)
    if document.downloads:
        yield "<section>\n<h2>Every number</h2>\n<p>"
        yield from (_link(Download(name, text)) for name, text in document.downloads.items())
        yield '</p>\n<p class="soft">The same files lie beside this page.</p>\n</section>'
    yield "</main>"


def _section(section: Section, level: int) -> Iterator[str]:
    name = f' id="{escape(section.name)}"' if section.name else ""
    aside = f' <span class="aside">{escape(section.aside)}</span>' if section.aside else ""
    heading = escape(section.heading) + aside
    if section.folded:
        yield f"<details{name}>\n<summary>{heading}</summary>"
    else:
        yield f"<section{name}>\n<h{level}>{heading}</h{level}>"
    yield from (f"<p>{escape(paragraph)}</p>" for paragraph in section.text)
    for part in section.parts:
        if isinstance(part, Section):
            yield from _section(part, min(level + 1, 6))
        else:
            yield _part(part)
    yield "</details>" if section.folded else "</section>"


def _part(part: Part) -> str:
    match part:
        case str():
            return f'<p class="soft">{escape(part)}</p>'
        case Table():
            return _table(part)
        case Drawing():
            return _panel(Panel((part,)))
        case Panel():
            return _panel(part)
        case Note():
            return _note(part.text)
        case Terms():
            return _terms(part)
        case Download():
            return f"<p>{_link(part)}</p>"


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def _panel(panel: Panel) -> str:
    boxes = "".join(
        f'<label><input type="checkbox" checked data-hides="{place}"> {_swatch(colour)}{escape(name)}</label>\n'
        for place, (name, colour) in enumerate(panel.curves)
    )
    curves = f'<fieldset class="curves" hidden>\n<legend>Curves</legend>\n{boxes}</fieldset>\n' if boxes else ""
    figures = "".join(map(_figure, panel.drawings))
    return f'<div class="panel{" small" if panel.small else ""}">\n{curves}<div class="figures">{figures}</div>\n</div>'


def _figure(drawing: Drawing) -> str:
    title = f'<p class="title">{escape(drawing.title)}</p>\n' if drawing.title else ""
    hint = f' <span class="hint" hidden>{POINTING}</span>' if drawing.points else ""
    caption = f"<figcaption>{escape(drawing.caption)}{hint}</figcaption>"
    return f"<figure>\n{title}{_scrolling(drawing.svg)}\n{caption}\n</figure>\n"


def _scrolling(content: str) -> str:
    """Return a box that scrolls by itself, so that the page does not; browsers let the keyboard into such a box."""
    return f'<div class="wide">\n{content}\n</div>'


def _table(table: Table) -> str:
    numeric = ['class="number"' if one else "" for one in table.numeric]
    heads = "".join(_tag("th", f'scope="col" {of}', escape(name)) for name, of in zip(table.head, numeric, strict=True))
    rows = "\n".join(_row(table, place, numeric) for place in range(len(table.rows)))
    caption = f"<caption>{escape(table.caption)}</caption>\n" if table.caption else ""
    kind = ' class="cards"' if table.cards else ""
    text = f"<table{kind}>\n{caption}<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>"
    boxes = "".join(
        f'<label><input type="checkbox"{"" if one.only else " checked"} '
        f'data-{"only" if one.only else "tag"}="{escape(one.tag)}"> {escape(one.label)}</label>\n'
        for one in table.filters
    )
    filters = f'<fieldset class="filters" hidden>\n<legend>Show</legend>\n{boxes}</fieldset>\n' if boxes else ""
    return f'<div class="table">\n{filters}{_scrolling(text)}\n</div>'


def _row(table: Table, place: int, numeric: Sequence[str]) -> str:
    heads = (
        f'{of} data-head="{escape(head)}"' if table.cards else of
        for of, head in zip(numeric, table.head, strict=True)
    )  # fmt: skip
    row = "".join(_tag("td", of, _cell(cell)) for cell, of in zip(table.rows[place], heads, strict=True))
    chosen = 'class="chosen" ' if place in table.chosen else ""
    tags = escape("|".join(sorted(table.tags[place]))) if table.tags else ""
    return _tag("tr", chosen + (f'data-tags="{tags}"' if table.tags else ""), row)


def _tag(name: str, attributes: str, content: str) -> str:
    return f"<{name}{' ' + attributes.strip() if attributes.strip() else ''}>{content}</{name}>"


def _cell(cell: Cell) -> str:
    if not isinstance(cell, Mark):
        return escape(shown(cell))
    text = escape(cell.text)
    if cell.link:
        text = f'<a href="#{escape(cell.link)}">{text}</a>'
    if cell.look or cell.swatch:
        text = _tag("span", f'class="{cell.look}"' if cell.look else "", _swatch(cell.swatch) + text)
    return text + (f'<div class="under">{escape(cell.under)}</div>' if cell.under else "")


def _swatch(colour: str) -> str:
    return f'<i class="swatch" style="background:{escape(colour)}"></i>' if colour else ""


def _terms(terms: Terms) -> str:
    rows = (
        f"<dt>{_cell(term)}</dt><dd>{f'<pre>{escape(text)}</pre>' if str(term) in terms.code else escape(text)}</dd>\n"
        for term, text in terms.rows
    )
    return f"<dl>\n{''.join(rows)}</dl>"


def _link(download: Download) -> str:
    data = download.content if isinstance(download.content, bytes) else download.content.encode()
    kind = MEDIA.get(Path(download.name).suffix, "application/octet-stream")
    address = f"data:{kind};base64,{base64.b64encode(data).decode()}"
    name = escape(download.name)
    return f'<a class="button" download="{name}" href="{address}">Download {name}</a>'
