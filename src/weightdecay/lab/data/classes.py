"""A folder of images by class, ``images:PATH``."""

from __future__ import annotations

from weightdecay.lab.data import held, stream
from weightdecay.lab.data.folder import scan
from weightdecay.lab.data.images import Pictures
from weightdecay.lab.run import Place


def load(name: str, place: Place) -> Pictures | stream.Photos:
    """Return the images: held in memory if they are small and of one size, else read from the disk as they are needed.

    Raises: DataError, for a folder that is none or holds no classes.
    """
    found = scan(place.find(name.removeprefix("images:")))
    if held.small(found):
        try:
            return held.load(found, place)
        except held.UnevenError:
            pass  # the first images of the classes were alike, and a later one is not
    return stream.Photos(found)
