"""The page: the scorecard first, then every experiment with its pictures, numbers, claims and cost."""

from __future__ import annotations

import base64
import gzip
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from weightdecay.lab.paper.measure import MEASURES
from weightdecay.lab.report.scorecard.cells import EDGE
from weightdecay.lab.report.scorecard.lines import MARK, OWN, Tally
from weightdecay.lab.report.scorecard.story import Story, cost, said_versions

PEEKS = (
    "The paper reports the lowest test error over the epochs. That number peeks at the test set: it looks at it once "
    "an epoch and keeps the luckiest look, and lr and λ are chosen by it too. So every claim is judged by two more "
    "numbers. The error at the last epoch keeps no luckiest look, but still chooses lr and λ. The error at the epoch "
    "that held-out examples select, with the lr and λ that they select, does not use the test set to choose anything; "
    "it is there wherever runs hold examples out."
)

MEANINGS = {
    "holds": "at the 5 % level, over seeds: every difference of the claim has a 95 % interval (paired t, seed by "
    "seed) on the claimed side, or a claim about a best λ is true in 95 % of bootstrap resamples of the seeds.",
    "refuted": "the same the other way round, corrected for the number of differences.",
    "undecided": "these seeds do not tell; where a number of seeds is given, so many would, with a power of 80 %, if "
    "the differences and their spread are as measured.",
    "not judged": "the runs only prove that they run, or what the claim presupposes does not hold here.",
}

MOST_INLINE = 8_000_000
"""Bytes of compressed raw numbers that a page may carry."""


def render(told: Sequence[Story], inlined: Mapping[str, str], raw: str) -> str:
    """Return the page. ``inlined`` are the pictures by name, SVG of our own making; all else is escaped."""
    environment = Environment(
        loader=PackageLoader("weightdecay.lab.report", "scorecard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    lines = [line for story in told for line in story.lines]
    results = tuple({result.run: result for story in told for result in story.reproduction.results}.values())
    script = _own("page.js")
    packed = gzip.compress(raw.encode(), mtime=0)
    return environment.get_template("page.html.j2").render(
        told=told,
        lines=lines,
        tally=Tally(lines),
        pictures={name: Markup(svg) for name, svg in inlined.items()},
        measures=MEASURES,
        peeks=PEEKS,
        meanings=MEANINGS,
        stands=stands(told),
        mark=MARK,
        own=OWN,
        edge=EDGE,
        cost=cost(results),
        versions=said_versions(results),
        link=link,
        packed=link(packed, "application/gzip") if len(packed) <= MOST_INLINE else "",
        raw_rows=raw.count("\n") - 1,
        style=Markup(_own("page.css")),
        script=Markup(script),
        allowed=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def stands(told: Sequence[Story]) -> list[tuple[str, str, str]]:
    """Return (scale, the paper's network and data, what is run in their place) of all that these experiments use."""
    found: dict[tuple[str, str, str], None] = {}
    for story in told:
        scale = story.reproduction.scale
        used = {answer.panel.setting.words for answer in story.reproduction.answers}
        for words, setting in scale.settings.items():
            if setting.words in used and scale.name != "paper":
                found[scale.name, words, setting.words] = None
    return list(found)


def link(content: str | bytes, kind: str = "text/csv;charset=utf-8") -> str:
    """Return content as an address that a page can offer for download."""
    data = content if isinstance(content, bytes) else content.encode()
    return f"data:{kind};base64," + base64.b64encode(data).decode()


def _own(name: str) -> str:
    """Return a file that lies beside this one."""
    return (files(__package__) / name).read_text(encoding="utf-8")
