"""What every rule that applies says to one change of a setting: numbers, what they keep, who disagrees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from itertools import combinations

from weightdecay.transfer.answer import GRID, Advice, Disagreement, Kept, Recommendation, Wanted
from weightdecay.transfer.change import DURATION, QUANTITIES, WIDTH, Change, Rule
from weightdecay.transfer.conversion import CONVENTION, EXACT, Conversion, convert
from weightdecay.transfer.domain import positive
from weightdecay.transfer.length import TABLE3_BATCH, TABLE3_SAMPLES, table3_weight_decay
from weightdecay.transfer.power_lines import power_lines_weight_decay
from weightdecay.transfer.reasons import LINES, OWN_LINES, ROOT, TABLE3, reason
from weightdecay.transfer.setting import MissingError, Setting
from weightdecay.transfer.square_root import square_root


def advise(old: Setting, wanted: Wanted) -> Advice:
    """Return what the rules say to the change from ``old`` to ``wanted``.

    Raises: MissingError, for a number that a rule needs; ValueError, where nothing changes, where λ is 0 (each rule
    multiplies it), and for values out of range.

    >>> have = Setting("adamw", lr=1e-3, weight_decay=0.1, batch_size=128, epochs=90, samples=1281167)
    >>> advice = advise(have, Wanted(batch_size=1024))
    >>> [(r.name, round(r.lr, 6), round(r.weight_decay, 6)) for r in advice.recommendations][0]
    ('batch × k ⇒ λ × k; λ ∝ 1/length', 0.001, 0.8)
    """
    positive(width=wanted.width)
    if old.weight_decay == 0:
        raise ValueError("weight_decay=0: every rule multiplies λ, and 0 stays 0. Pass the λ that was good so far.")
    new = _new(old, wanted)
    change = _change(old, new, wanted)
    if new == old and change == Change():
        raise ValueError(
            "nothing changes: give at least one of a new batch_size, epochs, samples, optimizer, decay or width "
            "that differs from what you have."
        )
    found = [
        last
        for first in _conversions(old, new)
        for middle in _applied(first, change, DURATION if change.trains else ())
        for last in _applied(middle, change, WIDTH if change.width != 1 else ())
    ]
    found += _from_nothing(old, new, change)
    recommendations = tuple(_closed(path, change) for path in found)
    return Advice(old, new, recommendations, tuple(_disagreements(recommendations)))


def _new(old: Setting, wanted: Wanted) -> Setting:
    same = [field.name for field in fields(wanted) if field.name not in ("optimizer", "decay", "lr", "momentum")]
    values = {name: getattr(wanted, name) for name in same if getattr(wanted, name) is not None}
    optimizer = wanted.optimizer or old.optimizer
    decay = wanted.decay or ("" if wanted.optimizer else old.decay)
    momentum = old.momentum if wanted.momentum is None else wanted.momentum
    try:
        new = replace(old, **values, optimizer=optimizer, decay=decay, momentum=momentum)
    except MissingError as missing:
        raise MissingError(f"new_{missing.quantity}", missing.reason) from None
    if new.family != old.family:
        if wanted.lr is None:
            raise MissingError("new_lr", f"no rule turns the lr of {old.optimizer} into one of {new.optimizer}.")
        return replace(new, lr=wanted.lr, mean_square=None)
    if new.momentum != old.momentum:
        raise ValueError(
            f"new_momentum={new.momentum:g}: no rule here says what another momentum asks of lr and λ. "
            "Give it for another family of optimizers only."
        )
    if wanted.lr is not None:
        raise ValueError(
            f"new_lr={wanted.lr:g}: the rules find the lr from {old.optimizer} to {new.optimizer} themselves. "
            "Give it for another family of optimizers only."
        )
    return new


def _change(old: Setting, new: Setting, wanted: Wanted) -> Change:
    """Return the ratios. Raises: MissingError, where something changes that was not given."""
    ratios = {"width": wanted.width}
    for name, field in (("batch", "batch_size"), ("epochs", "epochs"), ("samples", "samples"), ("parameters",) * 2):
        before, after = getattr(old, field), getattr(new, field)
        if before is None and after is not None:
            raise MissingError(field, f"the new one is {after:g}, and the rules are about the ratio.")
        ratios[name] = after / before if before is not None else 1.0
    change = Change(**ratios)
    if change.trains:
        old.steps  # noqa: B018 - raises where a number is missing
    return change


@dataclass(frozen=True)
class _Path:
    """A setting on its way from the old to the new one, and what was done to it."""

    setting: Setting
    new: Setting
    rules: tuple[str, ...] = ()
    kept: tuple[Kept, ...] = ()
    sources: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def then(self, setting: Setting, rule: str, kept: Kept, source: str, warnings: list[str]) -> _Path:
        """Return the path one rule further."""
        return _Path(
            setting,
            self.new,
            (*self.rules, rule),
            (*self.kept, kept),
            (*self.sources, source),
            (*self.warnings, *warnings),
        )


def _conversions(old: Setting, new: Setting) -> Iterator[_Path]:
    """Yield the old setting under the new optimizer, in every way that there is."""
    start = _Path(old, new)
    if (old.optimizer, old.meaning, old.momentum, old.lr) == (new.optimizer, new.meaning, new.momentum, new.lr):
        yield start
        return
    there = replace(old, **{name: getattr(new, name) for name in ("optimizer", "decay", "momentum", "lr")})
    for found in _ways(old, there):
        setting = replace(there, weight_decay=found.weight_decay)
        if found.holds == CONVENTION or old.pull is None or setting.pull is None:
            kept = Kept("λ of L2, by convention", _as_l2(old), _as_l2(setting))
        else:
            kept = Kept("pull", old.pull, setting.pull)
        doubts = [] if found.holds == EXACT else [found.why]
        yield start.then(setting, f"{old.name} → {there.name}, {found.holds}", kept, "arXiv:2011.11152", doubts)


def _ways(old: Setting, there: Setting) -> Iterator[Conversion]:
    if old.family != there.family or old.gain != there.gain:
        l2 = _as_l2(old)
        gain = None if there.family == "adam" else there.gain
        value = convert(l2, "l2", there.meaning, lr=there.lr, family=there.family, gain=gain).weight_decay
        yield Conversion(value, CONVENTION, "the λ that means the same in L2, and the paper's convention for Adam")
        return
    found = convert(old.weight_decay, old.meaning, there.meaning, lr=old.lr, family=old.family, gain=old.gain)
    yield found
    if old.family == "adam" and old.gain is not None and found.holds not in (CONVENTION, EXACT):
        again = convert(old.weight_decay, old.meaning, there.meaning, lr=old.lr)
        if again.holds == CONVENTION:
            yield again


def _as_l2(setting: Setting) -> float:
    """Return the λ of L2 that the setting's λ stands for; under Adam by the paper's convention."""
    gain = None if setting.family == "adam" else setting.gain
    return convert(
        setting.weight_decay, setting.meaning, "l2", lr=setting.lr, family=setting.family, gain=gain
    ).weight_decay


def _applied(path: _Path, change: Change, rules: tuple[Rule, ...]) -> Iterator[_Path]:
    """Yield the path one rule further, for each that applies; the path itself where there is none to apply."""
    fitting = [rule for rule in rules if rule.applies(change, path.new)]
    if not fitting:
        yield path
    width = rules == WIDTH
    for rule in fitting:
        before = path.setting
        lr, pull = rule.factors(change, path.new)
        names = ("width",) if width else ("batch_size", "epochs", "samples", "parameters")
        after = replace(
            before,
            **{name: getattr(path.new, name) for name in names},
            lr=before.lr * lr,
            weight_decay=before.weight_decay * (pull / lr if before.coupled else pull),
        )
        words, value = QUANTITIES[rule.keeps]
        yield path.then(
            after, rule.name, Kept(words, value(before), value(after)), rule.source, rule.doubts(change, path.new)
        )


def _from_nothing(old: Setting, new: Setting, change: Change) -> Iterator[_Path]:
    """Yield what rules say that do not start from the λ that is there."""
    start = _Path(new, new)
    if new.family == "sgd" and new.meaning in ("l2", "stable") and change.trains and new.epochs and old.epochs:
        doubts = [
            f"measured at {name} {value:g}"
            for name, value, have in (
                ("batch", TABLE3_BATCH, new.batch_size),
                ("samples", TABLE3_SAMPLES, new.samples),
                ("momentum", 0.9, new.momentum),
                ("lr", 0.1, new.lr),
            )
            if have != value
        ]
        setting = replace(new, weight_decay=table3_weight_decay(new.epochs))
        kept = Kept("λ · epochs", old.weight_decay * old.epochs, setting.weight_decay * new.epochs)
        yield start.then(setting, TABLE3, kept, "arXiv:2011.11152, Table 3", doubts)
    lines = next(rule for rule in DURATION if rule.name == LINES)
    if lines.applies(change, new) and new.meaning == "decoupled" and change.width == 1:
        tokens = new.steps * (new.batch_size or 1)
        best = power_lines_weight_decay(new.lr, new.batch_size or 1, tokens, new.parameters or 1)
        setting = replace(new, weight_decay=best)
        words, value = QUANTITIES["share"]
        kept = Kept(words, value(old), value(setting))
        yield start.then(setting, OWN_LINES, kept, lines.source, lines.doubts(change, new))


def _closed(path: _Path, change: Change) -> Recommendation:
    s, betas, eps = path.setting, None, None
    if ROOT in path.rules and change.batch * (1 - s.betas[0]) <= 1 and change.batch * (1 - s.betas[1]) <= 1:
        scaled = square_root(s.lr, change.batch, *s.betas, s.eps)
        betas, eps = (scaled.beta1, scaled.beta2), scaled.eps
    low, middle, high = (s.weight_decay * multiple for multiple in GRID)
    warnings = tuple(dict.fromkeys((*path.warnings, *_dangers(s))))
    return Recommendation(
        path.rules, s.lr, s.weight_decay, (low, middle, high), path.kept, path.sources, warnings, betas, eps
    )


def _dangers(s: Setting) -> Iterator[str]:
    """Yield what is wrong with a setting, whichever rule led there."""
    if s.pull is None:
        return
    if s.pull >= 1:
        yield f"a step would shrink the weights by {s.pull:.3g}, and 1 erases them"
    if None in (s.batch_size, s.epochs, s.samples):
        return
    memory = 1 / s.pull
    if memory > s.steps:
        yield f"τ = {memory:.3g} steps exceeds the training ({s.steps:.3g}): the initial weights are never forgotten"
    elif s.epochs and s.epochs > 1 and memory < 0.5 * s.steps / s.epochs:
        epoch = s.steps / s.epochs
        yield f"τ = {memory:.3g} steps is less than an epoch ({epoch:.3g}): data is forgotten before it returns"


def _disagreements(found: tuple[Recommendation, ...]) -> Iterator[Disagreement]:
    """Yield pairs of rules, each once, that part by more than 1 % in lr or λ when all else is equal, and why."""
    said = set()
    for one, other in combinations(found, 2):
        apart = [(a, b) for a, b in zip(one.rules, other.rules, strict=False) if a != b]
        if len(one.rules) != len(other.rules) or len(apart) != 1 or apart[0] in said:
            continue
        numbers = ((one.lr, other.lr), (one.weight_decay, other.weight_decay))
        why = reason(*apart[0])
        if why and any(abs(a - b) > 0.01 * max(a, b) for a, b in numbers):
            said.add(apart[0])
            yield Disagreement(*apart[0], why)
