"""The scorecard as Markdown, for the documentation: everything in it is computed from the results."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from weightdecay.lab.paper.experiment import Reproduction
from weightdecay.lab.paper.measure import MEASURES
from weightdecay.lab.report.drawn.view import PaperView
from weightdecay.lab.report.figures import axis_title
from weightdecay.lab.report.scorecard.cells import settled
from weightdecay.lab.report.scorecard.lines import MARK, OWN, Line, Tally
from weightdecay.lab.report.scorecard.page import MEANINGS, PEEKS, stands
from weightdecay.lab.report.scorecard.story import Story, cost, said_versions, stories


def markdown(reproductions: Sequence[Reproduction], figures_at: str, folder: Path | None = None) -> str:
    """Return the text of a page; ``figures_at`` is the folder of the PNGs that :func:`write` made, seen from it.

    ``folder`` is where it lies: figures of earlier calls in it are shown too, where these runs cannot draw them.
    """
    told = stories(reproductions)
    lines = [line for story in told for line in story.lines]
    results = tuple({result.run: result for one in reproductions for result in one.results}.values())
    parts = [
        "# The scorecard, claim by claim",
        f"“Understanding and Scheduling Weight Decay”, put to the test. {_plain(str(Tally(lines)))}",
        _plain(PEEKS),
        _table(
            ("Experiment", "Claim", "Verdict", "Paper", "Measured", "On"),
            ([f"[{_cell(line.row.experiment)}](#{story.name})", *_row(line)] for story in told for line in story.lines),
        ),
        f"Verdicts are by the paper’s own measure, the best epoch. {MARK}: the last epoch or validation comes to "
        f"another verdict. {OWN}: a claim that the paper does not make.",
        "\n".join(f"- **{word}**: {_plain(meaning)}" for word, meaning in MEANINGS.items()),
        "\n".join(f"- **{measure.name}**: {_plain(measure.words)}" for measure in MEASURES),
    ]
    if stands(told):
        parts.append(_table(("Scale", "In the paper", "Here"), ([_cell(one) for one in row] for row in stands(told))))
    parts.append(f"All together: {_plain(cost(results))}. {_plain(said_versions(results))}.")
    for story in told:
        parts += _experiment(story, figures_at.rstrip("/"), folder)
    return "\n\n".join(filter(None, parts)) + "\n"


def _row(line: Line) -> list[str]:
    headline = line.row.headline
    seeds = f" ({headline.seeds} seeds would decide)" if headline.seeds else ""
    verdict = f"**{headline.verdict}**{'' if line.row.agree else f' {MARK}'}{seeds}"
    return [_cell(line.claim), verdict, *map(_cell, (line.row.claim.paper, headline.measured, line.where))]


def _experiment(story: Story, figures_at: str, folder: Path | None) -> list[str]:
    experiment = story.reproduction.experiment
    parts = [f"## {story.name}", f"**{_plain(experiment.title)}.** {_plain(experiment.asks)}"]
    parts += [f"> {_plain(note)}" for note in experiment.notes]
    for view, pictures in zip(story.views, story.picture_names(folder), strict=True):
        setting = view.answer.question.task.words
        parts.append(f"**{_plain(view.where)}**: {_plain(setting)}.")
        parts += [f"![{_plain(name)}: {_plain(view.where)}]({figures_at}/{name}.png)" for name in pictures]
        parts.append(_numbers(view))
    parts.append(
        _table(
            ("Claim", "By", "Verdict", "Measured", "On"),
            (
                [_cell(line.claim), name, _verdict(judgement.verdict, judgement.seeds),
                 _cell(judgement.measured), _cell(line.where)]
                for line in story.lines
                for name, judgement in line.by_measure.items()
            ),
        )
    )  # fmt: skip
    seeds = ", ".join(map(str, story.seeds))
    parts.append(f"    {_one_line(story.reproduction.command)}")
    parts.append(f"Seeds {seeds}. {_plain(story.cost)}. {_plain(story.versions)}.")
    return parts


def _verdict(verdict: str, seeds: int | None) -> str:
    return verdict + (f" ({seeds} seeds would decide)" if seeds else "")


def _numbers(view: PaperView) -> str:
    """Return the table of each curve at its best λ and at the paper's."""
    paper = view.scale.name == "paper"
    heading = axis_title(view.metric.name, view.metric)
    head = ["Curve", "Chosen", *(f"{heading}, {measure.name}" for measure in view.measures)]
    body = []
    for row in settled(view):
        numbers = [
            f"{number} ({at}{', at the edge' if edge else ''})"
            for number, at, edge in zip(row.numbers, row.at, row.edges, strict=True)
        ]
        body.append([*map(_cell, (row.curve, row.chosen, *numbers)), *([_cell(row.paper)] if paper else [])])
    return _table([*head, *([view.papers] if paper else [])], body)


def _table(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _plain(text: str) -> str:
    r"""Return text that Markdown shows as it stands.

    >>> print(_plain("<b>*x*</b> [a](b) $1 | a_b"))
    &lt;b>\*x\*&lt;/b> \[a\](b) \$1 | a\_b
    """
    text = re.sub(r"([\\`*_\[\]$#~{}])", r"\\\1", _one_line(text).replace("&", "&amp;"))
    return text.replace("<", "&lt;")


def _cell(text: str) -> str:
    """Return text for a cell of a table, where a bar would end it."""
    return _plain(text).replace("|", "\\|")
