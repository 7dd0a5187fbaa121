"""The decays of several optimizers that train one model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from weightdecay.attaching.handle import Handle


class Handles(Sequence["Handle"]):
    """The handles of several optimizers, in their order; made by :func:`~weightdecay.attach` of a list."""

    def __init__(self, handles: Sequence[Handle]) -> None:
        self._handles = tuple(handles)

    def __getitem__(self, place: Any) -> Any:
        return self._handles[place]

    def __len__(self) -> int:
        return len(self._handles)

    def __iter__(self) -> Iterator[Handle]:
        return iter(self._handles)

    def __repr__(self) -> str:
        return f"Handles({[repr(handle.decay) for handle in self._handles]})"

    def remove(self) -> None:
        """Take the decay off all of them. λ stays in the groups."""
        for handle in self._handles:
            handle.remove()

    @property
    def mean_square(self) -> float | None:
        """v̄ of the last step, over the tensors of all optimizers whose decay reads it; None where none does."""
        return next((h.mean_square for h in self._handles if h.mean_square is not None), None)

    @property
    def pulls(self) -> list[float]:
        """By which fraction the weights of each group shrank, one optimizer's groups after the other's."""
        return [pull for handle in self._handles for pull in handle.pulls]

    @property
    def peak_lrs(self) -> list[float]:
        """η_max of each group, one optimizer's groups after the other's."""
        return [peak for handle in self._handles for peak in handle.peak_lrs]

    @property
    def skipped_steps(self) -> int:
        """How many steps of an optimizer shrank nothing, for a gradient not finite."""
        return sum(handle.skipped_steps for handle in self._handles)

    @property
    def clamped_steps(self) -> int:
        """In how many steps of an optimizer some pull was outside [0, 1]."""
        return sum(handle.clamped_steps for handle in self._handles)


def one_each(optimizers: Sequence[Any], **arguments: Any) -> list[dict[str, Any]]:
    """Return the arguments of each optimizer: a list has one entry for each, anything else is for all.

    Raises: ValueError, for a list of another length, no optimizer, or one that is listed twice.
    """
    if not optimizers:
        raise ValueError("attach([]): expected at least one optimizer.")
    if len({id(optimizer) for optimizer in optimizers}) < len(optimizers):
        raise ValueError("attach([...]): the same optimizer is listed twice.")
    for name, value in arguments.items():
        if isinstance(value, (list, tuple)) and len(value) != len(optimizers):
            raise ValueError(
                f"attach(): {name} has {len(value)} entries for {len(optimizers)} optimizers. Give one for each, or "
                "one value for all."
            )
    return [
        {name: value[i] if isinstance(value, (list, tuple)) else value for name, value in arguments.items()}
        for i in range(len(optimizers))
    ]
