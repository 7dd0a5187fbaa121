"""What the tests of networks share: the facts of data sets, and batches for them."""

import torch

from weightdecay.lab import models
from weightdecay.lab.data.base import Facts

CIFAR = Facts(classes=10, channels=3, size=32)
IMAGENET = Facts(classes=1000, channels=3, size=224)
DIGITS = Facts(classes=10, channels=1, size=8)
WORDS = Facts(classes=10_000)
FEW = Facts(classes=30)

IMAGES = tuple(name for name in models.names() if models.NETWORKS[name][1] == models.IMAGES)


def images(facts, n=2, seed=0):
    return torch.randn(n, facts.channels, facts.size, facts.size, generator=torch.Generator().manual_seed(seed))


def tokens(facts, time, n=2, seed=0):
    return torch.randint(facts.classes, (time, n), generator=torch.Generator().manual_seed(seed))


def facts_for(name, image=DIGITS):
    return image if name in IMAGES else FEW
