"""MNIST: 70,000 handwritten digits of 28×28 pixels, in their four IDX files."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.error import URLError

from weightdecay.lab.data.base import DataError
from weightdecay.lab.data.download import where, whole
from weightdecay.lab.data.images import Pictures, moments
from weightdecay.lab.run import Place

FILES = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
"""The files and their SHA-256, unpacked."""


def load(name: str, place: Place) -> Pictures:
    """Return the scans: never cropped nor flipped, standardised by the training pixels.

    The files may lie in the folder of the data sets itself, in its ``mnist``, or in ``MNIST/raw``, where torchvision
    puts them. Source: LeCun, Cortes & Burges, The MNIST database of handwritten digits, 1998.
    Raises: DataError.
    """
    from torchvision import datasets
    from torchvision.datasets.mnist import read_image_file, read_label_file

    kind: Any = datasets.MNIST
    root = place.data_folder
    usual = root / "MNIST" / "raw"
    folder = next((path for path in (root, root / "mnist", usual) if any((path / f).is_file() for f in FILES)), usual)

    def obtain() -> None:
        try:
            kind(root, download=True)
        except (URLError, OSError, RuntimeError, EOFError) as error:
            reason = " ".join(str(error).split())
            raise DataError(
                f"{name} could not be downloaded: {reason}. Run again with a network, or put the four files "
                f"{', '.join(FILES)} into {root / 'mnist'} yourself. {where(place)}"
            ) from error

    whole({folder / file: sha for file, sha in FILES.items()}, obtain if place.download else None, place, name)
    train, train_labels, test, test_labels = (_read(folder, f, read_image_file, read_label_file) for f in FILES)
    mean, deviation = moments(train)
    return Pictures(train, train_labels, test, test_labels, 10, mean, deviation, margin=0)


def _read(folder: Path, file: str, images: Any, labels: Any) -> Any:
    return images(str(folder / file)).unsqueeze(-1) if "images" in file else labels(str(folder / file))
