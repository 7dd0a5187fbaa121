"""Where a run is computed: what may differ between two computations of one run."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

DATA_FOLDER = "WEIGHTDECAY_DATA"
"""The environment variable that names the folder of the data sets."""


@dataclass(frozen=True)
class Place:
    """Device, process and folders. Nothing here decides a result but the last bits, which depend on the hardware."""

    device: str = "cpu"  # "cuda", "cuda:1"; "auto": the GPU if there is one
    rank: int = 0  # of this process among the run's
    world: int = 1
    data: Path | None = None  # the folder of the data sets; None: $WEIGHTDECAY_DATA, or a folder of the user's cache
    download: bool = True
    workers: int = 2  # processes that decode images which do not fit into memory
    checkpoint_seconds: float = 20.0  # between checkpoints, or 100 times what one costs if that is more; 0: every step
    keep_weights: bool = False  # of a finished run, beside its result

    @property
    def data_folder(self) -> Path:
        """Where data sets are looked for, and downloaded to."""
        named = self.data or os.environ.get(DATA_FOLDER)
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return Path(named).expanduser() if named else Path(cache) / "weightdecay" / "data"

    def find(self, path: str) -> Path:
        """Return where a path of a user's own data is: as it stands, or in the folder of the data sets.

        So a run may name its data without naming a machine.
        """
        written = Path(path).expanduser()
        kept = self.data_folder / written  # written itself, where it is absolute
        return kept if kept.exists() else written
