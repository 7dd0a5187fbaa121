"""A step with a closure: the weights shrink when it has made the gradients, and before the optimizer reads them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Args = tuple[Any, ...]
Kwargs = dict[str, Any]


class Once:
    """A user's closure, and what must happen between it and the step. It may be called once per step."""

    def __init__(self, name: str, closure: Callable[[], Any], then: Callable[[], None]) -> None:
        self.name, self.closure, self.then = name, closure, then
        self.called = False

    def __call__(self) -> Any:
        """Return the loss of the user's closure, when the weights have shrunk as well."""
        if self.called:
            raise RuntimeError(
                f"{self.name}.step calls its closure more than once, at different weights, and the attached "
                "decay has shrunk them after the first call. It is not known which weights shall shrink. Attach to an "
                "optimizer that takes one gradient per step. The weights are no longer those before this step."
            )
        loss = self.closure()
        self.called = True
        self.then()
        return loss

    def must_have_been_called(self) -> None:
        """Raise where the step was taken on gradients that the closure has not made."""
        if not self.called:
            raise RuntimeError(
                f"{self.name}.step has not called its closure. The weights shrink in that call, so nothing has shrunk. "
                "Call the closure yourself (loss = closure()), then step()."
            )


def closure_of(args: Args, kwargs: Kwargs) -> Callable[[], Any] | None:
    """Return the closure that ``optimizer.step(*args, **kwargs)`` was given; the optimizer is the first of ``args``."""
    closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
    return closure if callable(closure) else None


def with_closure(args: Args, kwargs: Kwargs, closure: Callable[[], Any]) -> tuple[Args, Kwargs]:
    """Return the arguments with another closure in the same place."""
    if "closure" in kwargs:
        return args, {**kwargs, "closure": closure}
    return (args[0], closure, *args[2:]), kwargs
