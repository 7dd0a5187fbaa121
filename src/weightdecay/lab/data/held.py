"""Folders of small images: decoded once, kept as bytes, and read back by every later run."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from weightdecay.lab.data.base import DataError
from weightdecay.lab.data.download import alone
from weightdecay.lab.data.folder import Folder, Part, opened
from weightdecay.lab.data.images import MARGIN, Pictures, moments
from weightdecay.lab.run import Place
from weightdecay.whole import written

LARGEST = 64
"""Pixels a side up to which images are held in memory."""

MOST_BYTES = 4 << 30
"""Decoded bytes up to which images are held in memory."""


class UnevenError(Exception):
    """An image has another size than the first one."""


def small(folder: Folder) -> bool:
    """Whether the images are for memory, judged by the first one of each class."""
    firsts = {label: index for index, label in reversed([*enumerate(folder.train.labels)])}
    sizes = {opened(folder.train.path(index), folder.train.read(index)).size for index in firsts.values()}
    width, height = next(iter(sizes))
    count = len(folder.train.labels) + len(folder.test.labels)
    return len(sizes) == 1 and width == height <= LARGEST and count * width * height * 3 <= MOST_BYTES


def load(folder: Folder, place: Place) -> Pictures:
    """Return the decoded images of a folder, from the cache in the folder of the data sets if they are there.

    The cache is known by the path and by names, sizes and times of all files, and carries a checksum: one that does not
    hold is made anew. The digest is over the names and the bytes of all files.
    Raises: UnevenError, for images of several sizes; DataError, for one that cannot be read.
    """
    key = hashlib.sha256(f"{folder.path.resolve()} {folder.state}".encode()).hexdigest()[:32]
    file = place.data_folder / "decoded" / f"{key}.pt"
    content = _kept(file) or _decoded_once(folder, file)
    mean, deviation = moments(content["train"])
    return Pictures(
        content["train"],
        torch.tensor(folder.train.labels),
        content["test"],
        torch.tensor(folder.test.labels),
        classes=len(folder.classes),
        mean=mean,
        deviation=deviation,
        margin=MARGIN,
        digest=content["digest"],
    )


def _decoded_once(folder: Folder, file: Path) -> dict[str, Any]:
    with ExitStack() as stack:
        with suppress(DataError):  # where nothing can be written there is nothing to wait for
            stack.enter_context(alone(file.parent, file.stem))
        content = _kept(file)
        if content is None:
            content = _decoded(folder)
            _keep(content, file)
        return content


def _decoded(folder: Folder) -> dict[str, Any]:
    digest = hashlib.sha256()
    size = opened(folder.train.path(0), folder.train.read(0)).size
    train, test = (_pixels(part, size, digest) for part in (folder.train, folder.test))
    return {"train": train, "test": test, "digest": digest.hexdigest(), "sha256": _checksum((train, test))}


def _pixels(part: Part, size: tuple[int, int], digest: Any) -> Tensor:
    import numpy as np

    pixels = torch.empty((len(part.names), size[1], size[0], 3), dtype=torch.uint8)
    into = pixels.numpy()
    for index, name in enumerate(part.names):
        content = part.read(index)
        image = opened(part.path(index), content)
        if image.size != size:
            raise UnevenError(part.path(index))
        into[index] = np.asarray(image)
        digest.update(f"{os.path.basename(part.root)}/{name} ".encode() + hashlib.sha256(content).digest())
    return pixels


def _checksum(tensors: Iterable[Tensor]) -> str:
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(f"{tuple(tensor.shape)}".encode())
        found.update(tensor.numpy().data)
    return found.hexdigest()


def _kept(file: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = torch.load(file, weights_only=True)
        return content if content["sha256"] == _checksum((content["train"], content["test"])) else None
    except FileNotFoundError:
        return None
    except Exception:  # damaged in whatever way: it is a copy, and made anew
        return None


def _keep(content: dict[str, Any], file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with written(file) as out:
            torch.save(content, out)
    except (OSError, RuntimeError) as error:
        warnings.warn(f"the decoded images could not be kept in {file}: {error}. They are decoded again.", stacklevel=2)
