"""scikit-learn's handwritten digits: 1,797 real scans of 8×8 pixels that come inside the package."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from weightdecay.lab.data.base import Data
from weightdecay.lab.data.images import Pictures
from weightdecay.lab.data.sizes import classes
from weightdecay.lab.data.split import SPLIT_SEED
from weightdecay.lab.run import Place, Run

USUAL = 1000
"""Scans of the training set where a run asks for no other number; of some classes as large a share of theirs."""


class Digits:
    """The scans, cut into training and test by what a run asks for."""

    digest = ""

    def data(self, run: Run, place: Place) -> Data:
        """Return ``train_size`` scans to train on, ``validation_size`` held out, and all the others for test."""
        wanted = run.train_size + run.validation_size if run.train_size else 0
        return pictures(wanted, classes(run)).data(run, place)


def scans() -> tuple[Tensor, Tensor]:
    """Return all scans, (n, 8, 8, 1) whole numbers from 0 to 16, and what they show.

    scikit-learn's file is read without scikit-learn, which takes as long to import as torch does.
    """
    found = find_spec("sklearn")
    folders = (found.submodule_search_locations if found else None) or []
    for file in (Path(folder, "datasets", "data", "digits.csv.gz") for folder in folders):
        if file.exists():
            rows = torch.from_numpy(np.loadtxt(file, dtype=np.uint8, delimiter=","))
            return rows[:, :-1].contiguous().view(-1, 8, 8, 1), rows[:, -1].long()
    from sklearn.datasets import load_digits

    raw = load_digits()
    return torch.as_tensor(raw.images).to(torch.uint8).unsqueeze(-1), torch.as_tensor(raw.target, dtype=torch.int64)


@lru_cache(maxsize=4)
def pictures(train_size: int, wanted: tuple[int, ...] = ()) -> Pictures:
    """Return a fixed split: the first ``train_size`` of a fixed order, and all the others for test; of some classes.

    For 0 the usual number is taken.
    Standardised by mean and deviation of the training pixels, which go from 0 to 16. Source: Alpaydin & Kaynak, Optical
    Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998; test part of it, as scikit-learn has it.
    Raises: ValueError, when nothing would be left for test.
    """
    images, labels = scans()
    share = USUAL / len(images)
    if wanted:
        among = torch.isin(labels, torch.tensor(wanted))
        images, labels = images[among], labels[among]
    train_size = train_size or round(share * len(images))
    if not 0 < train_size < len(images):
        there = f"{len(images)} scans{' of these classes' if wanted else ''}"
        raise ValueError(f"train_size={train_size}: digits has {there}, and some must be left for test.")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(SPLIT_SEED))
    train, test = order[:train_size], order[train_size:]
    seen = images[train].double()
    mean, deviation = (seen.mean().item(),), (seen.std().item(),)
    return Pictures(images[train], labels[train], images[test], labels[test], 10, mean, deviation, margin=0)


def load(name: str, place: Place) -> Digits:
    """Return the embedded scans."""
    return Digits()
