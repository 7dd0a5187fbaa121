"""A setting on its way from what there is to what is wanted: first another optimizer, then length, then width."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from weightdecay.transfer.answer import Kept
from weightdecay.transfer.change import SIZES, Change
from weightdecay.transfer.domain import positive
from weightdecay.transfer.exchange import exchanges
from weightdecay.transfer.rules import Rule
from weightdecay.transfer.setting import Setting


@dataclass(frozen=True)
class Path:
    """Where it is, and what was done to it."""

    setting: Setting
    change: Change
    rules: tuple[str, ...] = ()
    kept: tuple[Kept, ...] = ()
    sources: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def then(
        self,
        setting: Setting,
        rules: tuple[str, ...],
        kept: tuple[Kept, ...],
        sources: tuple[str, ...],
        warnings: tuple[str, ...],
    ) -> Path:
        """Return the path further on."""
        return Path(
            setting,
            self.change,
            (*self.rules, *rules),
            (*self.kept, *kept),
            (*self.sources, *sources),
            (*self.warnings, *warnings),
        )


def exchanged(c: Change, lr_is_given: bool) -> Iterator[Path]:
    """Yield the old setting under the new optimizer, in every way that there is."""
    start = Path(c.old, c)
    if (c.old.optimizer, c.old.meaning) == (c.new.optimizer, c.new.meaning):
        yield start
        return
    for each in exchanges(c.old, c.new, lr_is_given):
        yield start.then(each.setting, (each.rule,), (each.kept,), each.sources, each.doubts)


def applied(path: Path, ways: list[tuple[Rule, ...]], *, width: bool = False) -> Iterator[Path]:
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
        yield path.then(after, tuple(rule.name for rule in way), tuple(kept), sources, doubts)


def _kept(rule: Rule, before: Setting, after: Setting, width: float) -> Kept:
    (_, one), (name, other) = rule.keeps(before, 1.0), rule.keeps(after, width)
    return Kept(name, one, other)
