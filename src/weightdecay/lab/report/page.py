"""One self-contained page for a comparison: the answer in words, then the table, the figures and every number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from weightdecay import document
from weightdecay.document import Document, Panel, Section
from weightdecay.lab.report import compared
from weightdecay.lab.report.drawn import curves
from weightdecay.lab.report.drawn import decay as by_decay
from weightdecay.lab.report.drawn.canvas import Picture
from weightdecay.lab.report.numbers import Numbers, decay, digits
from weightdecay.lab.run import ERROR, Result
from weightdecay.lab.run.recorded import results_csv
from weightdecay.lab.study.question import TIMES_LR
from weightdecay.lab.study.statistics import Comparison, Standing

PAPER_STEPS = 78_200
PAPER_WEIGHT_DECAY = 5e-4


@dataclass(frozen=True)
class Report:
    """The files of a report."""

    page: Path
    results: Path
    figures: tuple[Path, ...]


def write(comparison: Comparison, folder: Path) -> Report:
    """Write page, figures (PNG and SVG) and results.csv into the folder, which is made if needed.

    Raises: OSError, where the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    view = compared.view(comparison)
    drawn = {"learning-curves": curves.draw(view), "error-against-decay": by_decay.draw(view)}
    files = [path for name, picture in drawn.items() for path in picture.save(folder, name)]
    page = document.write(document_of(comparison, drawn), folder, comparison.question.name)
    return Report(page, folder / RESULTS, tuple(files))


RESULTS = "results.csv"


def document_of(comparison: Comparison, drawn: Mapping[str, Picture]) -> Document:
    """Return the page. ``drawn`` are the two pictures by the names of their files."""
    question, metric = comparison.question, comparison.metric
    keys = compared.view(comparison).keys
    by_epoch, against = drawn["learning-curves"], drawn["error-against-decay"]
    learning = by_epoch.drawing("curves", by_epoch.caption + learned(comparison))
    decays = against.drawing("decays", f"{against.caption} {asides(comparison)}")
    count, seconds = len(comparison.results), sum(result.seconds for result in comparison.results)
    where = ", ".join(dict.fromkeys(result.where for result in comparison.results if result.where))
    winner, unit = comparison.standings[0], f" {metric.unit}" if metric.unit else ""
    return Document(
        title=f"weightdecay {question.name}",
        head=f"weightdecay {question.name}: {winner.title} at {Numbers.of(comparison).spread(winner.best)}{unit}",
        answer=answer(comparison),
        notes=notes(comparison),
        sections=(
            Section("Each optimizer at its best weight decay", (), (compared.standings(comparison), *read(comparison))),
            Section(f"{metric.name.capitalize()} against weight decay", (), (Panel([decays], keys),)),
            Section("Learning curves", (), (Panel([learning], keys),)),
            Section(
                f"Every cell of the grid ({len(comparison.cells)})",
                (
                    f"“Best epoch” is each run’s lowest {metric.name} over its epochs, the number that the paper "
                    "reports. The test set chooses this epoch, which makes the number too good; the table above does "
                    "not use it.",
                ),
                (compared.every_cell(comparison),),
                folded=True,
            ),
        ),
        command=question.command,
        facts=(
            *question.rows,
            ("Seeds", f"{len(question.seeds)}: {', '.join(map(str, question.seeds))}"),
            ("Runs", f"{count}, {seconds:.0f} seconds of training in all ({seconds / count:.1f} per run)"
                     + (f" on {where}" if where else "")),
            ("Versions", ", ".join(f"{name} {version}" for name, version in versions(comparison.results).items())),
        ),
        downloads={RESULTS: results_csv(comparison.results)},
    )  # fmt: skip


def read(comparison: Comparison) -> list[str]:
    """Return what the numbers of the table are, in paragraphs."""
    question, metric, count = comparison.question, comparison.metric, len(comparison.question.seeds)
    lrs_chosen = any(len({cell.point.lr for cell in comparison.of(one.optimizer)}) > 1 for one in comparison.standings)
    over = f", mean ± standard deviation over {seeds_of(comparison)}" if count > 1 else ""
    said = [f"{metric.name.capitalize()} is that of the last epoch{over}."]
    if question.test_size:
        said[0] += f" One of the {question.test_size} test images is {100 / question.test_size:.2f} points."
    if count > 1:
        said.append(
            "Differences are taken seed by seed, because a seed gives every optimizer the same wrong labels, initial "
            "weights and order of the data. The test images are the same for all runs, so the interval does not "
            f"include their choice. It is a t interval on {count - 1} degree{'s' if count > 2 else ''} of freedom, "
            "not corrected for the comparison of several optimizers. “Beyond seed noise” means that the interval does "
            "not contain 0."
        )
        said.append(
            "The effective lr is the lr times the optimizer’s mean gain: 1/(1 − momentum) for SGD, the model’s 1/√v̄ "
            "for Adam."
        )
    said.append(
        f"λ {'and lr were' if lrs_chosen else 'was'} chosen by this same {metric.name}. The choice uses the test set, "
        "equally for all, so every number here is a little too good. “Edge” marks a value at the end of its grid."
    )
    return said


def seeds_of(comparison: Comparison) -> str:
    """Return how many seeds the cells have: "3 seeds", or "1 to 3 seeds" where some are not finished."""
    counts = sorted({len(cell.results) for cell in comparison.cells})
    text = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"{text} {'seed' if counts[-1] == 1 else 'seeds'}"


def asides(comparison: Comparison) -> str:
    """Return what a reader of the figure against λ must know besides."""
    said = []
    if any(cell.point.weight_decay == 0 for cell in comparison.cells):
        said.append(
            "λ = 0 is drawn apart at the left; there all decays of a method are the same optimizer and share their "
            "runs."
        )
    if any(one.decay in TIMES_LR for one in comparison.standings):
        said.append(
            "Decoupled and corrected decay are drawn at λ·η, as the paper draws decoupled decay: at the peak lr they "
            "take that fraction of a weight per step."
        )
    if comparison.question.classes:
        classes = comparison.question.classes
        said.append(f"Of {classes} classes, guessing is {100 - 100 / classes:g} % wrong.")
    return " ".join(said)


def learned(comparison: Comparison) -> str:
    """Return what a training loss near 0 means, where some labels are wrong."""
    if not comparison.question.label_noise:
        return ""
    return " Wrong labels are included: a training loss near 0 means that they were memorised."


def answer(comparison: Comparison) -> str:
    """Return the outcome as one paragraph of plain words, every number computed."""
    question, (winner, *others) = comparison.question, comparison.standings
    say, count = Numbers.of(comparison), len(winner.best.results)
    how = f"mean ± standard deviation over {count} seeds" if count > 1 else "one seed"
    sentences = [
        _which_want_the_same(comparison),
        f"On {question.setting}, {winner.title} {'did best:' if others else 'makes'} {say.measured(winner.best)} "
        f"at λ = {decay(winner.best.point.weight_decay)} ({how}, last epoch).",
    ]
    if winner.without is not None and winner.without is not winner.best:
        sentences.append(_what_decay_gains(winner, say))
    for verdict, text in (
        ("the same runs", "{} {} measured by the same runs, so there is no difference."),
        ("within seed noise", "{} {} not distinguishable from it with these seeds."),
        ("beyond seed noise", "{} {} worse beyond seed noise."),
    ):
        names = [f"{one.title} ({say.mean(one.best)})" for one in others if one.verdict == verdict]
        if names:
            sentences.append(text.format(_list(names), "is" if len(names) == 1 else "are"))
    if others and len(question.seeds) == 1:
        sentences.append("One seed says nothing about noise; use three or more.")
    if others:
        sentences.append(_decay_or_optimizer(comparison, say))
    sentences.append(_against_the_paper(comparison))
    # A number does not part from its sign at the end of a line.
    return (
        " ".join(filter(None, sentences)).replace(" ± ", "\xa0±\xa0").replace(" %", "\xa0%").replace(" = ", "\xa0=\xa0")
    )


def _which_want_the_same(comparison: Comparison) -> str:
    """Return at which λ's those do best whose λ means the same, and at which the others: what the library is about."""
    same = [one for one in comparison.standings if _means_what_l2_means(one)]
    if len(same) < 2:
        return ""
    found = sorted(one.best.point.weight_decay for one in same)
    names = _list(one.title for one in same)
    text = f"λ means the same to {names}, and they do best at λ = {decay(found[0])} to {decay(found[-1])}, within a "
    text += f"factor of {found[-1] / found[0]:.1f}"
    if found[0] == found[-1]:
        text = f"λ means the same to {names}, and they all do best at λ = {decay(found[0])}"
    others = [one for one in comparison.standings if one not in same and one.best.point.weight_decay > 0]
    if others:
        theirs = _list(f"{one.title} at {decay(one.best.point.weight_decay)}" for one in others)
        text += f"; the others want a λ of their own: {theirs}"
    return f"{text}."


def _what_decay_gains(winner: Standing, say: Numbers) -> str:
    assert winner.without is not None
    gain = winner.without.mean - winner.best.mean
    without = say.spread(winner.without) + say.unit
    text = f"Without weight decay it makes {without}, so the right λ removes {say.exact(gain)}"
    if say.metric != ERROR:
        return f"{text}."
    return f"{text} points" + (
        f", {100 * gain / winner.without.mean:.0f} % of the errors." if winner.without.mean else "."
    )


def notes(comparison: Comparison) -> list[str]:
    """Return the warnings a careful reader needs, in whole sentences."""
    found = []
    for standing in comparison.standings:
        if standing.edges:
            point = standing.best.point
            found.append(
                f"{standing.title}: the best value (λ = {decay(point.weight_decay)}, lr = {point.lr:g}) lies at "
                f"the edge of its grid; a better one may lie beyond it. Widen {' and '.join(standing.edges)}."
            )
    diverged = [cell for cell in comparison.cells if cell.diverged]
    if diverged:
        runs = sum(cell.diverged for cell in diverged)
        names = [f"{cell.point.curve} at λ = {decay(cell.point.weight_decay)}" for cell in diverged]
        found.append(
            f"{runs} {'run' if runs == 1 else 'runs'} diverged (the loss was no longer finite) and "
            f"{'counts' if runs == 1 else 'count'} with the error that was reached: {_list(names)}."
        )
    clamped = sum(result.clamped_steps for result in comparison.results)
    if clamped:
        found.append(f"In {clamped} steps the decay would have exceeded the whole weight and was limited to it.")
    skipped = sum(result.skipped_steps for result in comparison.results)
    if skipped:
        found.append(f"{skipped} steps had a gradient that was not finite and were skipped.")
    kept = {one.title: [result.start_test for result in one.best.results] for one in comparison.standings}
    known = {title: [value for value in values if value is not None] for title, values in kept.items()}
    if any(known.values()):
        listed = ", ".join(f"{title} {fmean(values):.3g}" for title, values in known.items() if values)
        found.append(f"At those values, on the test set of the start, on average over the seeds: {listed}.")
    return found


def versions(results: Iterable[Result]) -> dict[str, str]:
    """Return the versions the runs were made with; several, where kept runs are older than this machine's packages."""
    found: dict[str, dict[str, None]] = {}
    for result in results:
        for name, version in result.versions.items():
            found.setdefault(name, {})[version] = None
    return {name: ", ".join(several) for name, several in sorted(found.items())}


def _decay_or_optimizer(comparison: Comparison, say: Numbers) -> str:
    """Return which choice mattered more: λ, or the optimizer at its best λ."""
    with_zero = [one for one in comparison.standings if one.without is not None and one.without is not one.best]
    if not with_zero:
        return ""
    gains = sorted(one.without.mean - one.best.mean for one in with_zero if one.without is not None)
    bests = [one.best.mean for one in comparison.standings]
    least, most = say.exact(gains[0]), say.exact(gains[-1])
    moved = least if least == most else f"{least} to {most}"
    what, points = ("error", " points") if say.metric == ERROR else (say.metric.name, "")
    return (
        f"Choosing λ well moves the {what} by {moved}{points}; choosing the optimizer, each at its best λ, by up to "
        f"{say.exact(max(bests) - min(bests))}."
    )


def _against_the_paper(comparison: Comparison) -> str:
    """Return how the best λ compares with the paper's 5e-4 once both are multiplied by the number of steps."""
    candidates = [one for one in comparison.standings if _means_what_l2_means(one)]
    steps = comparison.question.steps
    if not candidates or not steps or comparison.metric != ERROR:
        return ""
    one = candidates[0]
    best = one.best.point.weight_decay
    here, there = best * steps, PAPER_WEIGHT_DECAY * PAPER_STEPS
    if steps < PAPER_STEPS and 1 / 4 < here / there < 4:
        return (
            f"The best λ of {one.method.title} here is {digits(best / PAPER_WEIGHT_DECAY)} times the paper’s "
            f"{PAPER_WEIGHT_DECAY}, and this training is {digits(PAPER_STEPS / steps)} times shorter: λ × steps is "
            f"{digits(here)} here and {digits(there)} there, as the rule λ ∝ 1/steps says."
        )
    return (
        f"λ × steps of {one.method.title} is {digits(here)} at its best here; the paper’s {PAPER_WEIGHT_DECAY} × "
        f"{PAPER_STEPS:,} steps is {digits(there)}."
    )


def _means_what_l2_means(standing: Standing) -> bool:
    """Whether the λ is comparable with the paper's 5e-4: SGD's, and every stable one above 0."""
    comparable = standing.decay == "stable" or standing.method.base == "sgd"
    return comparable and standing.decay in ("l2", "stable") and standing.best.point.weight_decay > 0


def _list(names: Iterable[str]) -> str:
    *head, last = names
    return f"{', '.join(head)} and {last}" if head else last
