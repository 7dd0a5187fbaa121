"""Files from elsewhere: fetched once, checked against a hash, and in place only when they are whole."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from weightdecay.lab.data.base import DataError
from weightdecay.lab.run.lock import awaited
from weightdecay.lab.run.place import DATA_FOLDER, Place
from weightdecay.whole import written

SECONDS = 30
"""How long a server may be silent."""

PIECE = 1 << 20


def where(place: Place) -> str:
    """Return the end of an error: which folder is searched, and who names it."""
    return f"The folder of the data sets is {place.data_folder}; the environment variable {DATA_FOLDER} names another."


def checked(path: Path, expected: str, kind: str = "sha256") -> Path:
    """Return the path of a file if it has that hash. Raises: DataError."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, kind).hexdigest()
    if found != expected:
        raise DataError(
            f"{path} ({path.stat().st_size:,} bytes) is damaged or another file: its {kind.upper()} is {found}, and "
            f"{expected} is expected. Delete it and run again, or put the right file there."
        )
    return path


def whole(
    paths: dict[Path, str], obtain: Callable[[], None] | None, place: Place, name: str, kind: str = "sha256"
) -> None:
    """Make sure that all the files are there, each with its hash; obtain them if none is, and that is allowed.

    Only one process obtains them while the others wait for it. A file that is there and wrong is never replaced: it may
    be somebody's work. Raises: DataError.
    """
    if not any(path.is_file() for path in paths):
        if obtain is None:
            raise DataError(
                f"{name} is not there: {min(paths)} is missing, and this run may not download. {where(place)}"
            )
        with alone(place.data_folder, name):
            if not any(path.is_file() for path in paths):
                obtain()
    for path, expected in paths.items():
        if not path.is_file():
            raise DataError(
                f"{path} is missing, though others of {name} are there. Put it there, or move the others away and "
                "run again to have all of them downloaded."
            )
        checked(path, expected, kind)


@contextmanager
def alone(folder: Path, name: str) -> Iterator[None]:
    """Let one process at a time in. Raises: DataError, where the folder cannot be written."""
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(awaited(folder / f".{name}.lock"))
        except OSError as error:
            raise DataError(
                f"{folder} cannot be written ({error.strerror or error}), and {name} is to be put there. "
                f"The environment variable {DATA_FOLDER} names another folder."
            ) from error
        yield


def fetch(urls: tuple[str, ...], target: Path, expected: str | None = None) -> None:
    """Download a file from the first address that has it; it is written aside and renamed when it is whole.

    Raises: DataError, which says what each address answered.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    answers = []
    for url in urls:
        aside = ""
        try:
            with written(target) as file, urllib.request.urlopen(url, timeout=SECONDS) as response:
                aside = file.name
                size = response.headers.get("Content-Length")
                shutil.copyfileobj(response, file, PIECE)
                if size is not None and file.tell() != int(size):
                    raise DataError(f"the transfer ended after {file.tell():,} of {int(size):,} bytes")
                file.flush()
                if expected:
                    checked(Path(aside), expected)
            return
        except (OSError, ValueError, DataError) as error:  # URLError is an OSError, a wrong address a ValueError
            answers.append(f"{url}: {str(error).replace(aside, 'what came') if aside else error}")
    raise DataError(
        f"{target.name} could not be downloaded. {'; '.join(answers)}. Run again with a network, or put the file into "
        f"{target.parent} yourself."
    )


class OutsideError(Exception):
    """A member of an archive leaves its folder."""


REFUSED = (OutsideError, *([tarfile.FilterError] if hasattr(tarfile, "FilterError") else []))


def _extract(tar: tarfile.TarFile, folder: Path) -> None:
    """Unpack every member inside the folder. Raises: one of :data:`REFUSED`."""
    if hasattr(tarfile, "data_filter"):
        tar.extractall(folder, filter="data")
        return
    for member in tar:  # Python before 3.11.4, as in Debian 12
        member.name = member.name.lstrip("/")
        if ".." in Path(member.name).parts or not (member.isreg() or member.isdir()):
            raise OutsideError(f"{member.name!r} is or may lead outside the destination")
        tar.extract(member, folder, set_attrs=False)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar archive into a new folder, all of it or nothing. No member of it can be written elsewhere.

    Raises: DataError, for an archive that is damaged or that has a member leaving its folder.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as aside:
        inside = Path(aside) / "inside"
        try:
            with tarfile.open(archive) as tar:
                _extract(tar, inside)
        except REFUSED as error:
            raise DataError(f"{archive} is refused, nothing of it was unpacked: {error}. Delete it.") from error
        except (tarfile.TarError, EOFError, OSError) as error:
            size = archive.stat().st_size if archive.exists() else 0
            raise DataError(
                f"{archive} ({size:,} bytes) cannot be unpacked: {error}. Delete it and run again."
            ) from error
        inside.replace(folder)
