"""What every optimizer takes besides its own hyper-parameters: named in every signature, refused with a reason."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypedDict

import torch

from weightdecay.checks import check_mode, nearest, unknown


class Options(TypedDict, total=False):
    """The options; :class:`~weightdecay.Optimizer` explains each."""

    maximize: bool
    peak_lr: float | None
    max_grad_norm: float | None
    engine: str
    nonfinite: str
    rounding: str
    moments: torch.dtype | None
    seed: int
    process_group: Any
    foreach: bool | None
    fused: bool | None
    capturable: bool
    differentiable: bool


DEFAULTS: dict[str, Any] = {
    "maximize": False,
    "peak_lr": None,
    "max_grad_norm": None,
    "engine": "auto",
    "nonfinite": "skip",
    "rounding": "nearest",
    "moments": None,
    "seed": 0,
    "process_group": None,
    "foreach": None,
    "fused": None,
    "capturable": False,
    "differentiable": False,
}
"""The options as they are when nobody says anything; a test holds them against :class:`Optimizer`'s constructor."""

ELSEWHERE = {
    "amsgrad": "it is an optimizer of its own: AMSGrad, AMSGradW, AMSGradS",
    "decoupled_weight_decay": "say it with an object: decay=Decoupled()",
}
"""Keywords of torch.optim that have another name here; accepted when they are off."""

MODES = {"nonfinite": ("skip", "raise"), "rounding": ("nearest", "stochastic", "compensated")}


def refuse_unknown(name: str, others: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raise TypeError for an option that the optimizer called ``name`` does not know."""
    for option, value in others.items():
        if option not in ELSEWHERE:
            raise TypeError(f"{name}: {unknown('option', option, known)}")
        if value:
            raise TypeError(f"{name}({option}={value!r}): {ELSEWHERE[option]}.")


def check_values(nonfinite: str, rounding: str, moments: torch.dtype | None) -> None:
    """Raise ValueError for a value that an option cannot have."""
    check_mode("nonfinite", nonfinite, MODES["nonfinite"])
    check_mode("rounding", rounding, MODES["rounding"])
    if moments not in (None, torch.bfloat16):
        raise ValueError(f"moments={moments!r}: moments are kept in the working precision (None) or torch.bfloat16.")


def engine_of(
    engine: str,
    foreach: bool | None = None,
    fused: bool | None = None,
    capturable: bool = False,
    differentiable: bool = False,
) -> str:
    """Return the engine that torch's keywords ask for; they mean here what they mean there.

    ``fused=True`` is "fused", ``foreach=True`` "foreach", ``foreach=False`` the loop over tensors, "reference";
    ``fused=False`` alone is "foreach", since "auto" might choose "fused". ``capturable=True`` is any engine but the
    reference, which reads its step counts on the host. An ``engine`` that fits them all is kept.

    Raises: ValueError, where they contradict each other or ``engine``; RuntimeError, as torch, for foreach and fused
            both; TypeError, for differentiable, which no engine is, and for what is neither True nor False.

    >>> engine_of("auto", foreach=True), engine_of("compiled", fused=False)
    ('foreach', 'compiled')
    """
    given = {"foreach": foreach, "fused": fused, "capturable": capturable, "differentiable": differentiable}
    for name, value in given.items():
        if value is not None and not isinstance(value, bool):
            raise TypeError(f"{name}={value!r}: give True, False or None.")
    if differentiable:
        raise TypeError(
            "differentiable=True: the step is not differentiable here. Use torch.optim's class for a step that is."
        )
    if foreach and fused:
        raise RuntimeError("foreach=True and fused=True: each names another implementation. Give one of them.")
    hints = ", ".join(f"{name}={value}" for name, value in given.items() if value is not None and value is not False)
    hints = hints or ", ".join(f"{name}={value}" for name, value in given.items() if value is False and name in NAMED)
    wanted = "fused" if fused else "foreach" if foreach else ""
    refused = {name for name in NAMED if given[name] is False} | ({"reference"} if capturable else set())
    if engine == "auto":
        if not wanted and foreach is False:
            wanted = "reference"
        elif not wanted and fused is False:
            wanted = "foreach"
        if wanted in refused:
            raise ValueError(
                f"capturable=True with {hints}: the loop over tensors, which foreach=False asks for, reads its step "
                "counts on the host, and no graph can capture that. Leave foreach out."
                if wanted == "reference"
                else f"{hints} contradict each other. Give one of them."
            )
        return wanted or engine
    if (wanted and wanted != engine) or engine in refused:
        raise ValueError(f'{hints} and engine="{engine}" contradict each other. Give one of them.')
    return engine


NAMED = ("foreach", "fused")
"""The hints that are an engine's own name."""


# ---------------------------------------------------------------- signatures


def list_options(cls: Any) -> None:
    """Name every option in the signature of a class, where its constructor says ``**options``.

    Tools that read signatures (trainers, configuration systems, completion) then see what the constructor takes.
    """
    signature = _listed(inspect.signature(vars(cls).get("__init__", cls.__init__)))
    if "__init__" in vars(cls):
        cls.__init__.__signature__ = signature
    own = list(signature.parameters.values())[1:]
    cls.__signature__ = signature.replace(parameters=own)


def _listed(signature: inspect.Signature) -> inspect.Signature:
    parameters = signature.parameters
    kept = [p for p in parameters.values() if p.kind is not p.VAR_KEYWORD]
    if len(kept) < len(parameters):
        kept += [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=DEFAULTS[name], annotation=written(annotation)
            )
            for name, annotation in Options.__annotations__.items()
            if name not in parameters
        ]
    return signature.replace(parameters=kept)


def written(annotation: Any) -> Any:
    """Return an annotation as it stands in the source, as those of the parameters beside it are."""
    return getattr(annotation, "__forward_arg__", annotation)


def with_defaults(cls: Any, changed: Mapping[str, Any]) -> Callable[..., None]:
    """Return a constructor for ``cls``: its parent's, with other defaults of some of the parameters.

    Raises: TypeError, for a default of a parameter that the parent's constructor does not have.
    """
    parent: Callable[..., None] = super(cls, cls).__init__
    signature = inspect.signature(parent)
    places = {name: place for place, name in enumerate(signature.parameters)}
    for name in changed:
        if name not in places:
            raise TypeError(f"{cls.__name__}.changed_defaults: {name!r} is no parameter.{nearest(name, places)}")

    @functools.wraps(parent)
    def __init__(self: Any, *args: Any, **options: Any) -> None:  # noqa: N807
        by_place = list(places)[1 : len(args) + 1]
        more = {name: value for name, value in changed.items() if name not in by_place}
        super(cls, self).__init__(*args, **{**more, **options})

    __init__.__qualname__ = f"{cls.__qualname__}.__init__"
    new = [p.replace(default=changed.get(p.name, p.default)) for p in signature.parameters.values()]
    __init__.__signature__ = signature.replace(parameters=new)  # type: ignore[attr-defined]
    return __init__
