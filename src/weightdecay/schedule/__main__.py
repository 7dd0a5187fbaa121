"""``python -m weightdecay.schedule PATH [TEXT]``: draw the shapes of the documentation, or the one that TEXT names."""

from __future__ import annotations

import sys

from weightdecay.schedule.parse import parse
from weightdecay.schedule.picture import LR, gallery


def main(arguments: list[str]) -> None:
    """Draw. Raises: SystemExit, in one line, for what cannot be drawn."""
    if len(arguments) not in (1, 2) or arguments[0].startswith("-"):
        sys.exit(__doc__)
    try:
        if len(arguments) == 1:
            gallery(arguments[0])
        else:
            shape = parse(arguments[1])
            shape.plot(arguments[0], lr=LR if "lr" in shape.needs else None)
    except (ImportError, OSError, ValueError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(sys.argv[1:])
