"""Another optimizer or another decay: every λ that corresponds to the old one, and how far it does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from weightdecay.transfer.conversion import (
    CONSTANT_LR,
    CONVENTION,
    EXACT,
    GAINLESS,
    SAME_MINIMUM,
    STRENGTH,
    Conversion,
    convert,
)
from weightdecay.transfer.domain import computed, non_negative, positive, scaled
from weightdecay.transfer.rule import SIZES, Change, Kept, Rule
from weightdecay.transfer.setting import Setting

SAME_PULL, SAME_MEANING = "same pull", "same meaning of λ"
"""What a λ can promise between algorithms that never walk one path, beside the promises of a conversion."""

PAPER = "arXiv:2011.11152"

LION_FACTORS = (3.0, 10.0)
"""The range of Lion's source: how many times smaller its lr is than AdamW's."""


def lion_from_adamw(lr: float, weight_decay: float, factor: float) -> tuple[float, float]:
    r"""Lion's lr and λ from those of AdamW: the steps are signs and longer than Adam's, so the lr is smaller.

    .. math:: \eta' = \eta / f, \qquad \lambda' = f\,\lambda

    The rule keeps the pull ηλ exactly. The weights nevertheless settle at another norm; ``theory.equilibrium`` has
    both. The factor 1/f leads back.

    Range:  f from 3 to 10, as its authors found over their tasks; the best value has to be measured. By the same
            source Lion's gain over AdamW grows with the batch.
    Units:  λ is that of ``Decoupled``.
    Raises: ValueError, for an lr or factor that is not above 0, or a negative λ.
    Source: Chen et al. 2023, arXiv:2302.06675, Section 5.

    >>> lion_from_adamw(1e-3, 0.125, 4)
    (0.00025, 0.5)
    """
    lr, factor = positive(lr=lr, factor=factor)
    (weight_decay,) = non_negative(weight_decay=weight_decay)
    return computed("lr", lr / factor), scaled("weight_decay", weight_decay, factor)


LION = Rule(
    name="AdamW → Lion",
    about="algorithm",
    change="AdamW → Lion, f from 3 to 10",
    lr="/ f",
    weight_decay="× f",
    kept="pull",
    measured="the tasks of its authors",
    sources=("arXiv:2302.06675",),
    function=lion_from_adamw,
    applies=lambda c: {c.old.family, c.new.family} == {"adam", "sign"} and not c.lr_is_given,
    doubts=lambda c: ["by its authors Lion's lr is 3 to 10 times smaller, at the same lr · λ; measure both ends"],
)


@dataclass(frozen=True)
class Exchange:
    """The old setting under the new optimizer."""

    setting: Setting
    rule: str
    kept: Kept
    sources: tuple[str, ...]
    doubts: tuple[str, ...]


def exchanges(c: Change) -> Iterator[Exchange]:
    """Yield what the old setting is under the new optimizer and decay, in every way that there is.

    The new setting has the lr. From AdamW's relatives to Lion and back, where nobody gave one, :data:`LION` has it.
    """
    old = c.old
    there = replace(c.new, **{name: getattr(old, name) for name in SIZES})
    if LION.applies(c):
        for times in LION_FACTORS:
            factor = times if c.new.family == "sign" else 1 / times
            lr, _ = lion_from_adamw(old.lr, old.weight_decay, factor)
            words = f"lr {'/' if factor > 1 else '×'} {times:g}, "
            yield from _exchanged(old, replace(there, lr=lr), words, LION.sources, tuple(LION.doubts(c)))
        return
    keeps_lr = c.knows_lr or _walk_together(old, there)
    doubts = () if keeps_lr else ("another algorithm; the lr is not converted, because no rule converts it",)
    yield from _exchanged(old, there, "", (), doubts)


def _exchanged(
    old: Setting, there: Setting, words: str, sources: tuple[str, ...], doubts: tuple[str, ...]
) -> Iterator[Exchange]:
    for found in _ways(old, there):
        setting = replace(there, weight_decay=found.weight_decay)
        rule = f"{old.name} → {there.name}, {words}{found.holds}"
        said = doubts if found.holds == EXACT else (found.why, *doubts)
        origin = sources if found.holds == SAME_PULL else (PAPER, *sources)
        yield Exchange(setting, rule, _kept(old, setting, found.holds), origin, said)


def _ways(old: Setting, there: Setting) -> Iterator[Conversion]:
    """Yield the conversions; two for Adam's stable decay, whose v̄ was measured but whose paper has a convention."""
    if old.method != there.method:
        yield _between(old, there)
        return
    found = convert(
        old.weight_decay,
        old.meaning,
        there.meaning,
        lr=old.lr,
        family=old.family,
        gain=old.gain,
        momentum=old.momentum,
    )
    yield found
    if old.family == "adam" and old.gain is not None and found.holds not in (CONVENTION, EXACT):
        again = convert(old.weight_decay, old.meaning, there.meaning, lr=old.lr)
        if again.holds == CONVENTION:
            yield again


def _between(old: Setting, there: Setting) -> Conversion:
    """Return what λ is under another algorithm."""
    families = {old.family, there.family}
    through = _from_l2(_as_l2(old), there)
    if _walk_together(old, there):
        found = convert(
            old.weight_decay, old.meaning, there.meaning, lr=old.lr, family="sgd", gain=old.gain, momentum=old.momentum
        )
        follows = "tensorflowsgd" not in (old.method, there.method) or old.momentum == 0
        if follows or STRENGTH[found.holds] > STRENGTH[CONSTANT_LR]:
            return found
        return replace(found, holds=CONSTANT_LR, why="TensorFlow's buffer keeps the lr of the steps that filled it")
    if not families & {"adam", *GAINLESS}:
        why = "the regularised loss has one minimum for both; another algorithm takes another path to it"
        if "vanilla" in (old.meaning, there.meaning):
            why += ", and a schedule of the lr moves the minimum of vanilla decay"
        return Conversion(through, SAME_MINIMUM, why)
    if old.meaning == there.meaning in ("l2", "stable"):
        return Conversion(
            old.weight_decay, SAME_MEANING, "λ is in loss/weight² for both, and each takes a path of its own"
        )
    if families <= {"adam", *GAINLESS} and not {old.meaning, there.meaning} & {"l2", "stable"}:
        why = "a step shrinks the weights as before at the peak lr, but their final norm depends on the update's size"
        return Conversion(through, SAME_PULL, why)
    return Conversion(through, CONVENTION, "the λ with the same meaning in L2, and the paper's convention for Adam")


def _walk_together(old: Setting, there: Setting) -> bool:
    """Whether two forms of SGD take the same steps while the lr is constant: without dampening, at one lr."""
    forms = {(s.family, s.lr, s.momentum, _dampens(s)) for s in (old, there)}
    return forms == {("sgd", old.lr, old.momentum, False)}


def _dampens(s: Setting) -> bool:
    """Whether dampening acts: in torch's SGD only beside momentum, and from the second step on."""
    return s.dampening != 0 and (s.method == "heavyball" or s.momentum != 0)


def _as_l2(s: Setting) -> float:
    """Return the λ of L2 that the setting's λ stands for; under Adam, and a sign, by the paper's convention."""
    family, gain = ("adam", None) if s.family in ("adam", *GAINLESS) else (s.family, s.gain)
    return convert(s.weight_decay, s.meaning, "l2", lr=s.lr, family=family, gain=gain).weight_decay


def _from_l2(weight_decay: float, s: Setting) -> float:
    """Return the λ of the setting that stands for this one of L2."""
    family, gain = ("adam", None) if s.family in ("adam", *GAINLESS) else (s.family, s.gain)
    return convert(weight_decay, "l2", s.meaning, lr=s.lr, family=family, gain=gain).weight_decay


def _kept(old: Setting, new: Setting, holds: str) -> Kept:
    """Return what an exchange keeps: λ, where it means the same; the pull; or the λ of L2 that both stand for."""
    if holds == SAME_MEANING:
        return Kept(f"λ of {new.meaning}", old.weight_decay, new.weight_decay)
    if holds != CONVENTION and (old.method == new.method or holds != SAME_MINIMUM):
        return Kept("pull", old.shrinking, new.shrinking)
    convention = ", by convention" if holds == CONVENTION else ""
    return Kept(f"λ of L2{convention}", _as_l2(old), _as_l2(new))
