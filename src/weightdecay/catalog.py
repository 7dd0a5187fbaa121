"""The one table of optimizers and decays, and the two ways to put your own beside them: a path, or :func:`register`.

A row is plain data; the class behind it is imported when somebody asks for it, so that ``weightdecay --help`` does not
wait for torch. :func:`available` and :func:`create`, the lab, the transfer rules, the command line and the tables of
the documentation read these rows and keep no list of their own.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar, overload

from weightdecay.checks import nearest, unknown

if TYPE_CHECKING:
    from weightdecay.decay import Decay
    from weightdecay.optim import Optimizer
    from weightdecay.optim.base import Params

C = TypeVar("C", bound=type)


@dataclass(frozen=True)
class OptimizerRow:
    r"""What is known of an optimizer before it has been built.

    ``family``
        How it multiplies a gradient: "sgd" (a constant), "adam" (a power of v̄), "adai" (1), "sign" and
        "orthogonal" (no gain).
    ``decay``
        What its λ means unless ``decay=`` says otherwise: the name of a row of :data:`DECAYS`.
    ``base``
        The member of its family that is the same optimizer at λ = 0.
    ``power``
        p of a gain v̄^(−p); None where the gain is not a power of v̄.
    ``lr``
        What the lab trains with first.
    ``centre``
        Where the lab expects the best λ, times the number of steps, because λ ∝ 1/steps (the paper's Rule 3; its own
        5e-4 × 78,200 steps is 39). For a decay that is decoupled from the gradient it is λ·η × steps: such a decay
        shrinks the weights by ηλ per step, so ηλ has an optimum. Measured at 400 steps (ResNet-8 of width 16,
        1,000 digits with a fifth of the labels wrong; three seeds, last-epoch test error in percent):

        ======  ===========================  ==========================  ===========
        SGD     λ = 0.05: 3.8 ± 0.5          at 0.03 5.5, at 0.09 12     centre 20
        SGDS    λ = 0.09: 4.0 ± 0.5          at 0.03 7.1, at 0.18 69     centre 32
        AdamW   λ·η = 0.017: 4.3 ± 1.7       at 0.01 6.2, at 0.03 62     centre 6
        Adam    λ = 3: 5.2 ± 1.6             at 1 6.9, at 6 7.6          centre 1200
        AdamS   λ = 0.1: 5.7 ± 1.1           at 0.06 6.7, at 0.17 90     centre 40
        ======  ===========================  ==========================  ===========

        The others follow by the paper's conversions (λ_SGDW = λ_S/(1 − β); Adai's lr of 1.0 is SGD's effective lr,
        0.1/(1 − 0.9); AMSGrad's is Adam's), shifted where one seed of each put the optimum elsewhere.
    """

    title: str
    path: str
    family: str
    decay: str
    base: str
    lr: float
    centre: float
    description: str
    power: float | None = None

    @property
    def name(self) -> str:
        """The key of the row: the title in lower case; the path of an optimizer that is not registered."""
        return next((name for name, row in OPTIMIZERS.items() if row is self or row.path == self.path), self.path)

    @property
    def cls(self) -> type[Optimizer]:
        """The class; asking for it imports torch."""
        return _import(self.path, "optimizer")

    @property
    def default_lr(self) -> float:
        """The lr that the class takes when none is given."""
        return float(_default(self.cls, "lr", self.lr))

    @property
    def default_weight_decay(self) -> float:
        """The λ that the class takes when none is given."""
        return float(_default(self.cls, "weight_decay", 0.0))

    @property
    def decay_in_words(self) -> str:
        """What a step takes from a weight, in a few words."""
        return DECAYS[self.decay].words if self.decay in DECAYS else self.decay


@dataclass(frozen=True)
class DecayRow:
    """What is known of a decay without importing it. ``pull`` is its formula, ``words`` the same in a few words."""

    title: str
    path: str
    pull: str
    words: str
    description: str

    @property
    def name(self) -> str:
        """The key of the row: the title in lower case."""
        return next((name for name, row in DECAYS.items() if row is self or row.path == self.path), self.path)

    @property
    def cls(self) -> type[Decay]:
        """The class; asking for one of ours imports no torch."""
        return _import(self.path, "decay")


OPTIMIZERS: dict[str, OptimizerRow] = {}
"""Every optimizer by name; :func:`register` adds to it."""

DECAYS: dict[str, DecayRow] = {}
"""Every decay by name; :func:`register` adds to it."""


def _optimizer(
    title: str, family: str, decay: str, base: str, lr: float, centre: float, power: float | None, description: str
) -> None:
    path = f"weightdecay:{title}"
    OPTIMIZERS[title.lower()] = OptimizerRow(title, path, family, decay, base, lr, centre, description, power)


def _decay(title: str, pull: str, words: str, description: str) -> None:
    DECAYS[title.lower()] = DecayRow(title, f"weightdecay.decay:{title}", pull, words, description)


# fmt: off
_optimizer("SGD", "sgd", "l2", "sgd", 0.1, 20.0, None, "torch's SGD, with any decay.")
_optimizer("SGDW", "sgd", "decoupled", "sgd", 0.1, 32.0, None, "SGD with decay decoupled from the gradient.")
_optimizer("SGDS", "sgd", "stable", "sgd", 0.1, 32.0, None, "SGD with stable weight decay.")
_optimizer("HeavyBall", "sgd", "l2", "heavyball", 0.1, 20.0, None, "SGD with a buffer that starts at zero.")
_optimizer("TensorFlowSGD", "sgd", "l2", "tensorflowsgd", 0.1, 20.0, None, "SGD with the lr inside its buffer.")
_optimizer("Adam", "adam", "l2", "adam", 1e-3, 1200.0, 0.5, "torch's Adam, with any decay.")
_optimizer("AdamW", "adam", "decoupled", "adam", 1e-3, 6.0, 0.5, "Adam with decay decoupled from the gradient.")
_optimizer("AdamS", "adam", "stable", "adam", 1e-3, 40.0, 0.5, "Adam with stable weight decay.")
_optimizer("AMSGrad", "adam", "l2", "amsgrad", 1e-3, 1200.0, 0.5, "Adam whose second moment never shrinks.")
_optimizer("AMSGradW", "adam", "decoupled", "amsgrad", 1e-3, 6.0, 0.5, "AMSGrad with decoupled decay.")
_optimizer("AMSGradS", "adam", "stable", "amsgrad", 1e-3, 40.0, 0.5, "AMSGrad with stable weight decay.")
_optimizer("Adai", "adai", "l2", "adai", 1.0, 20.0, None, "Adapts the inertia of each element, not its lr.")
_optimizer("AdaiW", "adai", "decoupled", "adai", 1.0, 16.0, None, "Adai with decay decoupled from the gradient.")
_optimizer("AdaiS", "adai", "stable", "adai", 1.0, 16.0, None, "Adai with stable weight decay.")
_optimizer("RAdam", "adam", "l2", "radam", 1e-3, 40.0, None, "Adam whose first steps wait for the second moment.")
_optimizer("Yogi", "adam", "l2", "yogi", 1e-2, 40.0, 0.5, "Adam whose second moment changes additively.")
_optimizer("AdaBound", "adam", "l2", "adabound", 1e-3, 120.0, None, "Adam with learning rates clipped towards SGD's.")
_optimizer("Padam", "adam", "l2", "padam", 0.1, 40.0, 0.25, "AMSGrad with a smaller power of the second moment.")
_optimizer("NAdam", "adam", "l2", "nadam", 1e-3, 1200.0, 0.5, "Adam with Nesterov's momentum.")
_optimizer("Lion", "sign", "decoupled", "lion", 1e-4, 6.0, None, "Steps by the sign of a momentum.")
_optimizer("Muon", "orthogonal", "decoupled", "muon", 1e-3, 6.0, None, "Steps by an orthogonalised momentum.")
_optimizer("MuonAdamW", "orthogonal", "decoupled", "muonadamw", 1e-3, 6.0, None, "Muon for matrices, Adam for others.")

_decay("L2", "0, and g + λθ", "L2: λ in the gradient", "Adds the gradient of a penalty, as torch's SGD and Adam do.")
_decay("Decoupled", "ηλ", "decoupled: lr × λ", "Decoupled from the gradient, as in AdamW and SGDW.")
_decay("Stable", "ηλḡ", "stable: effective lr × λ", "λ as in L2, for any lr and optimizer; ḡ is the mean gain.")
_decay("Vanilla", "λ", "vanilla: λ", "A fixed fraction per step, independent of the learning rate.")
_decay("Independent", "λ η/η_max", "independent: λ × lr/peak lr", "Follows the schedule of the lr, but not its peak.")
_decay("Elementwise", "ληg", "elementwise: lr × gain × λ", "Stable decay by the gain of each element; an ablation.")
_decay("Corrected", "λ η²/η_max", "corrected: λ × lr²/peak lr", "AdamC's decay, before a normalisation.")
_decay("LogTime", "λ (η/η_max)/(1 + t/T)", "log-time: falls as 1/t", "Independent, but falls as 1/t after T steps.")
_decay("Cautious", "masked", "cautious: where the update agrees", "Any decay, only where the update agrees with it.")
_decay("Toward", "from an anchor", "toward: an anchor", "Any decay, towards a number or the initial weight.")
_decay("TouchedRows", "by rows", "touched rows: those with gradient", "Any decay, only in rows that have a gradient.")
_decay("NormTarget", "pull (1 − R/‖θ‖)", "norm target: to a radius", "Any decay, towards a norm instead of 0.")
_decay("Hyperball", "0, and a sphere", "hyperball: norm kept", "Keeps the norm of a matrix and turns it by η per step.")
_decay("RadialBrake", "0, and a brake", "radial brake: norm slowed", "Slows the change of the norm of a matrix.")
# fmt: on

BUILT_IN = frozenset(OPTIMIZERS) | frozenset(DECAYS)


# ---------------------------------------------------------------- finding and building


def available() -> list[str]:
    """Return the names that :func:`create` knows, sorted.

    >>> "adams" in available()
    True
    """
    return sorted(OPTIMIZERS)


def optimizer(name: str) -> OptimizerRow:
    """Return the row of an optimizer by its name (upper and lower case are the same) or its path "module:Class".

    The row of a class that is not registered is derived from the class.

    Raises: ValueError, for an unknown name, with the nearest known one, and for a path that leads to no optimizer.
    """
    if not isinstance(name, str):
        raise TypeError(f"{name!r} is not the name of an optimizer. Pass a text, or build the class yourself.")
    if name.lower() in OPTIMIZERS:
        return OPTIMIZERS[name.lower()]
    if ":" not in name:
        raise ValueError(f'{unknown("optimizer", name, OPTIMIZERS)} Your own: "package.module:Class", or register it.')
    cls = _import(name, "optimizer")
    return next((row for row in OPTIMIZERS.values() if row.cls is cls), None) or _row_of_optimizer(cls)


def decay(name: str) -> DecayRow:
    """Return the row of a decay by its name or its path "module:Class", as :func:`optimizer` does."""
    if name.lower() in DECAYS:
        return DECAYS[name.lower()]
    if ":" not in name:
        raise ValueError(f'{unknown("decay", name, DECAYS)} Your own: "package.module:Class", or register it.')
    cls = _import(name, "decay")
    return next((row for row in DECAYS.values() if row.cls is cls), None) or _row_of_decay(cls)


def create(name: str, params: Params, **options: Any) -> Optimizer:
    """Return the optimizer of that name (upper and lower case are the same), built with the options of its class.

    ``name`` may be the path of a class of yours, "package.module:Class". ``decay`` may be a name, a call or a path as
    in every constructor: "vanilla", "stable(power=0.25)", "package.module:Rule(0.3)".

    Raises: ValueError, for an unknown name, with the nearest known one.

    >>> import torch
    >>> type(create("adams", [torch.zeros(2, requires_grad=True)], lr=1e-3)).__name__
    'AdamS'
    """
    return optimizer(name).cls(params, **options)


def portable(name: str) -> str:
    """Return a name that means the same optimizer in every process: a built-in's name, the path of a user's class.

    Raises: ValueError, for an unknown name.
    """
    row = optimizer(name)
    return row.name if row.name in BUILT_IN else row.path


# ---------------------------------------------------------------- one's own


@overload
def register(what: C, cls: None = None, /, **about: Any) -> C: ...
@overload
def register(what: str, cls: C, /, **about: Any) -> C: ...
@overload
def register(what: str, cls: None = None, /, **about: Any) -> type: ...


def register(what: str | type, cls: type | None = None, /, **about: Any) -> type:
    """Give an optimizer or a decay of your own a name that :func:`create`, ``decay=`` and the lab know; return it.

    ``register(Lion)``, ``register("lion", Lion)`` or ``register("package.module:Lion")``; also as a decorator. The name
    is the class's in lower case. ``about`` sets columns of the row (:class:`OptimizerRow`, :class:`DecayRow`); what is
    not given is derived from the class: title and description, the decay from the default of its ``decay=``, the
    class itself as base, Adam's lr and the paper's λ for the lab.

    Registering the class again, or the same class defined anew (a notebook's cell), replaces the row.

    Raises: ValueError, for a name that another class has; TypeError, for what is neither optimizer nor decay.

    >>> from dataclasses import dataclass
    >>> from weightdecay import catalog, decay
    >>> @catalog.register
    ... @dataclass(frozen=True)
    ... class Half(decay.Decay):
    ...     def pull(self, step):
    ...         return step.lr * step.strength / 2
    >>> catalog.DECAYS["half"].title
    'Half'
    >>> catalog.unregister("half")
    """
    if isinstance(what, str) and cls is None:
        if ":" not in what:
            raise TypeError(f'register({what!r}): which class? Pass register("name", Class), or a path "module:Class".')
        name, cls = "", _import(what, "optimizer or decay")
    else:
        name, cls = (what, cls) if isinstance(what, str) else ("", what)
    kind = _kind(cls)
    assert isinstance(cls, type)
    name = (name or cls.__name__).lower()
    if not name.isidentifier():
        raise ValueError(f"{name!r} cannot be a name here: use letters, digits and underscores.")
    table: dict[str, Any] = OPTIMIZERS if kind == "optimizer" else DECAYS
    row_class = OptimizerRow if kind == "optimizer" else DecayRow
    known = [field.name for field in fields(row_class) if field.name != "path"]
    for column in about:
        if column not in known:
            raise TypeError(f"register({name!r}): {unknown('column', column, known)}")
    path = path_of(cls)
    if name in BUILT_IN or (name in table and table[name].path != path):
        if name in table and _class_of(table[name]) is cls:  # one of ours, once more
            return cls
        other = table[name].path if name in table else f"a {'decay' if kind == 'optimizer' else 'optimizer'}"
        first = "" if name in BUILT_IN else f", or call unregister({name!r}) first"
        raise ValueError(
            f"{kind} {name!r} is taken by {other}. Register {cls.__name__} under another name, as in "
            f'register("my_{name}", {cls.__name__}){first}.'
        )
    _LIVE[path] = cls
    row = _row_of_optimizer(cls) if kind == "optimizer" else _row_of_decay(cls)
    table[name] = replace(row, **about)
    return cls


def unregister(name: str) -> None:
    """Forget an optimizer or a decay of your own. Raises: ValueError, for a name that is not registered, or is ours."""
    key = str(name).lower()
    own = sorted((set(OPTIMIZERS) | set(DECAYS)) - BUILT_IN)
    if key not in own:
        why = "belongs to weightdecay" if key in BUILT_IN else f"is not registered.{nearest(key, own)}"
        raise ValueError(f"{name!r} {why}. Registered: {', '.join(own) or 'nothing'}.")
    for table in (OPTIMIZERS, DECAYS):
        row = table.pop(key, None)
        if row is not None:
            _LIVE.pop(row.path, None)


_LIVE: dict[str, type] = {}
"""Registered classes by path: one that was defined in a function or a notebook cannot be imported."""


def _class_of(row: OptimizerRow | DecayRow) -> type:
    return row.cls


def path_of(cls: type) -> str:
    """Return "module:Class", by which another process finds a class that a module defines."""
    return f"{cls.__module__}:{cls.__qualname__}"


def locate(path: str, kind: str) -> Any:
    """Return what stands at "module:Name", of whatever library. Raises: ValueError, which says which part is missing.

    ``kind`` is what is looked for, in the words of the message.
    """
    if path in _LIVE:
        return _LIVE[path]
    module_name, _, qualname = path.partition(":")
    try:
        there: Any = importlib.import_module(module_name)
    except (ImportError, ValueError) as error:
        raise ValueError(
            f"{path!r}: the module {module_name!r} of this {kind} cannot be imported ({error}). "
            "Install its package, or start where Python finds it (PYTHONPATH)."
        ) from error
    for part in qualname.split("."):
        if not hasattr(there, part):
            classes = [name for name, value in vars(there).items() if isinstance(value, type)]
            raise ValueError(f"{path!r}: {module_name} has no {part!r}.{_nearest_case(part, classes)}")
        there = getattr(there, part)
    return there


def _import(path: str, kind: str) -> type[Any]:
    """Return the class at "module:Class". Raises: ValueError, which says which part was not found."""
    there = locate(path, kind)
    if not isinstance(there, type) or not _is(there, kind):
        raise ValueError(f"{path!r} is {there!r}, and no {kind}. It must be a class derived from {_BASES[kind]}.")
    return there


_BASES = {
    "optimizer": "weightdecay.Optimizer",
    "decay": "weightdecay.Decay",
    "optimizer or decay": "weightdecay.Optimizer or weightdecay.Decay",
}


def _nearest_case(name: str, known: list[str]) -> str:
    by_lower = {each.lower(): each for each in known}
    found = nearest(name, by_lower)
    for lower, each in by_lower.items():
        found = found.replace(repr(lower), repr(each))
    return found


def _is(cls: type, kind: str) -> bool:
    return any(word in kind and issubclass(cls, _parent(word)) for word in PARENTS)


PARENTS = {"optimizer": "weightdecay.optim:Optimizer", "decay": "weightdecay.decay:Decay"}
"""What an optimizer and what a decay is derived from."""


def _parent(word: str) -> type:
    """Return it: each when it is asked for, since that of an optimizer needs torch."""
    module, _, name = PARENTS[word].partition(":")
    parent: type = getattr(importlib.import_module(module), name)
    return parent


def _kind(cls: Any) -> str:
    """Whether a class is an optimizer or a decay."""
    for word in PARENTS:
        base = _parent(word)
        if isinstance(cls, type) and issubclass(cls, base) and cls is not base:
            return word
    hint = ""
    if isinstance(cls, type) and "torch" in sys.modules and issubclass(cls, sys.modules["torch"].optim.Optimizer):
        hint = " An optimizer of torch's keeps its step: weightdecay.attach(optimizer, decay) gives it any decay."
    raise TypeError(f"{cls!r} is not a class derived from weightdecay.Optimizer or weightdecay.Decay.{hint}")


def _described(cls: type) -> str:
    """The first line of the class's own docstring: a dataclass without one has its signature there."""
    lines = (vars(cls).get("__doc__") or "").strip().splitlines()
    first = lines[0].strip() if lines else ""
    return "" if first.startswith(f"{cls.__name__}(") else first


def _default(cls: type, option: str, otherwise: Any) -> Any:
    parameter = inspect.signature(cls).parameters.get(option)
    return otherwise if parameter is None or parameter.default is inspect.Parameter.empty else parameter.default


def _row_of_optimizer(cls: type) -> OptimizerRow:
    """Return what a class says of itself; for the lab Adam's lr and the paper's λ where it says nothing."""
    default = _default(cls, "decay", None)
    if default is None or isinstance(default, str):
        meaning = default or "l2"
    else:
        of_its_type = (name for name, row in DECAYS.items() if row.cls is type(default))
        meaning = next(of_its_type, path_of(type(default)))
    return OptimizerRow(
        title=cls.__name__,
        path=path_of(cls),
        family=_family(cls),
        decay=meaning,
        base=path_of(cls),
        lr=1e-3,
        centre=40.0,
        description=_described(cls),
    )


def _family(cls: type) -> str:
    """The family of the nearest of our classes it is derived from; "sign", of those without a gain."""
    for base in cls.__mro__[1:]:
        for row in OPTIMIZERS.values():
            if row.name in BUILT_IN and row.cls is base:
                return row.family
    return "sign"


def _row_of_decay(cls: type) -> DecayRow:
    name = cls.__name__
    return DecayRow(name, path_of(cls), pull="", words=name.lower(), description=_described(cls))
