"""Four scales of one experiment: the paper's own, two that a CPU can compute, and one to see that it runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from weightdecay.lab.run import Run, options
from weightdecay.lab.run.settings import SettingsError

EPOCHS = 200
"""Of the paper's training, if an experiment says no other number."""


@dataclass(frozen=True)
class Setting:
    """A network and its data, at one scale: what the paper calls "ResNet18, CIFAR-10", or what stands for it here.

    ``run`` holds the fields of a run that are the same for all; optimizer, lr, λ and seed are put in later.
    ``epochs`` is what the paper's 200 are here; ``stretch`` is how many times fewer steps there are, so that
    λ × stretch is the paper's λ here (λ ∝ 1/steps).
    """

    network: str  # as the paper says it: "ResNet18"
    data: str  # "CIFAR-10"
    words: str  # what is run
    run: Mapping[str, Any]
    epochs: int
    stretch: float
    classes: int | None = 10
    test_size: int | None = None
    train_size: int | None = None  # examples, where an epoch is a pass over examples
    reference_batch: int = 128  # of which the paper's 16,384 is 128 times

    @property
    def name(self) -> str:
        """Short, for a file or a heading."""
        return f"{self.network} on {self.data}"

    def at(self, weight_decay: float) -> float:
        """Return what stands for the paper's λ here, in one digit, that a grid may hold it too.

        >>> CPU["ResNet18, CIFAR-10"].at(5e-4)
        0.1
        """
        return weight_decay if self.stretch == 1 else float(f"{weight_decay * self.stretch:.0e}")

    @property
    def large_batch(self) -> int:
        """What the paper's batch of 16,384 is here."""
        return 128 * self.reference_batch

    def at_reference(self, weight_decay: float) -> float:
        """Return what stands for the paper's λ in a training with the reference batch: λ ∝ batch (the paper's Rule 2).

        >>> CPU["ResNet18, CIFAR-10"].at_reference(5e-4)
        0.003
        """
        return float(f"{self.stretch * weight_decay * self.reference_batch / self.run['batch_size']:.0e}")

    def lasting(self, epochs: float) -> int:
        """Return how many epochs stand for so many of the paper's."""
        return max(1, round(epochs * self.epochs / EPOCHS))

    def lasting_words(self, epochs: float) -> str:
        """Return the same in words: "1 epoch", "24 epochs"."""
        count = self.lasting(epochs)
        return f"{count} epoch{'s' if count > 1 else ''}"

    def base(self, **changes: Any) -> Run:
        """Return a run of this setting, the changes applied; lr, λ, optimizer and seed must be among them."""
        return Run(**{"epochs": self.epochs, **self.run, **changes})


@dataclass(frozen=True)
class Scale:
    """All settings at one scale, by the paper's words, and how thoroughly a question is asked.

    Every cell is run with the ``first`` seeds, and those near the best of their curve with all ``seeds``: see
    :mod:`race`. ``thin`` leaves every grid no more than its ends, to prove that it runs.
    """

    name: str
    seeds: int
    settings: Mapping[str, Setting]
    first: int
    thin: bool = False

    def setting(self, words: str) -> Setting:
        """Return what the paper's "ResNet18, CIFAR-10" is at this scale."""
        return self.settings[words]

    def grid(self, values: tuple[float, ...]) -> tuple[float, ...]:
        """Return the values, or the first and the last of them."""
        return (values[0], values[-1]) if self.thin and len(values) > 2 else values

    def with_data(self, given: Mapping[str, str]) -> Scale:
        """Return the scale with other data in place of some, as in ``{"cifar10": "images:cifar10-jpeg"}``.

        Raises: SettingsError, for data that it does not use.
        """
        used = {setting.run["data"] for setting in self.settings.values()}
        for name in given:
            if name not in used:
                raise SettingsError(f"--data {name}={given[name]}: {name!r} is not used at scale {self.name}. "
                                    f"Used: {', '.join(sorted(used))}.")  # fmt: skip
        changed = {}
        for words, setting in self.settings.items():
            other = given.get(setting.run["data"])
            changed[words] = setting if other is None else replace(
                setting, run={**setting.run, "data": other}, words=f"{setting.words}, read from {_short(other)}"
            )  # fmt: skip
        return replace(self, settings=changed)

    def held_out(self, examples: int) -> Scale:
        """Return the scale with so many examples held out for validation where a setting holds out none of its own."""
        return replace(
            self,
            settings={
                words: setting
                if setting.run.get("validation_size") or setting.train_size is None
                else replace(setting, run={**setting.run, "validation_size": examples})
                for words, setting in self.settings.items()
            },
        )


def _short(data: str) -> str:
    """Return the name of data without the folders it lies in: they are this machine's."""
    kind, colon, path = data.partition(":")
    return kind + colon + path.rstrip("/").rpartition("/")[2]


def _paper() -> dict[str, Setting]:
    def images(network: str, kind: str, data: str, classes: int, milestones: tuple[float, float]) -> Setting:
        name = data.lower().replace("-", "")
        run = {"network": kind, "data": name, "batch_size": 128, "milestones": milestones}
        return Setting(network, data, f"{network} on {data}", run, EPOCHS, 1.0, classes, 10_000, 50_000)

    ten = (("ResNet18", "resnet18"), ("VGG16", "vgg16"), ("VGG16 without norm", "vgg16plain"))
    hundred = (("ResNet34", "resnet34"), ("DenseNet121", "densenet121"), ("GoogLeNet", "googlenet"))
    found = [images(network, kind, "CIFAR-10", 10, (0.4, 0.8)) for network, kind in ten]
    found += [images(network, kind, "CIFAR-100", 100, (0.5, 0.75)) for network, kind in hundred]
    imagenet = {"network": "resnet50", "data": "imagenet", "batch_size": 256, "milestones": (1 / 3, 2 / 3)}
    found.append(Setting("ResNet50", "ImageNet", "ResNet50 on ImageNet", imagenet, 90, 1.0, 1000, 50_000, 1_281_167))
    text = {"data": "ptb", "batch_size": 20, "sequence": 35, "max_grad_norm": 1.0}
    for network, kind in (("LSTM", "lstm"), ("Transformer", "transformer")):
        run = {**text, "network": kind, "schedule": "step", "milestones": (0.5, 0.75)}
        found.append(Setting(network, "Penn Treebank", f"{network} on Penn Treebank", run, EPOCHS, 1.0, None))
    return {f"{one.network}, {one.data}": one for one in found}


def _small() -> dict[str, Setting]:
    """Choose data that can be learned by heart, since what weight decay does to errors shows there: wrong labels."""
    noisy = {"label_noise": 0.2, "augment": False, "train_size": 1000, "validation_size": 500, "batch_size": 64}
    mnist = {**noisy, "data": "mnist", "image_size": 14, "test_size": 2000, "network": "smallcnn"}
    mnist["network_options"] = options(width=16)
    said = "1,000 scans of MNIST averaged to 14 × 14 pixels, 20 % of the training labels wrong"
    steps = 24 * math.ceil(1000 / 64)
    stretch = 200 * math.ceil(50_000 / 128) / steps  # 204
    plain = Setting(
        "three convolutions with batch norm", "MNIST", f"three convolutions with batch norm (width 16) on {said}",
       mnist, 24, stretch, 10, 2000, 1000, 2,
    )  # fmt: skip
    bare = replace(
        plain,
        network="three convolutions without norm",
        words=f"three convolutions without any norm (width 16) on {said}",
        run={**mnist, "network_options": options(width=16, norm=False)},
    )
    digits = {**noisy, "data": "digits", "network": "resnet8", "network_options": options(width=16)}
    digits |= {"milestones": (0.5, 0.75), "validation_size": 200}
    residual = Setting(
        "ResNet-8", "digits", "ResNet-8 (width 16) on 1,000 of scikit-learn’s digits, 20 % of the labels wrong",
        digits, 24, stretch, 10, 597, 1000, 2,
    )  # fmt: skip
    text = {
        "data": "ptb", "batch_size": 20, "sequence": 35, "max_grad_norm": 1.0, "train_size": 28_000,
        "test_size": 7000, "milestones": (0.5, 0.75),
    }  # fmt: skip
    part = "the first 28,000 words of Penn Treebank"
    # The paper's 1,327 steps per epoch for 200 epochs, against 40 for 12.
    shorter = 200 * 1327 / (12 * 40)
    lstm = Setting(
        "LSTM", "Penn Treebank", f"LSTM (2 layers of 64) on {part}",
        {**text, "network": "lstm", "network_options": options(embedding=64, hidden=64)}, 12, shorter, None,
    )  # fmt: skip
    transformer = Setting(
        "Transformer", "Penn Treebank", f"Transformer (2 blocks of 64) on {part}",
        {**text, "network": "transformer", "network_options": options(embedding=64, heads=2, layers=2)},
        12, shorter, None,
    )  # fmt: skip
    return _standing_for(plain, bare, residual, lstm, transformer)


def _medium() -> dict[str, Setting]:
    """Choose photos and text on which decay still matters, and no more epochs than it takes to see that.

    At 32 × 32 pixels, ten epochs of a ResNet-8 of width 8 do not overfit (one seed of AdamS: 44.0 % wrong with the
    paper's λ, 43.3 % without). Averaged to 16 × 16, twice the width takes a third less time, and decay is worth
    something in as many epochs (one seed, 4,000 test images: 45.2 % against 46.7 %). 20 % of the labels of ResNet-8
    are wrong, those of ResNet-20 are clean.
    """
    photos = {
        "data": "images:cifar10-jpeg", "image_size": 16, "train_size": 10_000, "validation_size": 1000,
        "test_size": 10_000, "batch_size": 50, "augment": False, "network_options": options(width=16),
    }  # fmt: skip
    full = 200 * math.ceil(50_000 / 128)
    said = "10,000 images of CIFAR-10 (JPEG) averaged to 16 × 16 pixels, not augmented"
    plain = Setting(
        "ResNet-8", "CIFAR-10 (JPEG)", f"ResNet-8 (width 16) on {said}, 20 % of the training labels wrong",
        {**photos, "network": "resnet8", "label_noise": 0.2}, 10, full / 2000, 10, 10_000, 10_000, 4,
    )  # fmt: skip
    bare = replace(
        plain,
        network="three convolutions without norm",
        words=plain.words.replace("ResNet-8", "three convolutions without any norm"),
        run={**plain.run, "network": "smallcnn", "network_options": options(width=16, norm=False)},
    )
    residual = Setting(
        "ResNet-20", "CIFAR-10 (JPEG)", f"ResNet-20 (width 16) on {said}",
        {**photos, "network": "resnet20", "milestones": (0.5, 0.75)}, 8, full / 1600, 10, 10_000, 10_000, 4,
    )  # fmt: skip
    text = {
        "data": "ptb", "batch_size": 20, "sequence": 35, "max_grad_norm": 1.0, "train_size": 70_000,
        "test_size": 20_000, "milestones": (0.5, 0.75),
    }  # fmt: skip
    part = "the first 70,000 words of Penn Treebank"
    shorter = 200 * 1327 / (8 * 100)  # the paper's 1,327 steps per epoch for 200 epochs, against 100 for 8
    lstm = Setting(
        "LSTM", "Penn Treebank", f"LSTM (2 layers of 128) on {part}",
        {**text, "network": "lstm", "network_options": options(embedding=128, hidden=128)}, 8, shorter, None,
    )  # fmt: skip
    of_blocks = {"network": "transformer", "network_options": options(embedding=128, heads=2, layers=2)}
    transformer = replace(
        lstm, network="Transformer", words=f"Transformer (2 blocks of 128) on {part}", run={**text, **of_blocks}
    )
    return _standing_for(plain, bare, residual, lstm, transformer)


def _smoke() -> dict[str, Setting]:
    """Choose what is learned in a tenth of a second, on data that is part of what is installed."""
    tiny = {
        "data": "digits", "train_size": 32, "validation_size": 32, "test_size": 50, "batch_size": 8,
        "network": "smallcnn",
    }  # fmt: skip
    stretch = 200 * math.ceil(50_000 / 128) / 8
    plain = Setting(
        "a small network", "digits", "three convolutions (width 4) on 32 digits",
        {**tiny, "network_options": options(width=4)}, 2, stretch, 10, 50, 32, 1,
    )  # fmt: skip
    bare = replace(
        plain,
        network="a small network without norm",
        words="three convolutions without norm (width 4) on 32 digits",
        run={**tiny, "network_options": options(width=4, norm=False)},
    )
    text = {
        "data": "pydoc", "train_size": 600, "test_size": 60, "batch_size": 10, "sequence": 20, "max_grad_norm": 1.0,
        "network": "lstm", "network_options": options(embedding=4, hidden=4),
    }  # fmt: skip
    lstm = Setting("LSTM", "Python’s help", "LSTM (2 layers of 4) on 600 words", text, 2, stretch, None)
    of_blocks = {**text, "network": "transformer", "network_options": options(embedding=4, heads=1, layers=1)}
    transformer = replace(lstm, network="Transformer", words="Transformer (one block of 4) on 600 words", run=of_blocks)
    return _standing_for(plain, bare, plain, lstm, transformer)


def _standing_for(
    plain: Setting, bare: Setting, residual: Setting, lstm: Setting, transformer: Setting
) -> dict[str, Setting]:
    """Return what stands for each of the paper's settings: CIFAR-10's is one, CIFAR-100's and ImageNet's another."""
    ten = dict.fromkeys(("ResNet18, CIFAR-10", "VGG16, CIFAR-10"), plain)
    hundred = dict.fromkeys((f"{name}, CIFAR-100" for name in ("ResNet34", "DenseNet121", "GoogLeNet")), residual)
    return {
        **ten,
        "VGG16 without norm, CIFAR-10": bare,
        **hundred,
        "ResNet50, ImageNet": residual,
        "LSTM, Penn Treebank": lstm,
        "Transformer, Penn Treebank": transformer,
    }


CPU = _small()

SCALES = {
    "paper": Scale("paper", 3, _paper(), first=3),
    "medium": Scale("medium", 5, _medium(), first=2),
    "small": Scale("small", 3, CPU, first=3),
    "smoke": Scale("smoke", 2, _smoke(), first=2, thin=True),
}


def scale(name: str) -> Scale:
    """Return the scale of that name. Raises: SettingsError, with the nearest."""
    if name not in SCALES:
        from weightdecay.checks import unknown

        raise SettingsError(unknown("scale", name, SCALES))
    return SCALES[name]
