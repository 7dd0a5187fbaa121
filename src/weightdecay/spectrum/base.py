"""A matrix that is only ever multiplied: the curvature of the mean loss over a data set."""

from __future__ import annotations

import contextlib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.backends import cudnn, mkldnn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader, RandomSampler

Batches = Iterable[tuple[Tensor, Tensor]]
"""(inputs, targets) of every batch; gone through once per product, so a list or a loader, not a generator."""

Loss = Callable[[Tensor, Tensor], Tensor]
"""(outputs, targets) → the mean over the targets of a batch, a 0-d tensor, every target weighing alike.

``nn.CrossEntropyLoss`` and ``nn.NLLLoss`` may also weigh classes, and ignore some targets, as their functions do: then
the mean is over what they count.
"""

IGNORED = -100
"""The target that torch's functions ignore."""


class Curvature(ABC):
    r"""A symmetric n × n matrix of second derivatives of the mean loss, known by its products with vectors.

    .. math:: L(\theta) = \frac1N\sum_{j=1}^{N} \ell(f_\theta(x_j), y_j)

    The mean is over all targets of all batches, whatever their sizes: one batch or a hundred, the matrix is the same.
    ``parameters`` are by default all of the model that require a gradient; a vector holds their elements in that order.
    Data is moved to the model's device batch by batch. It has to be the same at every pass, so augmentation is to be
    off; the order of batches is of no account.

    Shapes: vectors (n,), in the dtype of the parameters and on their device.
    Raises: ValueError, without parameters or data, for parameters of several devices or dtypes, in half precision or
            not of the model, for data that is not the same at every pass, and where the loss of a batch is not one
            finite number.
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
        if not isinstance(model, nn.Module):
            raise ValueError(f"model={model!r}: it must be a torch.nn.Module.")
        if getattr(loss, "reduction", "mean") != "mean":
            raise ValueError(f"loss={loss!r}: the mean over a batch is needed. Use reduction='mean'.")
        given = model.parameters() if parameters is None else _of(model, parameters)
        self.parameters = [p for p in given if p.requires_grad]
        if not self.parameters:
            raise ValueError("the model has no parameter that requires a gradient: there is nothing to differentiate.")
        kinds = {(p.device, p.dtype) for p in self.parameters}
        if len(kinds) > 1:
            raise ValueError(
                f"the parameters have several devices or dtypes, {sorted(map(str, kinds))}: move the model."
            )
        ((self.device, self.dtype),) = kinds
        if self.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"the parameters are {self.dtype}: curvature needs model.float() or model.double().")
        _refuse_one_pass(data)
        self.size = sum(p.numel() for p in self.parameters)
        self.products = 0
        self.total = sum(self.counted(targets) for _, targets in self.pairs())  # what all targets count
        if not self.total:
            raise ValueError("data holds no targets: pass a list of (inputs, targets), or a loader.")

    @abstractmethod
    def product(self, vector: Tensor) -> Tensor:
        """Return the matrix times a vector (n,)."""

    def __matmul__(self, vector: Tensor) -> Tensor:
        """Return the matrix times a vector, counted and reported: ``on_product(products so far)``."""
        if vector.shape != (self.size,):
            raise ValueError(f"the vector has shape {tuple(vector.shape)}; the matrix takes ({self.size},).")
        if not torch.isfinite(vector).all():
            raise ValueError("the vector has elements that are not finite.")
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
        """Yield inputs and targets on the model's device, and the share that the batch has in the mean over all.

        Raises: ValueError, where another number of targets comes than came first.
        """
        seen = 0.0
        for inputs, targets in self.pairs():
            count = self.counted(targets)
            seen += count
            if count:
                yield inputs.to(self.device), targets.to(self.device), count / self.total
        if abs(seen - self.total) > 1e-9 * self.total:
            raise ValueError(
                f"data held targets for {self.total:g} at first and for {seen:g} now: it must be the same at every "
                "pass. Pass list(loader)."
            )

    def pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches as they are; a loader draws its seeds, and nobody else's random state is to notice."""
        with torch.random.fork_rng(devices=[]):
            for batch in self.data:
                if not isinstance(batch, tuple | list) or [hasattr(one, "to") for one in batch] != [True, True]:
                    raise ValueError(
                        f"a batch of data is not (inputs, targets), two tensors, but {_kind(batch)}. "
                        "Pass [(inputs, targets), …], or a loader of such."
                    )
                yield batch[0], batch[1]

    def counted(self, targets: Tensor) -> float:
        """Return what a batch counts in the mean over all: its targets, or their weights where the loss has some."""
        if targets.is_floating_point():
            return targets.numel()
        if isinstance(self.loss, nn.CrossEntropyLoss | nn.NLLLoss):
            ignored, weight = self.loss.ignore_index, self.loss.weight
        elif self.loss in (nn.functional.cross_entropy, nn.functional.nll_loss):
            ignored, weight = IGNORED, None
        elif (targets == IGNORED).any():
            raise ValueError(
                f"targets hold {IGNORED}, which torch's cross entropy ignores, and what {self.loss!r} does with them "
                "is not known. Pass nn.CrossEntropyLoss() itself, or data without them."
            )
        else:
            return targets.numel()
        kept = targets[targets != ignored]
        return kept.numel() if weight is None else weight.double().cpu()[kept.cpu()].sum().item()

    def loss_of(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of a batch. Raises: ValueError, where it is not one finite number."""
        loss = self.loss(self.model(inputs), targets)
        if not isinstance(loss, Tensor):
            raise ValueError(f"the loss of a batch is {loss!r}: it must be a tensor, to be differentiated.")
        if torch.is_grad_enabled() and not loss.requires_grad:
            raise ValueError("the loss of a batch does not depend on the parameters. Is something detached on the way?")
        if loss.ndim:
            raise ValueError(
                f"the loss of a batch is a tensor of shape {tuple(loss.shape)}: it must be one number, the mean over "
                "the batch."
            )
        if not torch.isfinite(loss):
            raise ValueError(f"the loss of a batch is {loss.item()}: a diverged network has no curvature.")
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


@contextlib.contextmanager
def twice_differentiable(model: nn.Module) -> Iterator[None]:
    """Compute attention, and the recurrent layers of a model that has some, by kernels with all derivatives.

    Fused attention has no second derivative, cuDNN's recurrent layers have none either, and oneDNN's cannot be
    differentiated forwards. Everything else keeps its kernel: convolutions are fast in both libraries.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        if any(isinstance(module, nn.RNNBase) for module in model.modules()):
            stack.enter_context(warnings.catch_warnings())
            # Putting oneDNN's flags back sets one for GPUs of Intel, and torch warns that it is not built for them.
            warnings.filterwarnings("ignore", "TF32 acceleration", UserWarning)
            stack.enter_context(cudnn.flags(enabled=False))
            stack.enter_context(mkldnn.flags(enabled=False))
        yield


def _of(model: nn.Module, parameters: Sequence[nn.Parameter]) -> Sequence[nn.Parameter]:
    """Return the parameters. Raises: ValueError, where one is not the model's, or named twice."""
    own, given = {id(p) for p in model.parameters()}, [id(p) for p in parameters]
    if len(set(given)) < len(given) or not own.issuperset(given):
        what = "named twice" if own.issuperset(given) else "not of this model"
        raise ValueError(f"one of the parameters is {what}: the loss would seem flat, or the matrix twice as large.")
    return parameters


def _kind(batch: object) -> str:
    """Return what a batch is, and what is in it."""
    inside = f" of {', '.join(type(one).__name__ for one in batch)}" if isinstance(batch, tuple | list) else ""
    return f"a {type(batch).__name__}{inside}"


def _refuse_one_pass(data: Batches) -> None:
    """Refuse data that is not the same at every pass. Raises: ValueError."""
    if isinstance(data, Iterator):
        raise ValueError("data is a generator, which can be read once; every product reads it. Pass list(data).")
    if isinstance(data, DataLoader) and data.drop_last and isinstance(data.sampler, RandomSampler):
        raise ValueError(
            "data is a loader that shuffles and drops what is left over: other examples at every pass. Pass list(data)."
        )
