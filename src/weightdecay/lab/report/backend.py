"""matplotlib, imported whatever ``MPLBACKEND`` names: figures go to files, which need no back end of a screen."""

from __future__ import annotations

import contextlib
import os
import sys

if "matplotlib" not in sys.modules:
    named = os.environ.pop("MPLBACKEND", None)
    import matplotlib as mpl

    if named is not None:
        os.environ["MPLBACKEND"] = named
        with contextlib.suppress(ValueError):  # a name that is none, at which the import would have ended
            mpl.rcParams["backend"] = named
