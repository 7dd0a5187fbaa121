"""``python -m weightdecay`` is the ``weightdecay`` command."""

import sys

from weightdecay.lab.cli import main

if __name__ == "__main__":
    sys.exit(main())
