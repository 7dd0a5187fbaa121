"""Whose ``weight_decay`` is measured, and the two ways to ask: for an answer, or for an AssertionError."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

from weightdecay.catalog import locate, optimizer
from weightdecay.checks import unknown
from weightdecay.measuring.experiment import Numbers, experiment, ratio_to_gain
from weightdecay.measuring.kinds import NONE, TOLERANCE, UNITS, UNNAMED, Kind, kind_of
from weightdecay.measuring.measured import FORMULAS, Measured, last
from weightdecay.measuring.reach import reach
from weightdecay.measuring.walk import LR, STEPS, STRENGTH, MeasureError, TorchWalk, Walk, torch_walk

KINDS = ("l2", *FORMULAS, *(f"cautious({name})" for name in FORMULAS), NONE)
"""What :func:`assert_decays` may ask for."""


def measure(what: str | Callable[..., Any], *, key: str = "weight_decay", **options: Any) -> Measured:
    r"""Find by experiment what the ``weight_decay`` of an optimizer does, whatever its documentation says.

    A 4 × 4 weight moves through 12 prescribed gradients, with λ = 0.01 and with λ = 0, at lr 0.1; then with half the
    lr, with an lr halved in mid-run and with gradients twice as large. Both paths see the same gradients, so that they
    differ by the decay alone, and

    .. math:: \text{pull}_t = \lambda\, \eta^a \left(\eta_t/\eta_1\right)^{b-a} \lVert g \rVert^c

    is read off, element by element, in float64. L2 is tested first-hand: λθ is added to the gradients by hand.

    ``what`` is an optimizer's class or a function ``(params, lr, weight_decay, **options)`` that builds one; a name
    that :func:`weightdecay.available` lists; or a path, "torch.optim:AdamW". ``key`` is what the optimizer calls λ, and
    the options are passed on to it.

    Raises: MeasureError, a ValueError, where the optimizer cannot be built or stepped, in one line; ValueError, for a
    name or a path that leads nowhere.

    >>> import torch, weightdecay
    >>> answer = weightdecay.measure(torch.optim.AdamW)
    >>> answer.kind, answer.where, answer.ratio
    ('decoupled', 'before', '1')
    >>> weightdecay.measure(torch.optim.Adam).kind
    'l2'
    """
    make, name = _found(what)
    label = name + (f"({', '.join(f'{k}={v}' for k, v in options.items())})" if options else "")
    walk = torch_walk(make, label, key, options)
    try:
        return measured(walk, label, _default(make, key))
    except Exception as error:
        if isinstance(error, MeasureError):
            raise
        text = (str(error).strip().splitlines() or [""])[0][:160]
        raise MeasureError(f"{label} cannot be measured: {type(error).__name__}: {text}") from error


def measured(walk: Walk, name: str, default: float | None = None) -> Measured:
    """Measure whatever can walk, an optimizer of another library too; groups and bfloat16 of torch's kind only."""
    seen = experiment(walk)
    found = kind_of(seen)
    pull, lr, schedule, gradient = last(seen.after if found.after else seen.before)
    names = _names(walk, seen, found)
    kind, (low, high) = next(iter(names.items()))
    also = tuple(name for name in list(names)[1:] if _exact(*names[name]) and found.steps == STEPS)
    where = "gradient" if kind == "l2" else "" if kind in (NONE, UNNAMED) else "after" if found.after else "before"
    return Measured(
        name=name,
        kind=kind,
        also=also,
        low=low,
        high=high,
        lr=lr,
        schedule=schedule,
        gradient=gradient,
        pull=pull,
        where=where,
        steps=found.steps,
        sees_weight=seen.sees_weight,
        effect=seen.effect,
        apart=seen.apart,
        default=default,
        reach=reach(walk, math.nan if kind in ("l2", UNNAMED) else pull) if isinstance(walk, TorchWalk) else None,
    )


def assert_decays(
    make: Measured | str | Callable[..., Any],
    kind: str = "decoupled",
    *,
    key: str = "weight_decay",
    rtol: float = 1e-2,
    bfloat16: bool = False,
) -> None:
    """Raise AssertionError, with both numbers, unless an optimizer's ``weight_decay`` is that kind of decay.

    For a test of an optimizer of yours: λ is there, has the right exponents and the right size (pull/formula within
    ``rtol`` of 1), a group's own λ counts, and a λ that is a tensor gives the same path. ``bfloat16=True`` asks also
    that at least 90 % of the decay arrives in bfloat16 weights.

    ``make`` is what :func:`measure` takes: a class or a function ``(params, lr, weight_decay)``, a name or a path; or
    what :func:`measure` has returned.
    ``kind`` is one of "l2", "decoupled", "independent", "vanilla", "stable", "elementwise", "corrected", each but the
    first also as "cautious(…)", and "none". ``key`` is what the optimizer calls λ.

    Raises: AssertionError, with what was expected and what was measured; MeasureError, where the optimizer cannot be
    built or stepped.

    >>> import torch, weightdecay
    >>> weightdecay.assert_decays(torch.optim.AdamW, "decoupled")
    """
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r}: {unknown('kind of decay', kind, KINDS)}")
    got = make if isinstance(make, Measured) else measure(make, key=key)
    if not got.fits(kind, rtol):
        raise AssertionError(f"{got.name}: {key} is expected to be {_expected(kind)}. Measured: {_seen(got)}.")
    if got.kind == NONE or got.reach is None:
        return
    for there, what in (
        (got.reach.groups, "a group with λ of its own is expected to decay by it, and decays by another group's"),
        (got.reach.tensor, f"λ = tensor({STRENGTH}) is expected to give the path of λ = {STRENGTH}, and gives another"),
    ):
        if there is False:
            raise AssertionError(f"{got.name}: {what}.")
    part = got.reach.bfloat16
    if bfloat16 and (part is None or part < 0.9):
        arrives = "its weights cannot be bfloat16" if part is None else f"{100 * part:.0f} % arrives"
        raise AssertionError(f"{got.name}: at least 90 % of the decay is expected in bfloat16 weights; {arrives}.")


# ---------------------------------------------------------------- in words


def _expected(kind: str) -> str:
    inner = kind.removeprefix("cautious(").removesuffix(")")
    if inner in UNITS:
        lr, schedule, gradient, unit = UNITS[inner]
        return f"{kind}, pull {STRENGTH * unit:.3g} at lr {LR} and λ {STRENGTH}, exponents {lr}, {schedule}, {gradient}"
    if kind == "l2":
        return f"l2, the path of λθ added to the gradient to {0.0:g}"
    return f"{kind}, pull/formula 1" if kind != NONE else "none, a difference of 0 between λ and no λ"


def _seen(got: Measured) -> str:
    if got.kind == NONE:
        return f"none, weights with λ = {STRENGTH} and λ = 0 differ by {got.effect:g} in {STEPS} steps"
    text = f"{got.kind}, pull {got.pull:.3g}, exponents {got.lr:.3g}, {got.schedule:.3g}, {got.gradient:.3g}"
    if not math.isnan(got.low):
        text += f", pull/formula {got.ratio}" if got.kind != "l2" else f", {got.ratio} λθ added to the gradient"
    return text + f"; from L2's path it is {got.apart:.2g} away, where λ moves it by {got.effect:.2g}"


# ---------------------------------------------------------------- whose


def _found(what: str | Callable[..., Any]) -> tuple[Callable[..., Any], str]:
    """Return what builds the optimizer, and its name."""
    if not isinstance(what, str):
        if not callable(what):
            raise TypeError(
                f"{what!r} is neither an optimizer's class nor a function that builds one. An optimizer that exists "
                "already cannot be measured: pass its class and options."
            )
        return what, getattr(what, "__qualname__", None) or repr(what)
    if ":" in what:
        return locate(what, "optimizer"), what
    return optimizer(what).cls, what


def _default(make: Callable[..., Any], key: str) -> float | None:
    try:
        given = inspect.signature(make).parameters.get(key)
    except (TypeError, ValueError):
        return None
    if given is None or isinstance(given.default, bool) or not isinstance(given.default, (int, float)):
        return None
    return float(given.default)


def _names(walk: Walk, seen: Numbers, found: Kind) -> dict[str, tuple[float, float]]:
    """Return the names that fit, the best first, each with the smallest and the largest pull/formula."""
    names = {found.name: (found.low, found.high)}
    linear = found.name == "decoupled" and abs(seen.update - 1) < TOLERANCE
    if found.name in ("stable", "elementwise") or linear:  # a gain that no gradient changes, as SGD's, hides in a pull
        ratio = ratio_to_gain(walk)
        if not linear:
            names = {found.name: (ratio, ratio)}
        elif _exact(ratio):
            stable = {"stable": (ratio, ratio)}
            names = names | stable if _exact(*names["decoupled"]) else stable | names
    if seen.masked:
        names = {f"cautious({name})" if name in FORMULAS else name: ratios for name, ratios in names.items()}
    if seen.coupled is not None and found.name != NONE:
        names = {"l2": (seen.coupled, seen.coupled), **names}
    return names


def _exact(*ratios: float) -> bool:
    return all(abs(ratio - 1) < TOLERANCE for ratio in ratios)
