"""The Hessian, and the generalised Gauss-Newton matrix: the Hessian without the network's own curvature."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from weightdecay.spectrum.base import Batches, Curvature, Loss


class Hessian(Curvature):
    r"""The Hessian of the mean loss.

    .. math:: Hv = \nabla_\theta\,\langle \nabla_\theta L(\theta),\, v \rangle

    One forward and two backward passes per batch, nothing kept between products. Equal to curvlinops' operator to
    rounding, and measured 1.1 to 1.2 times as fast on small residual networks (``docs/spectrum.md``).

    Source: Pearlmutter 1994, Fast exact multiplication by the Hessian.

    >>> model = torch.nn.Linear(2, 1, bias=False).double()
    >>> data = [(torch.eye(2).double(), torch.zeros(2, 1).double())]
    >>> matrix = Hessian(model, torch.nn.functional.mse_loss, data)
    >>> (matrix @ torch.tensor([1.0, 0.0], dtype=torch.float64)).tolist()
    [1.0, 0.0]
    """

    def product(self, vector: Tensor) -> Tensor:
        """Return Hv."""
        direction = self.shaped(vector)
        total = torch.zeros_like(vector)
        for inputs, targets, share in self.batches():
            loss = self.loss_of(inputs, targets)
            gradients = torch.autograd.grad(loss, self.parameters, create_graph=True, allow_unused=True)
            inner = sum(
                ((g * v).sum() for g, v in zip(gradients, direction, strict=True) if g is not None and g.requires_grad),
                start=torch.zeros((), device=self.device, dtype=self.dtype),
            )
            if inner.requires_grad:  # else the loss is linear in all parameters
                twice = torch.autograd.grad(inner, self.parameters, allow_unused=True)
                total.add_(self.flat(twice), alpha=share)
        return total


class GGN(Curvature):
    r"""The generalised Gauss-Newton matrix of the mean loss.

    .. math:: G = \frac1N\sum_j J_j^\top\,\big(\nabla^2_f\,\ell(f_j, y_j)\big)\,J_j

    Never negative for a convex loss (cross entropy, squares), and equal to the Hessian where the network is linear in
    its parameters or fits perfectly. By curvlinops, one forward-mode and one backward pass per batch; the data stays on
    the model's device.

    Takes ``nn.CrossEntropyLoss`` or ``nn.MSELoss``, averaging: curvlinops asks the loss how it averages.

    Raises: ValueError, for another loss, class weights or ignored targets; as :class:`Curvature`.
    Source: Schraudolph 2002; curvlinops' ``GGNLinearOperator``.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        data: Batches,
        parameters: Sequence[nn.Parameter] | None = None,
        on_product: Callable[[int], None] | None = None,
    ) -> None:
        if not isinstance(loss, (nn.CrossEntropyLoss, nn.MSELoss)) or loss.reduction != "mean":
            raise ValueError(
                f"loss={loss!r}: the GGN needs nn.CrossEntropyLoss() or nn.MSELoss(), with reduction='mean'. "
                "The Hessian takes any function."
            )
        super().__init__(model, loss, data, parameters, on_product)
        with _quietly():
            from curvlinops import GGNLinearOperator
        batches = [(inputs, targets) for inputs, targets, _ in self.batches()]
        if self.total != sum(targets.numel() for _, targets in batches):
            raise ValueError(f"loss={loss!r}: the GGN takes no class weights and ignores no targets. Use the Hessian.")
        with self.measured(), torch.no_grad():
            for inputs, targets in batches:
                self.loss_of(inputs, targets)  # a diverged network shall say so
        with self.measured():
            self.operator: Any = GGNLinearOperator(
                model, loss, self.parameters, batches, check_deterministic=False, num_data=_count(batches)
            )

    def product(self, vector: Tensor) -> Tensor:
        """Return Gv."""
        with _quietly():
            result: Tensor = self.operator @ vector
        return result


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without two warnings that nobody can act on: torch.jit is being retired, and vmap is slow on some layers."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)
        warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
        yield


def _count(batches: Sequence[tuple[Tensor, Tensor]]) -> int:
    return sum(len(targets) for _, targets in batches)
