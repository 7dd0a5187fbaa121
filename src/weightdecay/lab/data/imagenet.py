"""ImageNet, which everybody has to bring: ``train/`` and ``val/`` in ``imagenet/`` of the folder of the data sets."""

from __future__ import annotations

from weightdecay.lab.data import stream
from weightdecay.lab.data.folder import scan
from weightdecay.lab.run import Place


def load(name: str, place: Place) -> stream.Photos:
    """Return the photos, with the mean and deviation that are customary. Raises: DataError, where they are missing."""
    return stream.Photos(scan(place.data_folder / "imagenet", tests=("val",)), stream.IMAGENET)
