"""Where a run is computed: what may differ between two computations of one run."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from weightdecay.checks import at_least, nearest, whole_at_least
from weightdecay.lab.run.settings import OPTION, SettingsError, as_settings

DEVICES = ("auto", "cpu", "cuda", "hpu", "mps", "mtia", "xla", "xpu")
"""What a device may be called, alone or with a number behind a colon. "auto" has none."""

DATA_FOLDER = "WEIGHTDECAY_DATA"
"""The environment variable that names the folder of the data sets."""


@dataclass(frozen=True)
class Place:
    """Device, process and folders. Nothing here decides a result but the last bits, which depend on the hardware."""

    device: str = "cpu"
    """Device: cpu, cuda, cuda:1, or auto, which is the GPU if there is one."""
    rank: int = 0
    """Number of this process among those of the run."""
    world: int = 1
    """How many processes train the run together."""
    data: Path | None = field(default=None, metadata={OPTION: "data_folder"})
    """Folder of the data sets, to which they are downloaded; left out, $WEIGHTDECAY_DATA or a folder of the cache."""
    download: bool = True
    """Download data sets that are not there."""
    workers: int = 2
    """Processes that decode images that do not fit into memory."""
    checkpoint_seconds: float = 20.0
    """Seconds between two checkpoints, or 100 times what one takes if that is more; 0 keeps one after every step."""
    keep_weights: bool = False
    """Keep the weights of a finished run, weights.pt, beside its result."""

    def __post_init__(self) -> None:
        kind, colon, number = self.device.partition(":")
        if kind not in DEVICES or (colon and (kind == "auto" or not number.isdecimal())):
            hint = " Did you mean 'cuda'?" if kind.lower() == "gpu" else nearest(kind, DEVICES)
            raise SettingsError(
                f"device={self.device!r} is not a device.{hint} Use auto (a GPU if there is one), cpu, cuda or cuda:1."
            )
        with as_settings():
            whole_at_least("workers", self.workers, 0, "With 0 this process decodes.")
            at_least("checkpoint_seconds", self.checkpoint_seconds, 0, "With 0 every step keeps a checkpoint.")

    @property
    def data_folder(self) -> Path:
        """Where data sets are looked for, and downloaded to."""
        if named := self.data or os.environ.get(DATA_FOLDER):
            return Path(named).expanduser()
        try:
            cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        except RuntimeError:  # no HOME, and a user id without a name, as in containers
            cache = Path(tempfile.gettempdir())
        return cache / "weightdecay" / "data"

    def find(self, path: str) -> Path:
        """Return where a path of a user's own data is: as it stands, or in the folder of the data sets.

        So a run may name its data without naming a machine.
        """
        written = Path(path).expanduser()
        kept = self.data_folder / written  # written itself, where it is absolute
        return kept if os.path.lexists(kept) else written


def broken_link(path: str | os.PathLike[str]) -> str:
    """Return what a link to nothing is, in words that follow its name; nothing for anything else."""
    if os.path.islink(path) and not os.path.exists(path):
        return f"is a link to {os.readlink(path)}, which does not exist. Mend the link, or remove it."
    return ""
