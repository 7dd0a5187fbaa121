"""Kernels that can be differentiated twice, where the fast ones cannot."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

from torch import nn
from torch.backends import cudnn, mkldnn
from torch.nn.attention import SDPBackend, sdpa_kernel


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
