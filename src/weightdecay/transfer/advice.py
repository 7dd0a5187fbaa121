"""What every rule that applies says to one change of a setting: numbers, what they keep, who disagrees."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, product
from typing import Any

from weightdecay.transfer.answer import GRID, Advice, Disagreement, Kept, Recommendation, Wanted
from weightdecay.transfer.change import SIZES, Change, share
from weightdecay.transfer.domain import computed, shown
from weightdecay.transfer.doubts import of_moment, of_share
from weightdecay.transfer.length import TABLE3_BATCH, TABLE3_SAMPLES, table3_weight_decay
from weightdecay.transfer.optimizers import KNOWN
from weightdecay.transfer.path import Path, applied, exchanged
from weightdecay.transfer.reasons import LINES, OWN_LINES, ROOT, TABLE3, reason
from weightdecay.transfer.rules import WHOLE, best_of_lines, of_duration, of_width
from weightdecay.transfer.setting import MissingError, Setting
from weightdecay.transfer.square_root import reaches, square_root
from weightdecay.transfer.timescale import SHORTEST_EPOCHS


def advise(old: Setting, wanted: Wanted) -> Advice:
    """Return what the rules say to the change from ``old`` to ``wanted``.

    Raises: MissingError, for a number that a rule needs; ValueError, where nothing changes, where λ is 0 (each rule
    multiplies it), where no rule answers, for values out of range, and for what is no setting.

    >>> have = Setting("adamw", lr=1e-3, weight_decay=0.1, batch_size=128, epochs=90, samples=1281167)
    >>> advice = advise(have, Wanted(batch_size=1024))
    >>> [(r.name, round(r.lr, 6), round(r.weight_decay, 6)) for r in advice.recommendations][0]
    ('batch × k ⇒ λ × k', 0.001, 0.8)
    """
    if not isinstance(old, Setting):
        raise ValueError(f"old={shown(old)}: pass what you have, as in Setting('adamw', lr=1e-3, weight_decay=0.1).")
    if not isinstance(wanted, Wanted):
        raise ValueError(f"wanted={shown(wanted)}: pass what shall change, as in Wanted(batch_size=1024).")
    if old.weight_decay == 0:
        raise ValueError("weight_decay=0: every rule multiplies λ, and 0 stays 0. Pass the λ that was good so far.")
    new = _new(old, wanted)
    change = Change(old, new, wanted.width)
    if new == old and wanted.width == 1:
        raise ValueError(
            "nothing changes: give at least one of a new batch_size, epochs, samples, parameters, optimizer, decay or "
            "width that differs from what you have."
        )
    found = [
        last
        for first in exchanged(change, wanted.lr is not None)
        for middle in applied(first, of_duration(change))
        for last in applied(middle, of_width(change), width=True)
    ]
    found += _from_nothing(change, wanted.lr is not None)
    recommendations = tuple(_closed(path) for path in found if path.rules)
    if not recommendations:
        raise ValueError(
            f"new_parameters={new.parameters:g}: no rule here says what the size of the model asks of {new.name}'s λ."
        )
    return Advice(old, new, wanted.width, recommendations, tuple(_disagreements(recommendations)))


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
        raise MissingError("new_lr", f"no rule turns the lr of {old.optimizer} into one of {new.optimizer}.")
    if new.momentum != old.momentum and new.family == old.family:
        raise ValueError(
            f"new_momentum={new.momentum:g}: no rule here says what another momentum asks of lr and λ. "
            "Give it for another family of optimizers only."
        )
    if wanted.lr is not None and new.method == old.method:
        raise ValueError(
            f"new_lr={wanted.lr:g}: from {old.name} to {new.name} the algorithm stays, and the lr with it, but for "
            "what the rules for batch and width make of it. Give it for another algorithm only."
        )
    return new


def _of_its_own(old: Setting, wanted: Wanted) -> dict[str, Any]:
    """Return what another algorithm does not take over: the lr where one is given, momentum, and measured gains."""
    values: dict[str, Any] = {}
    if wanted.momentum is not None:
        values["momentum"] = wanted.momentum
    if wanted.lr is not None:
        values["lr"] = wanted.lr
    if wanted.optimizer is not None and KNOWN[wanted.optimizer].base != old.method:
        values |= {"mean_square": None, "measured_gain": None}
        if wanted.optimizer == "tensorflowsgd":
            values["dampening"] = 0.0
    return values


def _from_nothing(c: Change, lr_is_given: bool) -> Iterator[Path]:
    """Yield what rules say that do not start from the λ that is there."""
    new = c.new
    if new.family == "sgd" and new.meaning in ("l2", "stable") and c.trains and new.epochs and c.old.epochs:
        doubts = tuple(
            f"measured at {name} {value:g}"
            for name, value, have in (
                ("batch", TABLE3_BATCH, new.batch_size),
                ("samples", TABLE3_SAMPLES, new.samples),
                ("momentum", 0.9, new.momentum),
                ("lr", 0.1, new.lr),
            )
            if have != value
        )
        setting = replace(new, weight_decay=table3_weight_decay(new.epochs))
        kept = Kept("λ · epochs", c.old.weight_decay * c.old.epochs, setting.weight_decay * new.epochs)
        yield Path(setting, c, (TABLE3,), (kept,), ("arXiv:2011.11152",), doubts)
    lines = next(rule for rule in WHOLE if rule.name == LINES)
    knows_lr = lr_is_given or new.method == c.old.method
    if lines.applies(c) and new.meaning == "decoupled" and c.width == 1 and knows_lr:
        setting = replace(new, weight_decay=best_of_lines(new, new.lr))
        (name, after), (_, before) = share(setting, 1.0), share(c.old, 1.0)
        yield Path(setting, c, (OWN_LINES,), (Kept(name, before, after),), lines.sources, tuple(of_share(c)))


def _closed(path: Path) -> Recommendation:
    """Return the end of a path. Raises: ValueError, where a number of it is none."""
    s, k, betas, eps = path.setting, path.change.batch, None, None
    if ROOT in path.rules and s.family == "adam" and reaches(k, *s.betas):
        scaled = square_root(s.lr, k, *s.betas, s.eps)
        betas, eps = (scaled.beta1, scaled.beta2), scaled.eps
    low, middle, high = (computed("weight_decay", s.weight_decay * multiple) for multiple in GRID)
    for kept in path.kept:
        computed(kept.name, kept.before), computed(kept.name, kept.after)
    warnings = tuple(dict.fromkeys((*path.warnings, *of_moment(path.change), *_dangers(s))))
    sources = tuple(dict.fromkeys(path.sources))
    return Recommendation(
        path.rules, s.lr, s.weight_decay, (low, middle, high), path.kept, sources, warnings, betas, eps
    )


def _dangers(s: Setting) -> Iterator[str]:
    """Yield what is wrong with a setting, whichever rule led there."""
    if s.pull is None:
        return
    if s.pull >= 1:
        yield f"a step would shrink the weights by {s.pull:.3g}, and 1 erases them"
    if None in (s.batch_size, s.epochs, s.samples):
        return
    tau = 1 / s.pull
    if tau > s.steps:
        yield f"τ = {tau:.3g} steps exceeds the training ({s.steps:.3g}): the initial weights are never forgotten"
    elif s.epochs and s.epochs > 1 and tau < SHORTEST_EPOCHS * s.steps / s.epochs:
        epoch = s.steps / s.epochs
        yield f"τ = {tau:.3g} steps is well below an epoch ({epoch:.3g}): data is forgotten before it returns"


def _disagreements(found: tuple[Recommendation, ...]) -> Iterator[Disagreement]:
    """Yield pairs of rules, each once, that part by more than 1 % in lr or λ when all else is equal, and why."""
    said = set()
    for one, other in combinations(found, 2):
        numbers = ((one.lr, other.lr), (one.weight_decay, other.weight_decay))
        if all(math.isclose(a, b, rel_tol=0.01) for a, b in numbers):
            continue
        mine, theirs = ([r for r in a.rules if r not in b.rules] for a, b in ((one, other), (other, one)))
        if len(mine) != len(theirs) and one.lr != other.lr:
            continue  # a rule for the lr joined to one for λ: each differs for a reason that its pair has said
        for pair in product(mine, theirs):
            why = reason(*pair)
            if why and frozenset(pair) not in said:
                said.add(frozenset(pair))
                yield Disagreement(*pair, why)
