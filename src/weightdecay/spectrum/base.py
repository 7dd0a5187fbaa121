"""A matrix that is only ever multiplied: the curvature of the mean loss over a data set."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from weightdecay.spectrum.kernels import twice_differentiable

Batches = Iterable[tuple[Tensor, Tensor]]
"""(inputs, targets) of every batch; gone through once a product, so a list or a loader, not a generator."""

Loss = Callable[[Tensor, Tensor], Tensor]
"""(outputs, targets) → the mean over the targets of a batch, a 0-d tensor."""


class Curvature(ABC):
    r"""A symmetric n × n matrix of second derivatives of the mean loss, known by its products with vectors.

    .. math:: L(\theta) = \frac1N\sum_{j=1}^{N} \ell(f_\theta(x_j), y_j)

    The mean is over all targets of all batches, whatever their sizes: one batch or a hundred, the matrix is the same.
    ``parameters`` are by default all of the model that require a gradient; a vector holds their elements in that order.
    Data is moved to the model's device batch by batch.

    Shapes: vectors (n,), in the dtype of the parameters and on their device.
    Raises: ValueError, without parameters or data, for parameters of several devices or dtypes, for a generator, and
            where the loss of a batch is not one finite number.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        data: Batches,
        parameters: Sequence[nn.Parameter] | None = None,
        on_product: Callable[[int], None] | None = None,
    ) -> None:
        self.model, self.loss, self.data, self.on_product = model, loss, data, on_product
        given = model.parameters() if parameters is None else parameters
        self.parameters = [p for p in given if p.requires_grad]
        if not self.parameters:
            raise ValueError("the model has no parameter that requires a gradient: there is nothing to differentiate.")
        kinds = {(p.device, p.dtype) for p in self.parameters}
        if len(kinds) > 1:
            raise ValueError(
                f"the parameters have several devices or dtypes, {sorted(map(str, kinds))}: move the model."
            )
        ((self.device, self.dtype),) = kinds
        if isinstance(data, Iterator):
            raise ValueError("data is a generator, which can be read once; every product reads it. Pass list(data).")
        self.size = sum(p.numel() for p in self.parameters)
        self.products = 0
        self.targets = sum(targets.numel() for _, targets in data)
        if not self.targets:
            raise ValueError("data holds no targets: pass a list of (inputs, targets), or a loader.")

    @abstractmethod
    def product(self, vector: Tensor) -> Tensor:
        """Return the matrix times a vector (n,)."""

    def __matmul__(self, vector: Tensor) -> Tensor:
        """Return the matrix times a vector, counted and reported: ``on_product(products so far)``."""
        if vector.shape != (self.size,):
            raise ValueError(f"the vector has shape {tuple(vector.shape)}; the matrix takes ({self.size},).")
        with self.measured():
            result = self.product(vector.to(self.device, self.dtype))
        self.products += 1
        if self.on_product is not None:
            self.on_product(self.products)
        return result

    @contextlib.contextmanager
    def measured(self) -> Iterator[None]:
        """Put the model in eval mode for a while: batch-norm statistics stand still, and nothing is dropped out.

        Attention and recurrent layers use kernels that have second derivatives.
        """
        modes = [(module, module.training) for module in self.model.modules()]
        self.model.eval()
        try:
            with torch.enable_grad(), twice_differentiable(self.model):
                yield
        finally:
            for module, mode in modes:
                module.training = mode

    def batches(self) -> Iterator[tuple[Tensor, Tensor, float]]:
        """Yield inputs and targets on the model's device, and the share of the targets that the batch has."""
        for inputs, targets in self.data:
            yield inputs.to(self.device), targets.to(self.device), targets.numel() / self.targets

    def loss_of(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of a batch. Raises: ValueError, where it is not one finite number."""
        loss = self.loss(self.model(inputs), targets)
        if loss.ndim or not torch.isfinite(loss):
            what = f"a tensor of shape {tuple(loss.shape)}" if loss.ndim else str(loss.item())
            raise ValueError(
                f"the loss of a batch is {what}; one finite number, the mean over the batch, is needed. "
                "A diverged network has no curvature."
            )
        return loss

    def flat(self, tensors: Iterable[Tensor | None]) -> Tensor:
        """Return tensors shaped as the parameters, as one vector (n,); None stands for zeros."""
        pairs = zip(tensors, self.parameters, strict=True)
        return torch.cat([(torch.zeros_like(p) if t is None else t).detach().reshape(-1) for t, p in pairs])

    def shaped(self, vector: Tensor) -> list[Tensor]:
        """Return a vector (n,) as views shaped as the parameters."""
        sizes = [p.numel() for p in self.parameters]
        return [part.view(p.shape) for part, p in zip(torch.split(vector, sizes), self.parameters, strict=True)]

    def weights(self) -> Tensor:
        """Return the parameters as one vector (n,)."""
        return self.flat(self.parameters)

    def gradients(self) -> Iterator[tuple[Tensor, float]]:
        """Yield the gradient of every batch's mean loss, as a vector (n,), and the batch's share of the targets."""
        for inputs, targets, share in self.batches():
            with self.measured():
                found = torch.autograd.grad(self.loss_of(inputs, targets), self.parameters, allow_unused=True)
            yield self.flat(found), share
