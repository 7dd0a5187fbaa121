"""Large photos: decoded, cropped and resized by worker processes while the network learns from those before."""

from __future__ import annotations

import atexit
import contextlib
import math
import os
import signal
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from weightdecay.lab.data.base import Batch, Data, DataError, Facts
from weightdecay.lab.data.folder import Folder, Part, opened
from weightdecay.lab.data.images import moments
from weightdecay.lab.data.layout import format_of
from weightdecay.lab.data.sizes import check
from weightdecay.lab.data.split import CROPS, cut, even_steps, judged, shuffled, steps, wrong_labels
from weightdecay.lab.run import ERROR, Place, Run
from weightdecay.lab.run.randomness import seed_of

SIZE, RESIZED = 224, 256
AREA, ASPECT = (0.08, 1.0), (3 / 4, 4 / 3)

IMAGENET = (0.485 * 255, 0.456 * 255, 0.406 * 255), (0.229 * 255, 0.224 * 255, 0.225 * 255)
"""ImageNet's usual mean and deviation of a channel."""

SAMPLE = 256
"""Training images from which another folder's mean and deviation are computed: as many, at even distances."""

GRACE = 10.0
"""Seconds that a worker goes on after SIGTERM, so that the step which waits for it can end."""

WISHES = (signal.SIGINT, signal.SIGTERM)

OPEN: WeakSet[Generator[Batch, None, None]] = WeakSet()
"""Epochs under way, whose workers are sent home when the program ends: what ends them otherwise is SIGTERM."""


@atexit.register
def _close() -> None:
    for batches in list(OPEN):
        batches.close()


Corner = tuple[int, int, int, int]
"""Top, left, height and width of a crop."""


@dataclass(frozen=True, eq=False)
class Photos:
    """A folder of images by class, to be streamed."""

    folder: Folder
    usual: tuple[tuple[float, ...], tuple[float, ...]] | None = None  # mean and deviation where they are customary

    @property
    def digest(self) -> str:
        """Over names and sizes only: a million files shall not be read to start a run."""
        return self.folder.listing

    @cached_property
    def moments(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and deviation of a channel, from 0 to 255."""
        if self.usual:
            return self.usual
        count = len(self.folder.train.names)
        chosen = sorted({count * i // SAMPLE for i in range(SAMPLE)})
        view = View(self.folder.train)
        return moments(torch.stack([view.pixels(index) for index in chosen]).permute(0, 2, 3, 1))

    def data(self, run: Run, place: Place) -> Data:
        """Return what a run learns from and is judged on."""
        return Stream(self, run, place)


def drawn(height: int, width: int, seed: int) -> tuple[Corner, bool]:
    """Return a random crop and whether to mirror it, a function of the seed alone.

    The area is drawn evenly from 0.08 to 1 of the image's, the aspect evenly in its logarithm from 3/4 to 4/3, ten
    times at most until one fits; else it is the middle, cut to the nearest aspect that is allowed. Source: Szegedy et
    al., Going deeper with convolutions, 2015, as in torchvision's RandomResizedCrop, which draws from global state.

    >>> drawn(100, 400, seed=3) == drawn(100, 400, seed=3)
    True
    """
    numbers = torch.rand(41, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).tolist()
    mirrored = numbers[40] < 0.5
    low, high = (math.log(aspect) for aspect in ASPECT)
    for area, aspect, down, right in zip(*(numbers[i:40:4] for i in range(4)), strict=True):
        target = height * width * (AREA[0] + (AREA[1] - AREA[0]) * area)
        ratio = math.exp(low + (high - low) * aspect)
        w, h = round(math.sqrt(target * ratio)), round(math.sqrt(target / ratio))
        if 0 < w <= width and 0 < h <= height:
            return (int(down * (height - h + 1)), int(right * (width - w + 1)), h, w), mirrored
    w, h = min(width, round(height * ASPECT[1])), min(height, round(width / ASPECT[0]))
    return ((height - h) // 2, (width - w) // 2, h, w), mirrored


@dataclass(frozen=True, eq=False)
class View(Dataset[Any]):
    """Images as a network sees them. ``seeds`` are (seed, epoch) of a random crop; empty: the middle of each image."""

    part: Part
    seeds: tuple[int, ...] = field(default=())

    def __getitem__(self, index: int) -> Tensor | DataError:
        try:
            return self.pixels(index)
        except DataError as error:
            return error  # as a value: raised in a worker, it would come as a page of traceback

    def pixels(self, index: int) -> Tensor:
        """Return an image. Shape: (3, 224, 224), uint8."""
        from torchvision.transforms import v2

        image: Any = opened(self.part.path(index), self.part.read(index))
        f = v2.functional
        if self.seeds:
            corner, mirrored = drawn(image.height, image.width, seed_of(CROPS, *self.seeds, index))
            image = f.resized_crop(image, *corner, size=[SIZE, SIZE])
            image = f.horizontal_flip(image) if mirrored else image
        else:
            image = f.center_crop(f.resize(image, [RESIZED]), [SIZE, SIZE])
        pixels: Tensor = f.pil_to_tensor(image)
        return pixels


@dataclass(frozen=True)
class Steps:
    """The images of each step that this process takes: a sampler of batches."""

    order: Tensor
    bounds: list[tuple[int, int]]
    place: Place

    def __iter__(self) -> Iterator[list[int]]:
        for low, high in self.bounds:
            yield self.order[low + self.place.rank : high : self.place.world].tolist()

    def __len__(self) -> int:
        return len(self.bounds)


def together(images: list[Tensor | DataError]) -> Tensor | DataError:
    """Return a batch, or the first error in it. Shape: (n, 3, 224, 224), also for n = 0."""
    for image in images:
        if isinstance(image, DataError):
            return image
    return torch.stack(images) if images else torch.empty((0, 3, SIZE, SIZE), dtype=torch.uint8)  # type: ignore[arg-type]


def steady(worker: int) -> None:
    """Let a worker outlive the signals that reach a whole group of processes: the run's own process answers them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.setitimer(signal.ITIMER_REAL, GRACE))
    signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, WISHES)


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Let signals wait: a worker begins with that, so none that is not yet ``steady`` dies of a Ctrl-C."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, WISHES)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Stream(Data):
    """Photos, read anew in every epoch. The crop of an image is a function of (seed, epoch, index) alone."""

    metric = ERROR

    def __init__(self, photos: Photos, run: Run, place: Place) -> None:
        check(run)
        if run.classes:
            raise ValueError(f"classes={run.classes!r}: these photos are not held in memory. Make a folder of them.")
        if run.image_size:
            raise ValueError(f"image_size={run.image_size}: photos are cut to {SIZE} pixels per side. Leave it at 0.")
        self.photos, self.run, self.place = photos, run, place
        self.device = torch.device(place.device)
        folder, classes = photos.folder, len(photos.folder.classes)
        self.facts = Facts(classes=classes, channels=3, size=SIZE)
        labels = torch.tensor(folder.train.labels)
        self.kept, self.held = cut(len(labels), run)
        self.judged = judged(len(folder.test.labels), run)
        self.labels, self.test_labels = labels.clone(), torch.tensor(folder.test.labels)
        self.labels[self.kept] = wrong_labels(labels[self.kept], run.label_noise, classes, run.seed)
        dtype = torch.float64 if run.dtype == "float64" else torch.float32
        self.mean, self.deviation = (
            torch.tensor(values, dtype=torch.float64).to(self.device, dtype).view(-1, 1, 1) for values in photos.moments
        )

    @property
    def steps(self) -> int:
        """Steps in an epoch; the last batch is what is left."""
        return len(steps(len(self.kept), self.run.batch_size))

    @property
    def judging_steps(self) -> int:
        """Batches of test and validation."""
        return sum(len(even_steps(count, self.run.batch_size)) for count in (len(self.judged), len(self.held)))

    def train(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the epoch's batches from step ``start`` on."""
        order = self.kept[shuffled(len(self.kept), self.run.seed, epoch)]
        bounds = steps(len(order), self.run.batch_size)[start:]
        view = View(self.photos.folder.train, (self.run.seed, epoch) if self.run.augment else ())
        return self._batches(view, self.labels, order, bounds)

    def test(self) -> Iterator[Batch]:
        """Yield the middle of every test image."""
        bounds = even_steps(len(self.judged), self.run.batch_size)
        return self._batches(View(self.photos.folder.test), self.test_labels, self.judged, bounds)

    def validation(self) -> Iterator[Batch] | None:
        """Yield the middle of every image held out."""
        if not len(self.held):
            return None
        bounds = even_steps(len(self.held), self.run.batch_size)
        return self._batches(View(self.photos.folder.train), self.labels, self.held, bounds)

    def _batches(self, view: View, labels: Tensor, order: Tensor, bounds: list[tuple[int, int]]) -> Iterator[Batch]:
        batches = self._read(view, labels, order, bounds)
        OPEN.add(batches)
        return batches

    def _read(
        self, view: View, labels: Tensor, order: Tensor, bounds: list[tuple[int, int]]
    ) -> Generator[Batch, None, None]:
        sampler = Steps(order, bounds, self.place)
        loader: DataLoader[Any] = DataLoader(
            view,
            batch_sampler=sampler,
            num_workers=self.place.workers,
            collate_fn=together,
            generator=torch.Generator(),  # its own: else the loader draws from the global one
            worker_init_fn=steady,
            pin_memory=self.device.type == "cuda",
        )
        with held_back() if self.place.workers else contextlib.nullcontext():
            batches = iter(loader)
        try:
            for images, indices, (low, high) in zip(batches, sampler, bounds, strict=True):
                if isinstance(images, DataError):
                    raise images
                targets = labels[indices].to(self.device, non_blocking=True)
                yield Batch(self._standardised(images), targets, high - low)
        finally:
            # An error's traceback would hold it, and whatever freed it later would wait for its workers, in vain where
            # their pipes were freed first.
            del batches

    def _standardised(self, images: Tensor) -> Tensor:
        pixels = images.to(self.device, non_blocking=True).to(self.mean.dtype, memory_format=format_of(self.run))
        return pixels.sub_(self.mean).div_(self.deviation)
