"""What the documentation says of committed runs, made anew from these: ``.venv/bin/python tests/evidence.py``.

After a table of runs has grown, this writes the folders ``docs/scorecard/medium`` and ``docs/referee`` but for their
tables, the counts in ``docs/lab/reproduce.md``, and the rulings of ``docs/contested.md``. What people wrote around them
is theirs to read again: every line of these two pages that it changes is printed.
"""

import contextlib
import difflib
import io
import json
import re
import sys
from pathlib import Path

from weightdecay.lab.cli import main
from weightdecay.lab.run.recorded import read_runs

DOCS = Path(__file__).parents[1] / "docs"
MEDIUM, RULED = DOCS / "scorecard" / "medium" / "runs.csv", DOCS / "referee"
JUDGED = MEDIUM.with_name("scorecard.json")
REPRODUCE, CONTESTED = DOCS / "lab" / "reproduce.md", DOCS / "contested.md"

RULING = re.compile(r"^- `([\w-]+)`, (\w+), ([^:]+): \*\*[\w ]+\*\* \([^)]*\)$", re.MULTILINE)
"""A ruling: task, optimizer and decay of its arm."""


def of_medium(page: str) -> str:
    """Return the page with how many runs of scale medium are committed, and what their verdicts come to."""
    rows = read_runs(MEDIUM)
    judged = [row["by_measure"] for row in json.loads(JUDGED.read_text(encoding="utf-8"))]
    undecided, validated = (
        sum(one[by]["verdict"] == "undecided" for one in judged if by in one) for by in ("best epoch", "validation")
    )
    differing = sum(len({measure["verdict"] for measure in one.values()}) > 1 for one in judged)
    page = re.sub(r"[\d,]+ (of its 2,860 runs)", rf"{len(rows):,} \1", page)
    page = re.sub(r"Of \d+ verdicts \d+ are", f"Of {len(judged)} verdicts {undecided} are", page)
    page = re.sub(r"verdict of \d+ of them", f"verdict of {differing} of them", page)
    return re.sub(r"By validation \d+ are", f"By validation {validated} are", page)


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
    for folder in (MEDIUM.parent, RULED):
        told = io.StringIO()
        file = str((folder / "runs.csv").relative_to(DOCS.parent))  # the pages name the command as it is given
        with contextlib.chdir(DOCS.parent), contextlib.redirect_stdout(told):
            failed = main(["report", file])
        if failed:
            sys.exit(told.getvalue())
        for path in (*folder.glob("*.html"), *(folder / "figures").glob("*.svg")):
            path.unlink()
    for path, made in ((REPRODUCE, of_medium), (CONTESTED, contested)):
        before = path.read_text(encoding="utf-8")
        after = made(before)
        path.write_text(after, encoding="utf-8")
        sys.stdout.writelines(difflib.unified_diff(before.splitlines(True), after.splitlines(True), str(path), n=0))


if __name__ == "__main__":
    write_anew()
