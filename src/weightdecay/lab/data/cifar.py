"""CIFAR-10 and CIFAR-100: 60,000 photos of 32×32 pixels, in torchvision's files."""

from __future__ import annotations

from typing import Any
from urllib.error import URLError

import torch

from weightdecay.lab.data.base import DataError
from weightdecay.lab.data.download import checked, where, whole
from weightdecay.lab.data.images import MARGIN, Pictures, moments
from weightdecay.lab.run import Place


def load(name: str, place: Place) -> Pictures:
    """Return the images, each file checked by its MD5 before it is read, for these files are pickles.

    They are looked for in ``cifar-10-batches-py`` or ``cifar-100-python`` in the folder of the data sets, and
    downloaded and unpacked there if they are not there. Source: Krizhevsky, Learning Multiple Layers of Features from
    Tiny Images, 2009.
    Raises: DataError.
    """
    from torchvision import datasets

    kind: Any = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    root = place.data_folder
    meta = kind.meta["filename"], kind.meta["md5"]
    files = {root / kind.base_folder / file: md5 for file, md5 in [*kind.train_list, *kind.test_list, meta]}
    archive = root / kind.filename

    def obtain() -> None:
        if archive.is_file():
            checked(archive, kind.tgz_md5, "md5")
        try:
            kind(root, download=True)
        except (URLError, OSError, RuntimeError, EOFError) as error:
            raise DataError(
                f"{name} could not be downloaded from {kind.url}: {error}. Run again with a network, or put "
                f"{kind.filename} into {root} yourself. {where(place)}"
            ) from error

    # An archive that lies there already is only unpacked.
    whole(files, obtain if place.download or archive.is_file() else None, place, name, "md5")
    train, test = kind(root, train=True), kind(root, train=False)
    images = torch.from_numpy(train.data)
    mean, deviation = moments(images)
    return Pictures(
        images,
        torch.tensor(train.targets),
        torch.from_numpy(test.data),
        torch.tensor(test.targets),
        classes=len(train.classes),
        mean=mean,
        deviation=deviation,
        margin=MARGIN,
    )
