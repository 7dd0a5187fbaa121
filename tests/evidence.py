"""What the documentation says of committed runs, made anew from these: ``.venv/bin/python tests/evidence.py``.

After a table of runs has grown, this writes the table of ``docs/lab/reproduce.md``, the folder ``docs/referee`` but for
its table, and the rulings of ``docs/contested.md``. What people wrote around them is theirs to read again: every line
that it changes is printed.
"""

import contextlib
import difflib
import io
import json
import re
import sys
from pathlib import Path

from weightdecay.lab import paper
from weightdecay.lab.cli import main
from weightdecay.lab.paper.again import judged_again
from weightdecay.lab.run.recorded import read_runs

DOCS = Path(__file__).parents[1] / "docs"
MEDIUM, RULED = DOCS / "scorecard" / "medium.csv", DOCS / "referee"
REPRODUCE, CONTESTED = DOCS / "lab" / "reproduce.md", DOCS / "contested.md"

CLAIM = re.compile(r"(^\| `\w+`, .+ \|\n)+", re.MULTILINE)
"""The rows of the table of claims, together."""

RULING = re.compile(r"^- `([\w-]+)`, (\w+), ([^:]+): \*\*[\w ]+\*\* \([^)]*\)$", re.MULTILINE)
"""A ruling: task, optimizer and decay of its arm."""

ELSEWHERE = "(#how-to-read-the-scorecard)"
"""Where the page says, once for all, why AdamW is not judged."""


def of_medium(page: str) -> str:
    """Return the page with what the committed runs of scale medium show: every claim that has all of its runs."""
    rows = read_runs(MEDIUM)
    judged = [row for one in judged_again(rows, paper.EXPERIMENTS.values()) for row in one.rows]
    undecided = sum(row.headline.verdict == "undecided" for row in judged)
    differing = sum(not row.agree for row in judged)
    validated = sum(row.judged["validation"].verdict == "undecided" for row in judged if "validation" in row.judged)
    page = re.sub(r"[\d,]+ (of its 2,860 runs)", rf"{len(rows):,} \1", page)
    page = re.sub(r"Of \d+ verdicts \d+ are", f"Of {len(judged)} verdicts {undecided} are", page)
    page = re.sub(r"verdict of \d+ of\s+them", f"verdict of {differing} of them", page)
    page = re.sub(r"By validation \d+ are", f"By validation {validated} are", page)
    return CLAIM.sub(lambda _: "".join(map(_claim, judged)), page)


def _claim(row):
    one = row.headline
    short = re.sub(r"; (AdamW at λ [\d.]+) is not judged here: .*", rf"; \1 is [not judged]{ELSEWHERE}", one.measured)
    measured = f"[AdamW has no room at that λ]{ELSEWHERE}" if one.verdict == "not judged" else short
    others = unlike({name: judgement.verdict for name, judgement in row.judged.items()})
    verdict = one.verdict + (f" ({', '.join(others)})" if others else "")
    return f"| `{row.experiment}`, {row.panel} | {row.claim.text} | {verdict} | {measured} |\n"


def unlike(verdicts):
    """Return "MEASURE: VERDICT" of each measure that comes to another verdict than the first, which is the paper's."""
    first, *_ = verdicts.values()
    return [f"{name}: {verdict}" for name, verdict in verdicts.items() if verdict != first]


def of_referee():
    """Return every arm that has a ruling, by (task, optimizer, decay)."""
    return {
        (answer["task"], arm["optimizer"], arm["decay"]): arm
        for answer in json.loads((RULED / "referee.json").read_text(encoding="utf-8"))
        for arm in answer["arms"]
        if arm["verdict"]
    }


def contested(page: str) -> str:
    """Return the page with the rulings as they are now, and those that are new after the others of their task."""
    arms = of_referee()
    page = RULING.sub(lambda found: _ruling(found, arms[key(found)]), page)
    known = {key(found) for found in RULING.finditer(page)}
    for new in [one for one in arms if one not in known]:
        task, _, decay = new
        titles = {found[2].lower(): found[2] for found in RULING.finditer(page)}
        section = page.index("\n## ")
        end = page.index("\n## ", section + 1)
        last = [found for found in RULING.finditer(page, section, end) if found[1] == task][-1]
        line = _line(task, titles[new[1]], decay, arms[new])
        page = f"{page[: last.end()]}\n{line}{page[last.end() :]}"
    return page


def key(found):
    """Return the arm of a line."""
    task, optimizer, decay = found.groups()
    return task, optimizer.lower(), decay


def _ruling(found, arm):
    return _line(*found.groups(), arm)


def _line(task, optimizer, decay, arm):
    low, high = map(_signed, arm["interval"])
    numbers = f"{_signed(arm['difference'])} [{low}, {high}]"
    return f"- `{task}`, {optimizer}, {decay}: **{arm['verdict']}** ({numbers})"


def _signed(value):
    return f"{value:+.2f}".replace("-", "−")


def write_anew() -> None:
    """Write what has changed, and print it."""
    told = io.StringIO()
    with contextlib.chdir(DOCS.parent), contextlib.redirect_stdout(told):  # the page names the command as it is given
        failed = main(["report", "docs/referee/runs.csv"])
    if failed:
        sys.exit(told.getvalue())
    for path in (RULED / "referee.html", *(RULED / "figures").glob("*.svg")):
        path.unlink()
    for path, made in ((REPRODUCE, of_medium), (CONTESTED, contested)):
        before = path.read_text(encoding="utf-8")
        after = made(before)
        path.write_text(after, encoding="utf-8")
        sys.stdout.writelines(difflib.unified_diff(before.splitlines(True), after.splitlines(True), str(path), n=0))


if __name__ == "__main__":
    write_anew()
