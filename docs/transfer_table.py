"""The table of `transfer.md`, from the rules themselves: `python docs/transfer_table.py` writes it into the page."""

from pathlib import Path

from weightdecay.transfer import RULES

PAGE = Path(__file__).parent / "transfer.md"
HEAD = "| rule | what changes | lr | λ | keeps | measured on | function |"


def table():
    rows = [
        f"| {rule.name} ({', '.join(rule.sources)}) | {rule.change} | {rule.lr} | {rule.weight_decay} | {rule.kept} "
        f"| {rule.measured} | `{rule.function.__name__}` |"
        for rule in RULES
    ]
    return "\n".join([HEAD, "|---" * HEAD.count(" | ") + "|---|", *rows])


def written(page):
    """Return the text of the page with the table as it is now."""
    before, found, after = page.partition(HEAD)
    if not found:
        raise ValueError(f"{PAGE.name} has no table that begins with {HEAD!r}: put this line where it shall stand.")
    return before + table() + "\n\n" + after.partition("\n\n")[2]


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
