"""Several tensors that are computed with as one, each operation one call for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

import torch
from torch import Tensor

STACK = 1 << 24
"""Elements of matrices that are computed with as one: above that, each is work enough, and copies take memory."""


class Bundle:
    """A list of tensors with the arithmetic of one tensor, so that the boxes of ``optim`` work on it as they stand.

    What has a ``torch._foreach_*`` form goes there, one call (on an accelerator one kernel) for the list; everything
    else goes tensor by tensor. A bundle meets numbers, 0-d tensors, and bundles of the same length.
    """

    __slots__ = ("tensors",)

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self.tensors = list(tensors)

    @property
    def dtype(self) -> torch.dtype:
        """That of the tensors, which is the same for all."""
        return self.tensors[0].dtype

    @property
    def device(self) -> torch.device:
        """That of the tensors, which is the same for all."""
        return self.tensors[0].device

    def numel(self) -> int:
        """Return the number of elements of all tensors."""
        return sum(t.numel() for t in self.tensors)

    def to(self, dtype: torch.dtype) -> Bundle:
        """Return the tensors in that type; the same ones where they have it."""
        return self if self.dtype == dtype else Bundle([t.to(dtype) for t in self.tensors])

    # ---------------------------------------------------------------- arithmetic with a foreach form

    def __add__(self, other: Any) -> Bundle:
        return Bundle(torch._foreach_add(self.tensors, self._operand(other)))

    __radd__ = __add__

    def __sub__(self, other: Any) -> Bundle:
        operand = self._operand(other)
        if isinstance(operand, Tensor):
            return Bundle(torch._foreach_add(self.tensors, operand, alpha=-1))
        return Bundle(torch._foreach_sub(self.tensors, operand))

    def __rsub__(self, other: Any) -> Bundle:
        negative = torch._foreach_neg(self.tensors)
        torch._foreach_add_(negative, self._operand(other))
        return Bundle(negative)

    def __mul__(self, other: Any) -> Bundle:
        return Bundle(torch._foreach_mul(self.tensors, self._operand(other)))

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Bundle:
        return Bundle(torch._foreach_div(self.tensors, self._operand(other)))

    def __rtruediv__(self, other: Any) -> Bundle:
        return Bundle([other / t for t in self.tensors])

    def __pow__(self, exponent: float) -> Bundle:
        return Bundle(torch._foreach_pow(self.tensors, exponent))

    def __neg__(self) -> Bundle:
        return Bundle(torch._foreach_neg(self.tensors))

    def add_(self, other: Any, alpha: float = 1) -> Bundle:
        """Add alpha · other, in place."""
        operand = self._operand(other)
        if isinstance(operand, (list, Tensor)):
            torch._foreach_add_(self.tensors, operand, alpha=alpha)
        else:
            torch._foreach_add_(self.tensors, alpha * operand)
        return self

    def sub_(self, other: Any) -> Bundle:
        """Subtract, in place."""
        operand = self._operand(other)
        if isinstance(operand, Tensor):
            torch._foreach_add_(self.tensors, operand, alpha=-1)
        else:
            torch._foreach_sub_(self.tensors, operand)
        return self

    def mul_(self, other: Any) -> Bundle:
        """Multiply, in place."""
        torch._foreach_mul_(self.tensors, self._operand(other))
        return self

    def addcmul_(self, one: Bundle, other: Bundle, *, value: float = 1) -> Bundle:
        """Add value · one · other, in place."""
        torch._foreach_addcmul_(self.tensors, one.tensors, other.tensors, value=value)
        return self

    def lerp(self, end: Bundle, weight: float) -> Bundle:
        """Return what is that fraction of the way to the end."""
        return Bundle(torch._foreach_lerp(self.tensors, end.tensors, weight))

    def lerp_(self, end: Bundle, weight: float) -> Bundle:
        """Go that fraction of the way to the end, in place."""
        torch._foreach_lerp_(self.tensors, end.tensors, weight)
        return self

    def copy_(self, other: Bundle) -> Bundle:
        """Take the values of the other."""
        torch._foreach_copy_(self.tensors, other.tensors)
        return self

    def sqrt(self) -> Bundle:
        """Return √self."""
        return Bundle(torch._foreach_sqrt(self.tensors))

    def sqrt_(self) -> Bundle:
        """√self, in place."""
        torch._foreach_sqrt_(self.tensors)
        return self

    def sign_(self) -> Bundle:
        """The sign of each element, in place."""
        torch._foreach_sign_(self.tensors)
        return self

    def reciprocal_(self) -> Bundle:
        """1/self, in place."""
        torch._foreach_reciprocal_(self.tensors)
        return self

    def _operand(self, value: Any) -> Any:
        if isinstance(value, Bundle):
            return value.tensors
        if isinstance(value, (int, float)) and self.dtype.is_floating_point and self.device.type == "cpu":
            # A number would be made a tensor once for every tensor of the list: three quarters of the time of the call.
            return torch.tensor(value, dtype=self.dtype, device="cpu")
        return value

    # ---------------------------------------------------------------- everything else, tensor by tensor

    def __eq__(self, other: Any) -> Bundle:  # type: ignore[override]
        result: Bundle = self._each(torch.eq, self, other)
        return result

    __hash__ = None  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(torch.Tensor, name)
        if not callable(method):
            raise AttributeError(f"a Bundle has no {name!r}: its tensors differ in it")
        return lambda *args, **kwargs: self._each(method, self, *args, **kwargs)

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        forward = REFLECTED.get(function)
        if forward is not None and isinstance(args[0], Tensor):  # 0-d tensor ∘ bundle
            return getattr(args[1], forward)(args[0])
        kwargs = kwargs or {}
        if function is torch.maximum and kwargs.get("out") is args[0]:
            torch._foreach_maximum_(args[0].tensors, args[1].tensors)
            return args[0]
        if getattr(function, "stacks", False):
            return cls._stacked(function, *args)
        return cls._each(function, *args, **kwargs)

    @classmethod
    def _stacked(cls, function: Callable[..., Any], several: Bundle, *others: Any) -> Bundle:
        """Call once for all tensors of a shape a function that says it treats each matrix of a stack by itself."""
        rows: dict[Any, list[list[int]]] = {}
        for i, tensor in enumerate(several.tensors):
            found = rows.setdefault(tensor.shape, [[]])
            if (len(found[-1]) + 1) * tensor.numel() > STACK and found[-1]:
                found.append([])
            found[-1].append(i)
        results = list(several.tensors)
        for row in chain.from_iterable(rows.values()):
            if len(row) == 1:
                results[row[0]] = function(several.tensors[row[0]], *others)
                continue
            together = function(torch.stack([several.tensors[i] for i in row]), *others)
            for i, result in zip(row, together.unbind(), strict=True):
                results[i] = result
        return cls(results)

    @staticmethod
    def _each(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call the function once per tensor, each bundle among the arguments replaced by its tensor."""
        inputs = [*args, *kwargs.values()]
        length = next(len(x.tensors) for x in inputs if isinstance(x, Bundle))
        results = [
            function(
                *(x.tensors[i] if isinstance(x, Bundle) else x for x in args),
                **{name: x.tensors[i] if isinstance(x, Bundle) else x for name, x in kwargs.items()},
            )
            for i in range(length)
        ]
        if isinstance(results[0], tuple):
            return tuple(Bundle(column) for column in zip(*results, strict=True))
        return Bundle(results)


def _raised(exponent: Tensor, base: float) -> Tensor:
    return base**exponent


def _operator(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, *others: Bundle._each(function, self, *others)


_OPERATORS: dict[str, Any] = {
    "__ne__": torch.ne,
    "__gt__": torch.gt,
    "__ge__": torch.ge,
    "__lt__": torch.lt,
    "__le__": torch.le,
    "__and__": torch.bitwise_and,
    "__or__": torch.bitwise_or,
    "__xor__": torch.bitwise_xor,
    "__invert__": torch.bitwise_not,
    "__abs__": torch.abs,
    "__rpow__": _raised,
}
for _name, _function in _OPERATORS.items():
    setattr(Bundle, _name, _operator(_function))


REFLECTED: dict[Any, str] = {
    torch.Tensor.add: "__radd__",
    torch.Tensor.mul: "__rmul__",
    torch.Tensor.sub: "__rsub__",
    torch.Tensor.div: "__rtruediv__",
    torch.Tensor.__add__: "__radd__",
    torch.Tensor.__mul__: "__rmul__",
    torch.Tensor.__sub__: "__rsub__",
    torch.Tensor.__truediv__: "__rtruediv__",
}
