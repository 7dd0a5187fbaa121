"""An optimizer with a decay: the name it is run under, and where its best λ is expected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from weightdecay import catalog
from weightdecay.decay import parse, spelled
from weightdecay.lab.run import Options, options
from weightdecay.lab.run.methods import METHODS, method, portable
from weightdecay.lab.run.settings import SettingsError
from weightdecay.lab.study.asked import without_module

LIKE_STABLE = ("stable", "elementwise")
"""Decays whose λ means what L2's means; that of the others but L2 and the next is multiplied by the lr."""

LIKE_VANILLA = ("vanilla", "independent", "logtime")
"""Decays whose λ is a fraction per step, whatever the peak of the lr."""

GAINLESS = ("sign", "orthogonal")
"""Families of optimizers whose update multiplies no gradient, so that a decay which reads the gain has no meaning."""

MATRICES_ONLY = {"muon": "muonadamw"}
"""Optimizers that move matrices only, and what moves the whole of a network: the lab's all have other tensors too."""


@dataclass(frozen=True)
class Member:
    """What is compared: ``optimizer`` as it is run, ``decay`` where that is not its own, ``asked`` as it was named."""

    optimizer: str
    decay: str = ""  # a text that every process understands
    variant: str = ""  # the decay, short, for a table
    asked: tuple[str, ...] = ()

    @property
    def base(self) -> str:
        """The optimizer that this one is at λ = 0, whatever its decay."""
        return method(self.optimizer).base

    @property
    def options(self) -> Options:
        """Of the optimizer's constructor."""
        return options(decay=self.decay) if self.decay else ()

    @property
    def kind(self) -> str:
        """What λ means: "l2", "stable", "decoupled" (times the lr), or "vanilla" (times the lr over its peak)."""
        own = method(self.optimizer)
        return _meaning(self.decay, own.family) if self.decay else own.decay

    def centre(self, lr: float, momentum: float) -> float:
        """Return where the best λ is expected, times the number of steps; see :class:`catalog.OptimizerRow`.

        For a decay other than the optimizer's own it is that of the optimizer's relative whose λ has the same meaning.
        Of a decay of a user's own nothing is known: it is taken for stable decay, or, on an optimizer without a gain,
        for a decoupled one, unless it is derived from one of ours.
        """
        own, kind = method(self.optimizer), self.kind
        row = _relative(own, "decoupled" if kind == "vanilla" else kind) if self.decay else own
        if kind not in ("decoupled", "vanilla"):
            return row.centre
        # Such a decay shrinks a weight by ηλ per step. λ_SGDW = λ_L2/(1 − β); the centre is for β = 0.9 and η = 0.1.
        share = row.centre * (0.1 / (1 - momentum) if row.base == "sgd" else 1.0)
        return share if kind == "vanilla" else share / lr


def members(optimizers: Iterable[str], decays: Iterable[str]) -> tuple[Member, ...]:
    """Return every optimizer with every decay, each once; with its own where no decay is named.

    Adam with stable decay is AdamS, and is run under that name; Muon is run as MuonAdamW; pairs without a meaning are
    left out, which :func:`remarks` tells. Raises: SettingsError, for an unknown name, with the nearest; for a decay
    that cannot be read.
    """
    asked = tuple(dict.fromkeys(decays)) or ("",)
    alike = Counter(map(without_module, asked))  # Mine of one module, and Mine of another
    found: dict[tuple[str, str], Member] = {}
    for word, decay in _meant(optimizers, asked):
        one = _member(word, decay, decay if alike[without_module(decay)] > 1 else "")
        found.setdefault((one.optimizer, one.decay), one)
    return tuple(found.values())


def remarks(optimizers: Iterable[str], decays: Iterable[str]) -> tuple[str, ...]:
    """Return what a person should know of the pairs: those that have no meaning are left out, and Muon is not alone."""
    words, asked = list(map(portable, optimizers)), tuple(dict.fromkeys(decays)) or ("",)
    said = [
        f"{method(word).title} moves matrices only: the runs are of {method(whole).title}, Adam for the other tensors."
        for word, whole in MATRICES_ONLY.items()
        if word in words
    ]
    meant = _meant(words, asked)
    for decay in asked:
        without = [method(_whole(word)).title for word in words if (_whole(word), decay) not in meant]
        if without:
            titles = " and ".join(dict.fromkeys(without))
            said.append(f"{decay} is left out for {titles}: it needs the gain of the update, and they have none.")
    return tuple(said)


def _meant(optimizers: Iterable[str], decays: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Return the pairs that have a meaning; all, where none has: then the first is refused with its reason."""
    pairs = tuple(dict.fromkeys((_whole(portable(word)), decay) for word in optimizers for decay in decays))
    return tuple(pair for pair in pairs if has_meaning(*pair)) or pairs


def _whole(optimizer: str) -> str:
    return MATRICES_ONLY.get(optimizer, optimizer)


def has_meaning(optimizer: str, decay: str) -> bool:
    """Whether the optimizer has what the decay reads. Of a user's own, which may have a gain, its class says it."""
    if not decay or optimizer not in catalog.BUILT_IN or method(optimizer).family not in GAINLESS:
        return True
    text, _ = readable(decay)
    if text in catalog.BUILT_IN:
        return text not in LIKE_STABLE
    return not parse(text).needs & {"gain", "mean_gain"}


def _member(optimizer: str, decay: str, variant: str) -> Member:
    names = (optimizer, *(word for word, whole in MATRICES_ONLY.items() if whole == optimizer))
    if not decay:
        return Member(optimizer, asked=names)
    base, text, short = method(optimizer).base, *readable(decay)
    for name, row in METHODS.items():
        if row.base == base and row.decay == text and name in catalog.BUILT_IN:
            return Member(name, asked=(decay.lower(), name, *names))
    return Member(base, text, variant or short, asked=(decay if ":" in decay else decay.lower(), base, *names))


def readable(decay: str) -> tuple[str, str]:
    """Return a decay as a text that every process understands, and a short one. Raises: SettingsError."""
    if decay.lower() in catalog.DECAYS and decay.lower() in catalog.BUILT_IN:
        return decay.lower(), decay.lower()
    try:
        text = spelled(parse(decay))
    except ValueError as error:
        raise SettingsError(f"--decays {decay}: {error}") from error
    if ":" in text:
        return text, without_module(decay)
    text = text if ":" in decay else decay
    return text, text


def _relative(row: catalog.OptimizerRow, decay: str) -> catalog.OptimizerRow:
    """Return the row of the nearest optimizer with that decay: of the same base, else of the same family."""
    known = [other for other in METHODS.values() if other.decay == decay]
    return next(
        (other for key in ("base", "family") for other in known if getattr(other, key) == getattr(row, key)), row
    )


def _meaning(decay: str, family: str) -> str:
    """Return what λ means to a decay: "l2", "stable", "decoupled" or "vanilla"."""
    name = decay
    if name not in catalog.BUILT_IN:
        rule = parse(decay)
        while hasattr(rule, "decay"):  # of a modifier: the decay inside
            rule = rule.decay
        ours = {row.cls: key for key, row in catalog.DECAYS.items() if key in catalog.BUILT_IN}
        name = next((ours[kind] for kind in type(rule).__mro__ if kind in ours), "")
    if not name:
        return "decoupled" if family in GAINLESS else "stable"
    if name in LIKE_STABLE:
        return "stable"
    if name in LIKE_VANILLA:
        return "vanilla"
    return name if name == "l2" else "decoupled"
