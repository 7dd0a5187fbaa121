"""The answers of all rules to one change of a setting: their numbers, the quantities that they keep, disagreements.

A setting changes from the old one to the wanted one in three steps: another optimizer, then length, then width.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations, product
from typing import Any

from weightdecay.catalog import OPTIMIZERS
from weightdecay.transfer.conversion import CONVENTION
from weightdecay.transfer.domain import computed, positive, shown
from weightdecay.transfer.exchange import exchanges
from weightdecay.transfer.rule import SIZES, About, Change, Kept, Moments, Rule
from weightdecay.transfer.rules import RULES
from weightdecay.transfer.setting import MissingError, Setting, Wanted
from weightdecay.transfer.timescale import SHORTEST_EPOCHS

GRID = (1 / 3, 1.0, 3.0)
"""Of a suggested grid, as multiples of the recommended λ."""


@dataclass(frozen=True)
class Recommendation:
    """The answer of one rule, or of several rules in turn where several things change."""

    rules: tuple[str, ...]
    lr: float
    weight_decay: float
    grid: tuple[float, float, float]
    kept: tuple[Kept, ...]
    sources: tuple[str, ...]
    warnings: tuple[str, ...]
    betas: tuple[float, float] | None = None  # where the rule changes them
    eps: float | None = None

    @property
    def name(self) -> str:
        """The rules, in the order in which they were applied."""
        return " + ".join(self.rules)


@dataclass(frozen=True)
class Disagreement:
    """Two rules with different numbers, and the reason."""

    one: str
    other: str
    why: str


@dataclass(frozen=True)
class Advice:
    """The answers of all rules to a change."""

    old: Setting
    new: Setting  # its lr and λ are no answer: each recommendation has its own
    width: float
    recommendations: tuple[Recommendation, ...]
    disagreements: tuple[Disagreement, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for ``json.dump``; ``new`` has no lr, λ, betas and ε, which are the rules' to say."""
        values = asdict(self)
        for name in ("lr", "weight_decay", "betas", "eps"):
            del values["new"][name]
        for each in values["recommendations"]:
            each["rule"] = " + ".join(each["rules"])
        return values


def advise(old: Setting, wanted: Wanted, rules: Sequence[Rule] = RULES) -> Advice:
    """Return the answers of the rules to the change from ``old`` to ``wanted``.

    ``rules`` are the rules to apply, in the order of the answer; ``(*RULES, mine)`` includes one of your own.

    Raises: MissingError, for a number that a rule needs; ValueError, if nothing changes, if λ is 0 (each rule
    multiplies it), if no rule applies, for values out of range, and for an argument that is not a setting.

    >>> have = Setting("adamw", lr=1e-3, weight_decay=0.1, batch_size=128, epochs=90, samples=1281167)
    >>> advice = advise(have, Wanted(batch_size=1024))
    >>> [(r.name, round(r.lr, 6), round(r.weight_decay, 6)) for r in advice.recommendations][0]
    ('batch × k ⇒ λ × k', 0.001, 0.8)
    """
    if not isinstance(old, Setting):
        raise ValueError(f"old={shown(old)}: pass your setting, as in Setting('adamw', lr=1e-3, weight_decay=0.1).")
    if not isinstance(wanted, Wanted):
        raise ValueError(f"wanted={shown(wanted)}: pass the changes, as in Wanted(batch_size=1024).")
    if old.weight_decay == 0:
        raise ValueError("weight_decay=0: every rule multiplies λ, and 0 stays 0. Pass the λ that has worked so far.")
    new = _new(old, wanted)
    change = Change(old, new, wanted.width, wanted.lr is not None)
    if new == old and wanted.width == 1:
        raise ValueError(
            "nothing changes: pass at least one new value of batch_size, epochs, samples, parameters, optimizer, decay "
            "or width that differs from the old one."
        )
    found = [
        last
        for first in _exchanged(change)
        for middle in _applied(first, _of_duration(change, rules))
        for last in _applied(middle, [(rule,) for rule in _asked(change, rules, "width")], width=True)
    ]
    found += _from_nothing(change, rules)
    recommendations = tuple(_closed(path) for path in found if path.rules)
    if not recommendations:
        raise ValueError(
            f"new_parameters={new.parameters:g}: no rule here relates the λ of {new.name} to the size of the model."
        )
    return Advice(old, new, wanted.width, recommendations, tuple(_disagreements(recommendations, rules)))


def _new(old: Setting, wanted: Wanted) -> Setting:
    """Return the setting that is wanted, with the old λ, and the old lr unless another one is given."""
    sizes = {name: getattr(wanted, name) for name in SIZES if name in wanted.given}
    optimizer = wanted.optimizer or old.optimizer
    own = wanted.decay or ("" if wanted.optimizer else old.decay)
    try:
        new = replace(old, optimizer=optimizer, decay=own, **sizes, **_of_its_own(old, wanted))
    except MissingError as missing:
        raise MissingError(f"new_{missing.quantity}", missing.reason) from None
    except ValueError as error:
        names = "|".join(wanted.given) or "-"
        raise ValueError(re.sub(rf"\b({names})=", r"new_\1=", str(error))) from None
    if wanted.lr is None and new.family != old.family and {new.family, old.family} != {"adam", "sign"}:
        raise MissingError("new_lr", f"no rule converts the lr of {old.optimizer} into one of {new.optimizer}.")
    if new.momentum != old.momentum and new.family == old.family:
        raise ValueError(
            f"new_momentum={new.momentum:g}: no rule here says how lr and λ change with another momentum. "
            "Pass it for another family of optimizers only."
        )
    if wanted.lr is not None and new.method == old.method:
        raise ValueError(
            f"new_lr={wanted.lr:g}: from {old.name} to {new.name} the algorithm stays, so only the rules for batch and "
            "width change the lr. Pass it for another algorithm only."
        )
    return new


def _of_its_own(old: Setting, wanted: Wanted) -> dict[str, Any]:
    """Return what another algorithm does not take over: the lr where one is given, momentum, and measured gains."""
    values: dict[str, Any] = {}
    if wanted.momentum is not None:
        values["momentum"] = wanted.momentum
    if wanted.lr is not None:
        values["lr"] = wanted.lr
    if wanted.optimizer is not None and OPTIMIZERS[wanted.optimizer].base != old.method:
        values |= {"mean_square": None, "measured_gain": None}
        if wanted.optimizer == "tensorflowsgd":
            values["dampening"] = 0.0
    return values


@dataclass(frozen=True)
class Path:
    """Where it is, and what was done to it."""

    setting: Setting
    change: Change
    rules: tuple[str, ...] = ()
    kept: tuple[Kept, ...] = ()
    sources: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    moments: Moments | None = None

    def then(
        self,
        setting: Setting,
        rules: tuple[str, ...],
        kept: tuple[Kept, ...],
        sources: tuple[str, ...],
        warnings: tuple[str, ...],
        moments: Moments | None = None,
    ) -> Path:
        """Return the path further on."""
        return Path(
            setting,
            self.change,
            (*self.rules, *rules),
            (*self.kept, *kept),
            (*self.sources, *sources),
            (*self.warnings, *warnings),
            moments or self.moments,
        )


def _exchanged(c: Change) -> Iterator[Path]:
    """Yield the old setting under the new optimizer, in every way that there is."""
    start = Path(c.old, c)
    if (c.old.optimizer, c.old.meaning) == (c.new.optimizer, c.new.meaning):
        yield start
        return
    for each in exchanges(c):
        yield start.then(each.setting, (each.rule,), (each.kept,), each.sources, each.doubts)


def _asked(c: Change, rules: Sequence[Rule], about: About) -> list[Rule]:
    """Return the rules about this that apply."""
    return [rule for rule in rules if rule.about == about and rule.applies(c)]


def _of_duration(c: Change, rules: Sequence[Rule]) -> list[tuple[Rule, ...]]:
    """Return every answer to another batch, length and data: the rules that are applied together."""
    length = tuple(_asked(c, rules, "length"))
    joint = [(rule, *length) for rule in _asked(c, rules, "batch")] or ([length] if length else [])
    return [*joint, *((rule,) for rule in _asked(c, rules, "training"))]


def _applied(path: Path, ways: list[tuple[Rule, ...]], *, width: bool = False) -> Iterator[Path]:
    """Yield the path further on, in each way; the path itself where there is none. Rules of one way act together."""
    if not ways:
        yield path
    before, c = path.setting, path.change
    for way in ways:
        lr, weight_decay = before.lr, before.strength / before.lr  # rules speak of a λ that the lr multiplies
        for rule in way:
            lr, weight_decay = rule.answer(c, lr, weight_decay)
        sizes = {} if width else {name: getattr(c.new, name) for name in SIZES}
        (strength,) = positive(weight_decay=weight_decay if before.coupled else lr * weight_decay)
        after = replace(before, **sizes, lr=lr, weight_decay=strength)
        kept = dict.fromkeys(_kept(rule, before, after, c.width if width else 1.0) for rule in way)
        doubts = tuple(doubt for rule in way for doubt in rule.doubts(c))
        sources = tuple(source for rule in way for source in rule.sources)
        moments = next((found for rule in way if (found := rule.moments(c))), None)
        yield path.then(after, tuple(rule.name for rule in way), tuple(kept), sources, doubts, moments)


def _kept(rule: Rule, before: Setting, after: Setting, width: float) -> Kept:
    (_, one), (name, other) = rule.keeps(before, 1.0), rule.keeps(after, width)
    return Kept(name, one, other)


def _from_nothing(c: Change, rules: Sequence[Rule]) -> Iterator[Path]:
    """Yield what rules say that do not start from the λ that is there."""
    for rule in _asked(c, rules, "nothing"):
        _, weight_decay = rule.answer(c, c.new.lr, c.new.weight_decay)
        setting = replace(c.new, weight_decay=weight_decay)
        kept = _kept(rule, c.old, setting, 1.0)
        yield Path(setting, c, (rule.name,), (kept,), rule.sources, tuple(rule.doubts(c)))


def _closed(path: Path) -> Recommendation:
    """Return the end of a path. Raises: ValueError, where a number of it is none."""
    s, (betas, eps) = path.setting, path.moments or (None, None)
    low, middle, high = (computed("weight_decay", s.weight_decay * multiple) for multiple in GRID)
    for kept in path.kept:
        computed(kept.name, kept.before), computed(kept.name, kept.after)
    warnings = tuple(dict.fromkeys((*path.warnings, *_of_moment(path.change), *_dangers(s))))
    sources = tuple(dict.fromkeys(path.sources))
    return Recommendation(
        path.rules, s.lr, s.weight_decay, (low, middle, high), path.kept, sources, warnings, betas, eps
    )


def _of_moment(c: Change) -> list[str]:
    """Whatever the rule: a stable decay under Adam follows v̄, which follows batch and width."""
    if c.new.family != "adam" or c.new.meaning != "stable":
        return []
    said = []
    if c.batch != 1:
        said.append(
            "the rule keeps its quantity at one v̄ only; where noise dominates, v̄ falls as the batch grows, and the "
            "pull ηλv̄^(−1/2) grows by up to √k more"
        )
    if c.width != 1:
        said.append("the rule keeps its quantity at one v̄ only, which moves with width; the sources measured AdamW")
    return said


def _dangers(s: Setting) -> Iterator[str]:
    """Yield what is wrong with a setting, whichever rule led there."""
    if s.pull is None:
        return
    if s.pull >= 1:
        yield f"a step would shrink the weights by the fraction {s.pull:.3g}; a fraction of 1 erases them"
    if None in (s.batch_size, s.epochs, s.samples):
        return
    tau = 1 / s.pull
    if tau > s.steps:
        yield f"τ = {tau:.3g} steps exceeds the training ({s.steps:.3g}): the initial weights are never forgotten"
    elif s.epochs and s.epochs > 1 and tau < SHORTEST_EPOCHS * s.steps / s.epochs:
        epoch = s.steps / s.epochs
        yield f"τ = {tau:.3g} steps is well below an epoch ({epoch:.3g}): data is forgotten before it returns"


def _disagreements(found: tuple[Recommendation, ...], rules: Sequence[Rule]) -> Iterator[Disagreement]:
    """Yield pairs of rules, each once, that part by more than 1 % in lr or λ when all else is equal, and why."""
    said, against = set(), {rule.name: rule.against for rule in rules}
    for one, other in combinations(found, 2):
        numbers = ((one.lr, other.lr), (one.weight_decay, other.weight_decay))
        if all(math.isclose(a, b, rel_tol=0.01) for a, b in numbers):
            continue
        mine, theirs = ([r for r in a.rules if r not in b.rules] for a, b in ((one, other), (other, one)))
        if len(mine) != len(theirs) and one.lr != other.lr:
            continue  # a rule for the lr joined to one for λ: each differs for a reason that its pair has said
        for pair in product(mine, theirs):
            why = _reason(*pair, against)
            if why and frozenset(pair) not in said:
                said.add(frozenset(pair))
                yield Disagreement(*pair, why)


def _reason(one: str, other: str, against: Mapping[str, Mapping[str, str]]) -> str:
    """Return why the two rules differ; empty for a pair whose difference follows from those of other pairs."""
    if one.endswith(CONVENTION) != other.endswith(CONVENTION) and "→" in one and "→" in other:
        return "one uses the measured gain, the other the paper's convention, which stands for a gain of 1/lr"
    return against.get(other, {}).get(one, "") or against.get(one, {}).get(other, "")
