"""What the tests of data sets share: a run, a place, and data small enough to compare number by number."""

import numpy as np
import torch
from PIL import Image

from weightdecay.lab.data.images import Pictures, moments
from weightdecay.lab.data.text import Words
from weightdecay.lab.run import Place, Run

RUN = Run("sgd", lr=0.1, weight_decay=0.0, seed=3, batch_size=16, dtype="float64")
HERE = Place(workers=0, download=False)


def pictures(n=50, size=8, channels=3, margin=4, tests=23):
    """Random images whose label is their index."""
    draw = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (n + tests, size, size, channels), dtype=torch.uint8, generator=draw)
    train, test = images.split([n, tests])
    return Pictures(train, torch.arange(n), test, torch.arange(tests), max(n, tests), *moments(train), margin)


def tokens(n=1000, tests=205):
    return Words(*(torch.arange(k) for k in (n, tests, tests)), tuple(map(str, range(n))))


def photos(folder, classes=2, each=4, size=None, tests="val"):
    """Write noisy photos of different sizes, one of them grey, by class."""
    draw = np.random.default_rng(0)
    for part, count in (("train", each), (tests, 2)):
        for name in "abcdefgh"[:classes]:
            (folder / part / name).mkdir(parents=True)
            for index in range(count):
                shape = size or (60 + 10 * index, 80, 3)
                pixels = draw.integers(0, 256, shape, dtype=np.uint8)
                if not size and index == 1:
                    pixels = pixels[..., 0]
                Image.fromarray(pixels).save(folder / part / name / f"{index}.png")
    return folder


def equal(a, b):
    return all(
        torch.equal(x.inputs, y.inputs) and torch.equal(x.targets, y.targets) and x[2:] == y[2:]
        for x, y in zip(a, b, strict=True)
    )
