"""The names people expect: each an optimizer and a decay, with the signature and the defaults of torch.optim."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

from torch import Tensor

import weightdecay.engine  # noqa: F401 - registers the engines
from weightdecay.decay import Decay, Decoupled, Stable, decay_of
from weightdecay.optim import SGD, Adai, Adam, AMSGrad, Options
from weightdecay.optim.base import Params

Betas = tuple[float, float]

POWER, STABLE = float("0.5"), Stable()
"""The defaults of ``power=`` and ``decay=``: objects of their own, so that a 0.5 that was passed is told from them."""


class AdamS(Adam):
    r"""Adam with stable weight decay: :math:`\theta_t = (1-\eta\lambda\bar v_t^{-p})\theta_{t-1} - \eta u_t`.

    λ means what it means in Adam's and SGD's L2, so the paper's 5e-4 is the default. ``power`` is the p of
    ``decay=Stable(p)``. Not the optimizer of the same name of arXiv:2505.16363.

    >>> import torch, weightdecay
    >>> model = torch.nn.Linear(2, 1)
    >>> optimizer = weightdecay.AdamS(model.parameters(), lr=1e-3, weight_decay=5e-4)
    >>> optimizer.param_groups[0]["decay"]
    Stable(power=0.5, eps=0.0)

    Source: arXiv:2011.11152, Algorithm 2.
    """

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 5e-4,
        *,
        power: float = POWER,
        decay: Decay | str = STABLE,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, decay=_stable(power, decay), **options)


class AdamW(Adam):
    r"""Adam with lr-coupled decay: :math:`\theta_t = (1-\eta\lambda)\theta_{t-1} - \eta u_t`, as in torch."""

    changed_defaults: ClassVar[Mapping[str, Any]] = {"weight_decay": 1e-2, "decay": Decoupled()}


class AMSGradS(AMSGrad):
    r"""AMSGrad with stable weight decay, the mean taken over its own :math:`\hat v`. arXiv:2011.11152, Algorithm 6."""

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 5e-4,
        *,
        power: float = POWER,
        decay: Decay | str = STABLE,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, decay=_stable(power, decay), **options)


class AMSGradW(AMSGrad):
    """AMSGrad with lr-coupled decay: ``torch.optim.AdamW(amsgrad=True)``."""

    changed_defaults: ClassVar[Mapping[str, Any]] = {"weight_decay": 1e-2, "decay": Decoupled()}


class SGDS(SGD):
    r"""SGD with stable weight decay: pull :math:`\eta\lambda\beta_3/(1-\beta_1)`. arXiv:2011.11152, Algorithm 8."""

    changed_defaults: ClassVar[Mapping[str, Any]] = {"weight_decay": 5e-4, "decay": Stable()}


class SGDW(SGD):
    r"""SGD with lr-coupled decay: pull ηλ. With momentum 0.9 it wants ten times the λ of SGD and SGDS."""

    changed_defaults: ClassVar[Mapping[str, Any]] = {"weight_decay": 5e-4, "decay": Decoupled()}


class AdaiS(Adai):
    """Adai with stable weight decay. arXiv:2011.11152, Algorithm 4."""

    changed_defaults: ClassVar[Mapping[str, Any]] = {"weight_decay": 5e-4, "decay": Stable()}


class AdaiW(Adai):
    """Adai with lr-coupled decay: the same numbers as :class:`AdaiS`, as Adai's gain is 1."""

    changed_defaults: ClassVar[Mapping[str, Any]] = {"weight_decay": 5e-4, "decay": Decoupled()}


def _stable(power: float, decay: Decay | str) -> Decay:
    """Return Stable(power), or the decay that was passed. Raises: TypeError, where both were."""
    if decay is STABLE:
        return STABLE if power is POWER else Stable(power)
    if power is not POWER:
        raise TypeError(
            f"power={power!r} beside decay={decay!r}: power= is short for decay=Stable(power={power!r}). Give one."
        )
    return decay_of(decay, "the optimizer")
