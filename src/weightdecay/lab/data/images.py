"""Small images: held in memory as bytes, cropped, flipped and standardised there, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from weightdecay.lab.data.base import Batch, Data, Facts
from weightdecay.lab.data.sizes import check, classes
from weightdecay.lab.data.split import CROPS, cut, even_steps, judged, shuffled, steps, wrong_labels
from weightdecay.lab.data.windows import Windows
from weightdecay.lab.run import ERROR, Place, Run
from weightdecay.lab.run.randomness import seed_of

EVALUATION = 1000
"""Images in a step of an evaluation, at most, over all processes."""

MARGIN = 4
"""Pixels around an image from which random crops are taken."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """A data set as it was found. Shapes: images (n, h, w, channels), uint8, on the CPU; labels (n,), int64.

    Units: ``mean`` and ``deviation`` are those of a channel's pixels in the training set, from 0 to 255. A ``margin``
    of 0 means that the images are never cropped nor flipped: a mirrored digit is no digit.
    """

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    classes: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    margin: int
    digest: str = ""

    def data(self, run: Run, place: Place) -> Data:
        """Return what a run learns from and is judged on."""
        check(run)
        pictures = _averaged(self, run.image_size) if run.image_size else self
        return Images(_of_classes(pictures, classes(run)) if run.classes else pictures, run, place)


class Images(Data):
    """Images in memory on the run's device.

    An epoch is one permutation and, with augmentation, one number per image: a crop of the frame of four black pixels
    around it, flipped or not. Both are functions of the seed and the epoch.
    """

    metric = ERROR

    def __init__(self, pictures: Pictures, run: Run, place: Place) -> None:
        check(run)
        self.run, self.place = run, place
        self.kept, self.held = cut(len(pictures.train_labels), run)
        _, size, _, channels = pictures.train_images.shape
        self.facts = Facts(classes=pictures.classes, channels=channels, size=size)
        device = torch.device(place.device)
        layout = run.channels_last, device
        self.windows = _windows(pictures, "train", pictures.margin if run.augment else 0, *layout)
        self.test_windows = _windows(pictures, "test", 0, *layout)
        noisy = wrong_labels(pictures.train_labels[self.kept], run.label_noise, pictures.classes, run.seed)
        self.labels = noisy.to(device)
        self.held_labels = pictures.train_labels[self.held].to(device)
        self.judged = judged(len(pictures.test_labels), run)
        self.test_labels = pictures.test_labels[self.judged].to(device)
        dtype = torch.float64 if run.dtype == "float64" else torch.float32
        self.mean = self.windows.along(pictures.mean, dtype)
        self.deviation = self.windows.along(pictures.deviation, dtype)

    @property
    def steps(self) -> int:
        """Steps in an epoch; the last batch is what is left."""
        return len(steps(len(self.kept), self.run.batch_size))

    @property
    def judging_steps(self) -> int:
        """Batches of test and validation."""
        return sum(len(even_steps(count, EVALUATION)) for count in (len(self.test_labels), len(self.held)))

    def train(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the epoch's batches from step ``start`` on."""
        order = shuffled(len(self.kept), self.run.seed, epoch)
        images = self.kept[order]
        if self.windows.margin:
            generator = torch.Generator().manual_seed(seed_of(CROPS, self.run.seed, epoch))
            starts = self.windows.drawn(images, generator)
        else:
            starts = self.windows.centred(images)
        labels = self.labels[order.to(self.labels.device)]
        yield from self._batches(self.windows, starts, labels, steps(len(order), self.run.batch_size)[start:])

    def test(self) -> Iterator[Batch]:
        """Yield the test set."""
        starts = self.test_windows.centred(self.judged)
        return self._batches(self.test_windows, starts, self.test_labels, even_steps(len(starts), EVALUATION))

    def validation(self) -> Iterator[Batch] | None:
        """Yield the examples held out, neither augmented nor relabelled."""
        if not len(self.held):
            return None
        starts = self.windows.centred(self.held)
        return self._batches(self.windows, starts, self.held_labels, even_steps(len(starts), EVALUATION))

    def _batches(
        self, windows: Windows, starts: Tensor, labels: Tensor, bounds: list[tuple[int, int]]
    ) -> Iterator[Batch]:
        starts = starts.to(labels.device)
        for low, high in bounds:
            part = slice(low + self.place.rank, high, self.place.world)
            inputs = windows.standardised(starts[part], self.mean, self.deviation)
            yield Batch(inputs, labels[part], high - low)


@lru_cache(maxsize=4)
def _averaged(pictures: Pictures, size: int) -> Pictures:
    """Return the data set in fewer pixels: each the mean of a square of them, rounded; the margin shrinks as they do.

    Raises: ValueError, for a size that does not divide the images'.
    """
    given = pictures.train_images.shape[1]
    if given % size:
        sizes = ", ".join(str(given // factor) for factor in range(1, given // 4 + 1) if given % factor == 0)
        raise ValueError(f"image_size={size} does not divide the images' {given} pixels per side. Use one of {sizes}.")
    train, test = (_shrunk(images, given // size) for images in (pictures.train_images, pictures.test_images))
    mean, deviation = moments(train)
    return replace(
        pictures,
        train_images=train,
        test_images=test,
        mean=mean,
        deviation=deviation,
        margin=-(-pictures.margin * size // given),
    )


@lru_cache(maxsize=4)
def _of_classes(pictures: Pictures, wanted: tuple[int, ...]) -> Pictures:
    """Return the images of these classes, numbered from 0 on; standardised as the whole data set is.

    Raises: ValueError, for a class that there is not.
    """
    if wanted[-1] >= pictures.classes:
        raise ValueError(f"classes: there is no class {wanted[-1]}; these images have {pictures.classes}, from 0 on.")
    number = torch.full((pictures.classes,), -1)
    number[list(wanted)] = torch.arange(len(wanted))
    parts = {}
    for part in ("train", "test"):
        labels = number[getattr(pictures, f"{part}_labels")]
        parts[f"{part}_images"] = getattr(pictures, f"{part}_images")[labels >= 0]
        parts[f"{part}_labels"] = labels[labels >= 0]
    return replace(pictures, **parts, classes=len(wanted))


def _shrunk(images: Tensor, factor: int) -> Tensor:
    n, h, w, channels = images.shape
    squares = images.view(n, h // factor, factor, w // factor, factor, channels)
    return torch.cat([part.float().mean((2, 4)).round().to(torch.uint8) for part in torch.split(squares, 4096)])


@lru_cache(maxsize=4)
def _windows(pictures: Pictures, part: str, margin: int, channels_last: bool, device: torch.device) -> Windows:
    """Several runs of one process share the memory."""
    images = pictures.train_images if part == "train" else pictures.test_images
    return Windows(images, margin, channels_last, device)


def moments(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and population deviation of each channel, exact: from the counts of the 256 values of a pixel.

    Shapes: images (n, h, w, channels), uint8.

    >>> moments(torch.tensor([0, 2, 4, 6], dtype=torch.uint8).view(1, 2, 1, 2))
    ((2.0, 4.0), (2.0, 2.0))
    """
    values = torch.arange(256, dtype=torch.float64)
    means, deviations = [], []
    for channel in range(images.shape[-1]):
        counts = torch.bincount(images[..., channel].reshape(-1), minlength=256).double()
        mean = (counts @ values / counts.sum()).item()
        variance = (counts @ (values - mean).square() / counts.sum()).item()
        means.append(mean)
        deviations.append(variance**0.5 or 1.0)  # a channel of one value only is left at zero
    return tuple(means), tuple(deviations)
