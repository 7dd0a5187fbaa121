"""Muon: the momentum of a matrix, made orthogonal."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor

from weightdecay.checks import FRACTION, NON_NEGATIVE, Interval, Ranges, check_mode, whole
from weightdecay.decay import Decay, Decoupled, Number
from weightdecay.optim.base import Params
from weightdecay.optim.gainless import Gainless
from weightdecay.optim.member import Group, State
from weightdecay.optim.newton_schulz import ADJUSTMENTS, Polynomial, orthogonal
from weightdecay.optim.options import Options
from weightdecay.optim.sharding import is_sharded

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Jordan's: the steepest polynomial at 0, so that five steps reach small singular values too."""

ANYTHING = Interval(-math.inf)
TYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32, "float64": torch.float64}
"""In which the iteration may be computed."""


class Muon(Gainless):
    r"""Muon as ``torch.optim.Muon`` computes it, with any decay that reads no gain. For matrices only.

    .. math::
        m_t &= \mu m_{t-1} + (1-\mu) g_t, \qquad m_0 = 0 \\
        u_t &= \rho\,\mathrm{NS}(m_t) \qquad
               (\rho\,\mathrm{NS}\big((1-\mu) g_t + \mu m_t\big) \text{ with nesterov}) \\
        \theta_t &= (1 - \text{pull}_t)\,\theta_{t-1} - \eta_t u_t

    NS brings all singular values near 1 (:func:`~weightdecay.optim.newton_schulz.orthogonal`); ρ depends on the shape,
    as ``adjust_lr_fn`` says: "original" (the default) :math:`\sqrt{\max(1, A/B)}` for A outputs and B inputs,
    "match_rms_adamw" :math:`0.2\sqrt{\max(A, B)}`, for which AdamW's lr and λ fit, "spectral_unclamped"
    :math:`\sqrt{A/B}`. Pull takes η without ρ, as in torch: Decoupled is ηλ.

    Shapes: a weight of two dimensions is a matrix; one of more, a convolution's, is the matrix (out, in · kh · kw), as
    its users flatten it. With ``stacked`` the last two dimensions are those of a matrix, and those before count
    matrices, as in the experts of a mixture.

    ``ns_dtype``
        The type in which NS is computed; torch's is bfloat16.
    ``gain``
        The number that a decay by the gain is to use. Without it such a decay is refused: what a stable decay of an
        orthogonal matrix would be is an open question.

    Matrices of one shape go through NS together, in every engine but the reference.

    Raises: ValueError, for a weight that is no matrix, is complex, or is cut by its sharding; TypeError, for a decay
            that reads a gain, without ``gain``.
    Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/; Liu et al. 2025, arXiv:2502.16982;
            ``torch.optim.Muon``: the same direction bit for bit where the same operations are used, that is wherever
            bfloat16 is multiplied as such (see :func:`~weightdecay.optim.newton_schulz.multiplied_in`).
    """

    method: ClassVar[str] = "Muon"
    elementwise: ClassVar[bool] = False
    timeless: ClassVar[bool] = True
    does: ClassVar[str] = "makes a matrix orthogonal"
    slots: ClassVar[tuple[str, ...]] = ("momentum_buffer",)
    ranges: ClassVar[Ranges] = {
        **Gainless.ranges,
        "momentum": FRACTION,
        "ns_coefficients": (ANYTHING, ANYTHING, ANYTHING),
        "eps": NON_NEGATIVE,
    }
    hyper: ClassVar[tuple[str, ...]] = ("nesterov", "stacked")

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = COEFFICIENTS,
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
        *,
        stacked: bool = False,
        ns_dtype: torch.dtype | str = torch.bfloat16,
        gain: float | None = None,
        decay: Decay | str = Decoupled(),
        **options: Unpack[Options],
    ) -> None:
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_coefficients": ns_coefficients,
            "eps": eps,
            "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
            "stacked": stacked,
            "ns_dtype": TYPES.get(str(ns_dtype), ns_dtype),
            "gain": gain,
            "decay": decay,
        }
        super().__init__(params, defaults, **options)

    def check_own(self, group: Group, names: set[str], where: str) -> None:
        """Check the words and the number of steps, and refuse what is no matrix."""
        super().check_own(group, names, where)
        if "ns_steps" in names:
            group["ns_steps"] = whole(group["ns_steps"], "ns_steps", where)
            if not 1 <= group["ns_steps"] < 100:
                raise ValueError(f"ns_steps={group['ns_steps']} in {where} is outside [1, 100).")
        if "adjust_lr_fn" in names and group["adjust_lr_fn"] is not None:
            check_mode("adjust_lr_fn", group["adjust_lr_fn"], ADJUSTMENTS)
        if "ns_dtype" in names:
            group["ns_dtype"] = TYPES.get(str(group["ns_dtype"]), group["ns_dtype"])
            check_mode("ns_dtype", str(group["ns_dtype"]).removeprefix("torch."), TYPES)
        if "params" in names:
            called = group.get("param_names") or [f"parameter {i}" for i in range(len(group["params"]))]
            for name, param in zip(called, group["params"], strict=True):
                check_matrix(param, f"{name} of {where}", group["stacked"])

    def start(self, weight: Tensor, group: Group) -> State:
        """m_0 = 0."""
        if weight.dim() < 2:  # put into the group in mid-run
            raise no_matrix("a parameter", weight)
        return {"momentum_buffer": torch.zeros_like(weight)}

    def observe(self, state: State, grad: Tensor, group: Group) -> None:
        """m_t = μ m_{t−1} + (1 − μ) g_t."""
        state["momentum_buffer"].lerp_(grad, 1 - group["momentum"])

    def direction(self, state: State, grad: Tensor, group: Group, mean_square: Number) -> Tensor:
        """u_t = ρ NS(…), in the shape of the weight."""
        m: Tensor = state["momentum_buffer"]
        update = grad.lerp(m, group["momentum"]) if group["nesterov"] else m
        polynomial = Polynomial(group["ns_coefficients"], group["ns_steps"], group["eps"], group["ns_dtype"])
        matrix = update if group["stacked"] else update.flatten(1)
        return orthogonal(matrix, polynomial, group["adjust_lr_fn"] or "original").view_as(update)


def check_matrix(param: Any, name: str, stacked: bool) -> None:
    """Refuse a weight that Muon cannot take. Raises: ValueError."""
    if param.dim() < 2:
        raise no_matrix(name, param)
    if param.is_complex():
        raise ValueError(f"{name} is complex ({param.dtype}): Muon is for real matrices. Give it to Adam.")
    if is_sharded(param):
        inside = range(param.dim() - 2 if stacked else 0)  # dimensions along which whole matrices are dealt out
        for placement in param.placements:
            if not (placement.is_replicate() or getattr(placement, "dim", -1) in inside):
                raise ValueError(
                    f"{name} is cut into pieces ({placement}), and Muon needs whole matrices. Replicate it (DDP), "
                    "or deal out whole tensors, as ZeRO does; a decay for torch.optim.Muon is attach()'s."
                )


def no_matrix(name: str, param: Tensor) -> ValueError:
    """Return the error for a weight of fewer than two dimensions."""
    return ValueError(
        f"{name} has the shape {tuple(param.shape)}: Muon makes matrices orthogonal, and this is none. "
        "MuonAdamW(model) moves matrices by Muon and all else by Adam; or give it to another optimizer."
    )
