"""The page: the scorecard first, then every experiment with its pictures, numbers, claims and cost."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence

from weightdecay.document import Column, Document, Download, Filter, Mark, Note, Panel, Section, Table, Terms
from weightdecay.document.parts import Look
from weightdecay.lab.paper.measure import MEASURES
from weightdecay.lab.paper.ordering import Judgement
from weightdecay.lab.report.drawn.view import PaperView
from weightdecay.lab.report.figures import axis_title
from weightdecay.lab.report.scorecard.cells import EDGE, Listed, Settled, listed, settled
from weightdecay.lab.report.scorecard.lines import MARK, OWN, Line, Tally
from weightdecay.lab.report.scorecard.story import Shown, Story, cost, said_versions

PEEKS = (
    "The paper reports the lowest test error over the epochs. That number uses the test set to choose the epoch, and "
    "lr and λ too, so that it is too good. So every claim is judged by two more numbers. The error at the last epoch "
    "does not choose an epoch by the test set, but still chooses lr and λ by it. The error at the epoch "
    "that held-out examples select, with the lr and λ that they select, does not use the test set to choose anything; "
    "it is there where all runs of a claim have it."
)

MEANINGS = {
    "holds": "at the 5 % level, over seeds: every difference of the claim has a 95 % interval (paired t, seed by "
    "seed) on the claimed side, or a claim about a best λ is true in 95 % of bootstrap resamples of the seeds.",
    "refuted": "the same the other way round, corrected for the number of differences.",
    "practically equal": "the claim is that one is lower, and the difference is shown, by two one-sided tests at the "
    "5 % level, to be less than what matters: 1 point of error, or a twentieth of the error where that is less; 1 % of "
    "a perplexity. None of the claim’s other differences is above that on average.",
    "undecided": "these seeds do not tell; where a number of seeds is given, so many would, with a power of 80 %, if "
    "the differences and their spread are as measured.",
    "not judged": "the runs only prove that they run, or what the claim presupposes does not hold here.",
}

EXPLAINED = (
    f"Verdicts here are by the paper’s own measure, the best epoch. {MARK}: the last epoch or validation comes to "
    f"another verdict; see the experiment. {OWN}: a claim that the paper does not make."
)

AWAY = (
    "Away from scale “paper”, networks and data are others, chosen so that the effect in question can show; λ grows as "
    "the training gets shorter. A verdict there is on the claim, not on the paper’s numbers."
)

MOST_INLINE = 8_000_000
"""Bytes of compressed raw numbers that a page may carry."""


VERDICT_LOOKS: Mapping[str, Look] = {
    "holds": "good", "refuted": "bad", "practically equal": "", "undecided": "open", "not judged": "open",
}  # fmt: skip
SIGNS = {"holds": "✓", "refuted": "✗", "practically equal": "≈", "undecided": "?", "not judged": "–"}


def document_of(told: Sequence[Story], raw: str) -> Document:
    """Return the page: the scorecard first, then every experiment. ``raw`` is the table of all epochs."""
    lines = [line for story in told for line in story.lines]
    results = tuple({result.run: result for story in told for result in story.reproduction.results}.values())
    packed = gzip.compress(raw.encode(), mtime=0)
    rows = raw.count("\n") - 1
    said = (
        "The scorecard’s rows lie beside this page as scorecard.json, the runs as runs.csv, the figures as PNG and SVG."
    )
    if rows:
        said = f"One row per run and epoch, {rows:,} rows, with everything that decided the run: results.csv. {said}"
    meanings: list[tuple[str | Mark, str]] = [(verdict(word), text) for word, text in MEANINGS.items()]
    meanings += [(measure.name, measure.words) for measure in MEASURES]
    standing = Table(("Scale", "In the paper", "Here"), stands(told))
    return Document(
        title="weightdecay reproduce",
        head="weightdecay reproduce: the paper as a scorecard",
        answer=f"“Understanding and Scheduling Weight Decay”, put to the test. {Tally(lines)}",
        notes=(PEEKS,),
        sections=(
            Section("Scorecard", (EXPLAINED,), (scorecard(told),), name="scorecard"),
            Section("What the verdicts mean", (), (Terms(meanings),), folded=True),
            *((Section("What stands for the paper’s networks and data", (AWAY,), (standing,), folded=True),)
              if standing.rows else ()),
            Section(
                "Cost, versions, and every number to download",
                (said,),
                (
                    Terms((("Cost", f"{cost(results)}, runs that experiments share counted once"),
                           ("Versions", said_versions(results)))),
                    *((Download("results.csv.gz", packed),) if rows and len(packed) <= MOST_INLINE else ()),
                ),
                folded=True,
            ),
            *map(experiment, told),
        ),
    )  # fmt: skip


def verdict(word: str, under: str = "", marked: bool = False) -> Mark:
    """Return a verdict with its sign and colour."""
    return Mark(f"{SIGNS[word]} {word}" + (f" {MARK}" if marked else ""), VERDICT_LOOKS[word], under=under)


def scorecard(told: Sequence[Story]) -> Table:
    """Return one row per claim and panel, with a box for each verdict."""
    lines = [(story, line) for story in told for line in story.lines]
    tally = Tally([line for _, line in lines])
    columns: tuple[Column[tuple[Story, Line]], ...] = (
        Column("Experiment", lambda pair: Mark(pair[1].row.experiment, link=pair[0].name)),
        Column("Claim", lambda pair: Mark(pair[1].claim, under=pair[1].where)),
        Column("Paper", lambda pair: pair[1].row.claim.paper),
        Column("Measured", lambda pair: pair[1].row.headline.measured),
        Column("Verdict", lambda pair: judged(pair[1].row.headline, not pair[1].row.agree)),
    )
    filters = [Filter(f"{word} ({number})", word) for word, number in tally.verdicts.items() if number]
    filters += [Filter(f"not the paper’s {OWN} ({tally.own})", "own")] if tally.own else []
    if tally.disagreements:
        words = f"only where measures disagree {MARK} ({tally.disagreements})"
        filters.append(Filter(words, "disagree", only=True))
    tags = [
        frozenset([line.row.headline.verdict, *["own"] * line.row.claim.own, *["disagree"] * (not line.row.agree)])
        for _, line in lines
    ]
    return Table.of(lines, columns, cards=True, tags=tags, filters=filters)


def judged(judgement: Judgement, marked: bool = False) -> Mark:
    """Return the verdict of a judgement, and how many seeds would decide where none is reached."""
    return verdict(judgement.verdict, f"{judgement.seeds} seeds would decide" if judgement.seeds else "", marked)


def experiment(story: Story) -> Section:
    """Return an experiment with its pictures, numbers, claims and cost."""
    asked = story.reproduction.experiment
    seeds = ", ".join(map(str, story.seeds))
    run = Section(
        "What was run",
        (),
        (
            Terms(
                (
                    ("Command", story.reproduction.command),
                    ("Seeds", f"{len(story.seeds)}: {seeds}"),
                    ("Cost", story.cost),
                    ("Versions", story.versions),
                ),
                frozenset(("Command",)),
            ),
            Download(f"{story.name}.csv", story.runs),
        ),
    )
    return Section(
        f"{asked.name}: {asked.title}",
        (asked.asks,),
        (*map(Note, asked.notes), *map(panel, story.shown), Section("Claims", (), (claims(story),)), run),
        name=story.name,
    )


def panel(shown: Shown) -> Section:
    """Return a panel: its pictures, the table of each curve at its best λ, and every cell."""
    view = shown.view
    drawings = [picture.drawing(name) for name, picture in shown.pictures.items()]
    every = Section(f"Every cell ({len(view.answer.cells)})", (), (cells_table(view),), folded=True)
    return Section(
        view.name,
        (view.answer.question.task.words,),
        (*((Panel(drawings, view.keys if shown.hides else ()),) if drawings else ()), settled_table(view), every),
        name=f"{shown.name}-panel",
        aside=f"scale {view.scale.name}",
    )


def settled_table(view: PaperView) -> Table:
    """Return each curve at its best λ and at the paper's, by every measure."""

    def number(place: int) -> Column[Settled]:
        def of(row: Settled) -> Mark:
            return Mark(row.numbers[place], under=row.at[place] + (f", {EDGE}" if row.edges[place] else ""))

        return Column(view.measures[place].name, of, number=True)

    columns: list[Column[Settled]] = [
        Column("Curve", lambda row: Mark(row.curve, "strong")),
        Column("Chosen", lambda row: row.chosen),
        *map(number, range(len(view.measures))),
        *([Column[Settled](view.papers, lambda row: row.paper, number=True)] if view.papers else []),
    ]
    caption = f"{_metric(view)}: {view.where}; mean ± standard deviation over seeds."
    return Table.of(settled(view), columns, caption=caption)


def cells_table(view: PaperView) -> Table:
    """Return every cell of a panel; the best of each curve stand out."""

    def number(place: int) -> Column[Listed]:
        return Column(view.measures[place].name, lambda row: row.numbers[place], number=True)

    rows = listed(view)
    columns: list[Column[Listed]] = [
        Column("Curve", lambda row: Mark(row.curve, "strong")),
        Column("lr", lambda row: row.lr, number=True),
        Column("λ", lambda row: row.weight_decay, number=True),
        Column("drawn at", lambda row: row.drawn, number=True),
        *map(number, range(len(view.measures))),
        Column("Each seed, best epoch", lambda row: row.each),
        Column("Diverged", lambda row: row.diverged or None, number=True),
    ]
    caption = f"{_metric(view)}: {view.where}. A shaded row is the curve’s best by the paper’s measure."
    chosen = frozenset(place for place, row in enumerate(rows) if row.best)
    return Table.of(rows, columns, caption=caption, chosen=chosen)


def claims(story: Story) -> Table:
    """Return every claim of an experiment by every measure."""
    judged_by = [(line, name, one) for line in story.lines for name, one in line.by_measure.items()]
    columns: tuple[Column[tuple[Line, str, Judgement]], ...] = (
        Column(
            "Claim", lambda one: Mark(one[0].claim, under=f"{one[0].where}. In the paper: {one[0].row.claim.paper}.")
        ),
        Column("By", lambda one: one[1]),
        Column("Verdict", lambda one: judged(one[2])),
        Column("Measured", lambda one: one[2].measured),
    )
    return Table.of(judged_by, columns, cards=True)


def _metric(view: PaperView) -> str:
    return axis_title(view.metric.name.capitalize(), view.metric)


def stands(told: Sequence[Story]) -> list[tuple[str, str, str]]:
    """Return (scale, the paper's network and data, what is run in their place) of all that these experiments use."""
    found: dict[tuple[str, str, str], None] = {}
    for story in told:
        scale = story.reproduction.scale
        used = {answer.question.task.words for answer in story.reproduction.answers}
        for words, setting in scale.settings.items():
            if setting.words in used and scale.name != "paper":
                found[scale.name, words, setting.words] = None
    return list(found)
