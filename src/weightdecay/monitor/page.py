"""The page of a watch: one file with words, figures and tables, that loads nothing from elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

from weightdecay.monitor.chart import COLOURS, Line, chart
from weightdecay.monitor.state import GroupState, TensorState
from weightdecay.monitor.words import short

History = Sequence[tuple[int, list[GroupState], list[TensorState]]]

LIGHT = ("#0b5fa5", "#c2410c", "#15803d", "#7e22ce", "#a16207", "#be185d", "#0f766e", "#4b5563")
DARK = ("#7cb8f2", "#fb923c", "#4ade80", "#d8b4fe", "#facc15", "#f9a8d4", "#5eead4", "#cbd5e1")
assert len(LIGHT) == len(DARK) == COLOURS
MOST = 40
"""Tensors that are drawn; all stand in the table."""

STYLE = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1a1a1a;--faint:#d4d4d4;--soft:#555;LIGHT}
@media (prefers-color-scheme:dark){:root{--paper:#16181c;--ink:#e8e8e8;--faint:#3a3f47;--soft:#aaa;DARK}}
body{margin:0 auto;max-width:76rem;padding:1rem;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin:0 0 .3rem}p,li{max-width:46rem}
.figures{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,21rem),1fr));gap:1.5rem}
figure{margin:0}figcaption,.key{font-size:.85rem;color:var(--soft)}
svg{width:100%;height:auto;display:block}svg text{font:11px system-ui,sans-serif;fill:var(--soft)}
.grid{stroke:var(--faint);stroke-width:.7}polyline{fill:none;stroke-width:1.6;stroke-linejoin:round}
.dashed{stroke-dasharray:4 3;opacity:.8}.key span{margin-right:.8rem;white-space:nowrap}
.wide{overflow-x:auto;margin:1.5rem 0}table{border-collapse:collapse;font-size:.85rem}
th,td{padding:.2rem .6rem;text-align:right;border-bottom:1px solid var(--faint);white-space:nowrap}
th:first-child,td:first-child{text-align:left}
"""

GROUP_FIGURES = (
    ("Pull", "pull", "by which fraction the weights shrink per step", True),
    ("Total pull", "total_pull", "the sum of all pulls so far", False),
    ("Norm", "norm", "of all weights of the group", True),
    ("Relative update", "relative_update", "‖Δθ‖/‖θ‖ of one step", True),
    ("Share of decay", "decay_share", "of the decay and the rest of the update", False),
    ("Effective lr", "effective_lr", "lr times the gain of the optimizer", True),
    ("Mask density", "mask_density", "the part of the elements that decay", False),
)


def write_page(path: Path, history: History, sentences: Sequence[str], tensors: bool) -> Path:
    """Write the page and return its path."""
    groups = history[-1][1]
    body = [f"<h1>Weight decay, step {history[-1][0]:,}</h1>"]
    body += ["<ul>", *(f"<li>{escape(sentence)}</li>" for sentence in sentences), "</ul>"] if sentences else []
    body.append(_key([f"group {i}" for i in range(len(groups))]))
    body.append('<div class="figures">')
    for title, field, caption, log in GROUP_FIGURES:
        lines = [
            Line(f"group {i}", [(step, getattr(each[i], field)) for step, each, _ in history if i < len(each)], i)
            for i in range(len(groups))
        ]
        body.append(_figure(title, caption, chart(lines, f"{title} of each group", log)))
    body.append("</div>")
    body.append(_table(("", "decay", *(name for name, _ in groups[0].items())), [
        (f"group {i}", group.kind, *(short(x) for _, x in group.items())) for i, group in enumerate(groups)
    ]))  # fmt: skip
    if tensors:
        body += _tensors(history)
    style = STYLE.replace("LIGHT", _colours(LIGHT)).replace("DARK", _colours(DARK))
    style += "".join(
        f"polyline.c{i}{{stroke:var(--c{i})}}circle.c{i},.k{i}{{fill:var(--c{i});color:var(--c{i})}}"
        for i in range(COLOURS)
    )
    path.write_text(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width, initial-scale=1"><title>Weight decay</title><style>{style}</style></head>'
        f"<body>{''.join(body)}</body></html>\n",
        encoding="utf-8",
    )
    return path


def _tensors(history: History) -> list[str]:
    last = history[-1][2]
    told = [one for one in last if math.isfinite(one.equilibrium_norm)] or last
    drawn = [one.name for one in told[:MOST]]
    more = f" The first {MOST} of {len(told)} are drawn." if len(told) > MOST else ""

    def along(name: str, of: Callable[[TensorState], float]) -> list[tuple[float, float]]:
        return [(step, of(one)) for step, _, each in history for one in each if one.name == name]

    figures = []
    for title, field, caption in (
        ("Norms", "norm", "‖θ‖ of each tensor; dashed: the equilibrium that theory predicts"),
        ("Angles", "angle", "radians per step; dashed: the equilibrium that theory predicts"),
    ):
        lines = []
        for i, name in enumerate(drawn):
            lines.append(Line(name, along(name, lambda one, f=field: getattr(one, f)), i))  # type: ignore[misc]
            predicted = along(name, lambda one, f=field: getattr(one, f"equilibrium_{f}"))  # type: ignore[misc]
            lines.append(Line(f"{name}, predicted", predicted, i, dashed=True))
        figures.append(_figure(title, caption + "." + more, chart(lines, f"{title} of each tensor")))
    ratio = [Line(name, along(name, lambda one: one.norm_to_equilibrium), i) for i, name in enumerate(drawn)]
    caption = "norm divided by the predicted one: 1 is equilibrium"
    figures.append(_figure("Distance from equilibrium", caption, chart(ratio, "Norm over predicted norm")))
    rows = [(one.name, *(short(x) for _, x in one.items())) for one in last]
    names = tuple(name for name, _ in last[0].items()) if last else ()
    return [
        "<h1>Tensors</h1>",
        _key(drawn),
        '<div class="figures">',
        *figures,
        "</div>",
        _table(("", *names), rows),
    ]


def _figure(title: str, caption: str, svg: str) -> str:
    if not svg:
        return ""
    return f"<figure><h2>{escape(title)}</h2>{svg}<figcaption>{escape(caption)}</figcaption></figure>"


def _key(names: Sequence[str]) -> str:
    marks = (f'<span><b class="k{i % COLOURS}">━</b> {escape(name)}</span>' for i, name in enumerate(names))
    return f'<p class="key">{"".join(marks)}</p>'


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(cell.replace('_', ' '))}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{top}</tr>{body}</table></div>'


def _colours(colours: Sequence[str]) -> str:
    return ";".join(f"--c{i}:{colour}" for i, colour in enumerate(colours))
