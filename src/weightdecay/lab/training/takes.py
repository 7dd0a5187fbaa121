"""Which options an optimizer of the package takes, known without torch: a test holds them against its constructor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from weightdecay.checks import unknown

BY_ALL = (
    *("lr", "weight_decay", "decay", "maximize", "peak_lr", "max_grad_norm", "engine", "nonfinite", "rounding"),
    *("moments", "seed", "process_group", "foreach", "fused", "capturable", "differentiable"),
)
"""Options of every optimizer."""

_SGD, _TWO_MOMENTS = ("momentum", "dampening", "nesterov"), ("betas", "eps")
_MUON = ("momentum", "nesterov", "ns_coefficients", "ns_steps", "ns_dtype", "adjust_lr_fn", "stacked", "eps", "gain")

BY_SOME: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("sgd", "sgdw", "sgds", "heavyball", "tensorflowsgd"), _SGD),
    **dict.fromkeys(("adam", "adamw", "amsgrad", "amsgradw", "adai", "adaiw", "adais", "radam"), _TWO_MOMENTS),
    **dict.fromkeys(("adams", "amsgrads"), (*_TWO_MOMENTS, "power")),
    "yogi": (*_TWO_MOMENTS, "initial_accumulator"),
    "adabound": (*_TWO_MOMENTS, "final_lr", "gamma"),
    "padam": (*_TWO_MOMENTS, "partial"),
    "nadam": (*_TWO_MOMENTS, "momentum_decay"),
    "lion": ("betas", "gain"),
    "muon": _MUON,
    "muonadamw": (*_MUON, "betas", "adam_lr"),
}
"""Optimizer → its own options."""

OFF = ("amsgrad", "decoupled_weight_decay")
"""Options of torch.optim that every optimizer takes where they are off, and refuses with a reason where they are on."""


def check(optimizer: str, title: str, options: Iterable[str]) -> None:
    """Refuse an option that one of our optimizers does not have. Raises: ValueError, with the nearest."""
    known = (*BY_ALL, *BY_SOME[optimizer])
    for option in options:
        if option not in (*known, *OFF):
            raise ValueError(f"{title}: {unknown('option', option, known)}")
