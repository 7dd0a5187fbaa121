"""The two interfaces of a weight decay: what it may know of a step, and the places where it may act."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, TypeAlias, Union

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Number: TypeAlias = Union[float, "Tensor"]  # a type without torch, to which "| None" can be added
"""A scalar: a Python float, or a 0-d tensor when an engine must not wait for the device."""

FACTS = frozenset({"mean_gain", "gain", "t", "update", "weight", "grad", "start", "norms"})
"""What a decay may ask of a step, and names in its ``needs``."""


def _unknown() -> NoReturn:
    raise TypeError("this Step was built without that fact.")


@dataclass(frozen=True)
class Step:
    r"""What one step looks like to a decay: the facts a rule may ask for, for one tensor of the model.

    ===================  =======================  =============================================================
    strength             :math:`\lambda`          ``group["weight_decay"]``
    lr                   :math:`\eta_t`           ``group["lr"]``
    peak_lr              :math:`\eta_{\max}`      ``group["peak_lr"]``: the lr the group was built with
    t                    :math:`t`                which step of this tensor it is: 1, 2, …
    mean_gain()          :math:`\bar g_t`         by how much the update multiplies a gradient: one number
    gain()               :math:`g_t`              the same, element by element, in the shape of the tensor
    update()             :math:`u_t`              the whole direction, momentum included: η_t u_t will be subtracted
    weight()             :math:`\theta_{t-1}`     the weight before the step
    grad()               :math:`g_t`              the gradient that the moments have seen
    start()              :math:`\theta_0`         the weight before its first step, which the state then keeps
    norms(x, …)          :math:`\|x\|, \dots`      Euclidean norms of tensors shaped as the weight, over all its pieces
    ===================  =======================  =============================================================

    The gains and what stands below them are calls, not values: a fact that a decay does not ask for costs nothing. The
    decay names these facts, and t, in :attr:`Decay.needs`. Tensors are this process's piece of the parameter, complex
    numbers as pairs of reals, and must not be written. One call of ``norms`` costs one all-reduce where the parameter
    is cut into pieces, however many tensors it is given.
    """

    strength: Number
    lr: Number
    peak_lr: Number
    mean_gain: Callable[[], Number] = _unknown
    gain: Callable[[], Number] = _unknown
    t: Number = 1
    update: Callable[[], Tensor] = _unknown
    weight: Callable[[], Tensor] = _unknown
    grad: Callable[[], Tensor] = _unknown
    start: Callable[[], Tensor] = _unknown
    norms: Callable[..., Sequence[Tensor]] = _unknown


@dataclass(frozen=True)
class Decay:
    r"""How the strength λ becomes a shrinking of the weights. Frozen, without memory; its repr is its name.

    .. math:: \theta_t = r_t + (1 - \text{pull}_t \odot \text{mask}_t)\,(\theta_{t-1} - r_t) - \eta_t u_t

    A new decay is one subclass that overrides :meth:`pull` (or :meth:`couple`, when it enters the gradient) and, if it
    wants, :meth:`mask`, :meth:`anchor` r_t and :meth:`constrain`. Whatever these ask of the step stands in
    :attr:`needs`, so that an optimizer or an engine that cannot answer refuses when it is built.

    Rules are written as arithmetic on tensors: an engine may hand over several tensors of one group as one, on which
    every operation acts tensor by tensor.
    """

    needs = frozenset[str]()
    """The facts of a :class:`Step` that this decay asks for: names in :data:`FACTS`."""
    words: ClassVar[frozenset[str]] = frozenset()
    """Arguments that are words: written without quotes in a text, as in "toward(start, stable)"."""

    def couple(self, grad: Tensor, weight: Tensor, strength: Number) -> Tensor:
        """Return the gradient that the moments see. Never in place: ``p.grad`` belongs to the user."""
        return grad

    def pull(self, step: Step) -> Number:
        """Return by which fraction of its distance to the anchor the weight shrinks in this step."""
        return 0.0

    def mask(self, step: Step) -> Tensor | None:
        """Return where, and how much of, the pull acts, in the shape of the weight; None: everywhere."""
        return None

    def anchor(self, step: Step) -> Number:
        """Return what the weight is pulled towards: a number, or a tensor in the shape of the weight."""
        return 0.0

    def constrain(self, step: Step, old: Tensor, new: Tensor) -> Tensor:
        """Return the weight after the step: ``new`` is what decay and update made of ``old``."""
        return new

    @property
    def uniform(self) -> bool:
        """Whether all that it does to a weight is to multiply it by 1 − pull, one number per tensor."""
        return self.plain and set(self.needs) <= {"mean_gain", "t"}

    @property
    def plain(self) -> bool:
        """Whether it pulls everywhere towards 0 and leaves the result alone, by a number or a number per element."""
        kind = type(self)
        return kind.mask is Decay.mask and kind.anchor is Decay.anchor and kind.constrain is Decay.constrain

    @property
    def follows_update(self) -> bool:
        """Whether it can act only when the update is known: it asks for the update, or changes the weight after it."""
        return "update" in self.needs or type(self).constrain is not Decay.constrain

    @property
    def keeps_start_as(self) -> torch.dtype | None:
        """The type in which the state keeps the weight before its first step; None: the weight's."""
        return None

    @property
    def switched(self) -> bool:
        """Whether λ only switches it on, at any value above 0: a constraint without a pull."""
        return type(self).constrain is not Decay.constrain and type(self).pull is Decay.pull

    @property
    def enters_gradient(self) -> bool:
        """Whether the moments see another gradient than the loss has."""
        return type(self).couple is not Decay.couple

    def check(self, group: Mapping[str, Any], where: str) -> None:
        """Refuse, with a ValueError, a parameter group in which this decay has no meaning.

        ``where`` names the group for the message, as in ``"group 2"``. Called when the group is added and whenever
        something was written into it: schedulers write into groups.
        """


def undeclared(decay: Decay, name: str, *_: Any) -> NoReturn:
    """Refuse a fact of the step that the decay asks for and does not name in its needs."""
    raise TypeError(
        f"{decay!r} asks for step.{name}(), but its needs are {sorted(decay.needs)}. Write "
        f"needs = frozenset({sorted({*decay.needs, name})}) into its class."
    )


def checked_needs(decay: Decay) -> Set[str]:
    """Return what the decay needs. Raises: TypeError, for a name that is not a fact of a step."""
    needs = frozenset(decay.needs)
    if strange := needs - FACTS:
        raise TypeError(
            f"{decay!r} needs {sorted(strange)[0]!r}, which is not a fact of a step. Known: {', '.join(sorted(FACTS))}."
        )
    return needs
