"""The names people expect: each an optimizer and a decay, with the signature and the defaults of torch.optim."""

from __future__ import annotations

from typing import Any, Unpack

from torch import Tensor

import weightdecay.engine  # noqa: F401 - registers the engines
from weightdecay.decay import L2, Decay, Decoupled, Elementwise, Independent, Stable, Vanilla
from weightdecay.optim import (
    SGD,
    AdaBound,
    Adai,
    Adam,
    AMSGrad,
    HeavyBall,
    Optimizer,
    Options,
    Padam,
    RAdam,
    TensorFlowSGD,
    Yogi,
)
from weightdecay.optim.base import Params
from weightdecay.optim.hyper import unknown

Betas = tuple[float, float]


class AdamS(Adam):
    r"""Adam with stable weight decay: :math:`\theta_t = (1-\eta\lambda\bar v_t^{-p})\theta_{t-1} - \eta u_t`.

    λ means what it means in Adam's and SGD's L2, so the paper's 5e-4 is the default. Not the optimizer of the same
    name of arXiv:2505.16363.

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
        power: float = 0.5,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, decay=Stable(power), **options)


class AdamW(Adam):
    r"""Adam with lr-coupled decay: :math:`\theta_t = (1-\eta\lambda)\theta_{t-1} - \eta u_t`, as in torch."""

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, decay=Decoupled(), **options)


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
        power: float = 0.5,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, decay=Stable(power), **options)


class AMSGradW(AMSGrad):
    """AMSGrad with lr-coupled decay: ``torch.optim.AdamW(amsgrad=True)``."""

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, decay=Decoupled(), **options)


class SGDS(SGD):
    r"""SGD with stable weight decay: pull :math:`\eta\lambda\beta_3/(1-\beta_1)`. arXiv:2011.11152, Algorithm 8."""

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 5e-4,
        nesterov: bool = False,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(params, lr, momentum, dampening, weight_decay, nesterov, decay=Stable(), **options)


class SGDW(SGD):
    r"""SGD with lr-coupled decay: pull ηλ. With momentum 0.9 it wants ten times the λ of SGD and SGDS."""

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 5e-4,
        nesterov: bool = False,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(params, lr, momentum, dampening, weight_decay, nesterov, decay=Decoupled(), **options)


class AdaiS(Adai):
    """Adai with stable weight decay. arXiv:2011.11152, Algorithm 4."""

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1.0,
        betas: Betas = (0.1, 0.99),
        eps: float = 1e-3,
        weight_decay: float = 5e-4,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, decay=Stable(), **options)


class AdaiW(Adai):
    """Adai with lr-coupled decay: the same numbers as :class:`AdaiS`, as Adai's gain is 1."""

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1.0,
        betas: Betas = (0.1, 0.99),
        eps: float = 1e-3,
        weight_decay: float = 5e-4,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, decay=Decoupled(), **options)


BY_NAME: dict[str, type[Optimizer]] = {
    cls.__name__.lower(): cls
    for cls in (
        *(SGD, SGDW, SGDS, HeavyBall, TensorFlowSGD),
        *(Adam, AdamW, AdamS, AMSGrad, AMSGradW, AMSGradS),
        *(Adai, AdaiW, AdaiS, AdaBound, Padam, RAdam, Yogi),
    )
}

DECAYS: dict[str, type[Decay]] = {
    cls.__name__.lower(): cls for cls in (L2, Vanilla, Independent, Decoupled, Stable, Elementwise)
}


def available() -> list[str]:
    """Return the names that :func:`create` knows, sorted.

    >>> "adams" in available()
    True
    """
    return sorted(BY_NAME)


def create(name: str, params: Params, **options: Any) -> Optimizer:
    """Return the optimizer of that name (upper and lower case are the same), built with the options of its class.

    ``decay`` may be a name as well: ``"vanilla"`` is :class:`Vanilla`.

    Raises: ValueError, for an unknown name, with the nearest known one.

    >>> import torch
    >>> type(create("adams", [torch.zeros(2, requires_grad=True)], lr=1e-3)).__name__
    'AdamS'
    """
    if name.lower() not in BY_NAME:
        raise ValueError(unknown("optimizer", name, BY_NAME))
    if isinstance(decay := options.get("decay"), str):
        if decay.lower() not in DECAYS:
            raise ValueError(unknown("decay", decay, DECAYS))
        options["decay"] = DECAYS[decay.lower()]()
    return BY_NAME[name.lower()](params, **options)
