"""Muon for the hidden matrices of a model and AdamW for the rest, as one optimizer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor, nn

from weightdecay.checks import NON_NEGATIVE, Ranges, checked
from weightdecay.decay import Decay, Decoupled
from weightdecay.optim.adam import Adam
from weightdecay.optim.base import Optimizer, Params
from weightdecay.optim.muon import COEFFICIENTS, Muon
from weightdecay.optim.options import Options
from weightdecay.optim.per_group import PerGroup, bare

HIDDEN, ENDS, REST = "hidden matrices", "embeddings and head", "norms, biases and the rest"
"""The groups that are made of a model."""


class MuonAdamW(PerGroup):
    r"""Muon for matrices and Adam for the rest: one step, one clipping norm, one checkpoint.

    ``params`` is a model, whose tensors are dealt out by the types of its modules, as current recipes do:

    ==========================  ======  =====  ====================================================================
    group                       method  λ      tensors
    ==========================  ======  =====  ====================================================================
    hidden matrices             muon    λ      of two dimensions, and the filters of convolutions
    embeddings and head         adam    λ      of ``nn.Embedding`` and of the last ``nn.Linear``, tied or not
    norms, biases and the rest  adam    0      vectors, numbers, transposed convolutions, other shapes
    ==========================  ======  =====  ====================================================================

    or groups that name their method, ``{"params": …, "method": "muon"}``, or ``"adam"``; or tensors, of which those of
    two dimensions and more go to Muon: an embedding cannot be told from another matrix there. ``repr`` shows the
    groups as a table.

    ``adjust_lr_fn="match_rms_adamw"`` makes Muon's steps as long as AdamW's, so that one lr and one λ serve both.
    ``adam_lr`` is the lr of Adam's part where it shall be another. Each group may have any decay its method allows:
    ``Stable()`` in Adam's part reads v̄ over the tensors of Adam's part. ``eps`` is Adam's; Muon's is 1e-7 unless its
    group says otherwise.

    >>> import torch, weightdecay
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
    >>> weightdecay.MuonAdamW(model, lr=1e-3)
    MuonAdamW
      group  method  tensors  elements     lr    λ  decay        what
          0  muon          1       128  0.001  0.1  Decoupled()  hidden matrices
          1  adam          1        32  0.001  0.1  Decoupled()  embeddings and head
          2  adam          2        18  0.001    0  Decoupled()  norms, biases and the rest

    Raises: ValueError, for a group without a method or with one that is not known; what :class:`Muon` and
            :class:`Adam` raise.
    Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/; Liu et al. 2025, arXiv:2502.16982.
    """

    method: ClassVar[str] = "MuonAdamW"
    takes_model: ClassVar[bool] = True
    boxes: ClassVar[Mapping[str, Optimizer]] = {"muon": bare(Muon), "adam": bare(Adam)}
    own: ClassVar[Mapping[str, Mapping[str, Any]]] = {"muon": {"eps": 1e-7}}
    slots: ClassVar[tuple[str, ...]] = (*Muon.slots, *Adam.slots)
    ranges: ClassVar[Ranges] = {**Muon.ranges, **Adam.ranges}
    hyper: ClassVar[tuple[str, ...]] = Muon.hyper

    def __init__(
        self,
        params: nn.Module | Params,
        lr: float | Tensor = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        *,
        adam_lr: float | None = None,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = COEFFICIENTS,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = "match_rms_adamw",
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
            "betas": betas,
            "eps": eps,
            "nesterov": nesterov,
            "ns_coefficients": ns_coefficients,
            "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
            "stacked": stacked,
            "ns_dtype": ns_dtype,
            "gain": gain,
            "decay": decay,
        }
        groups = list(groups_of(params))
        if adam_lr is not None:
            checked("adam_lr", adam_lr, NON_NEGATIVE, "the optimizer")
            for group in groups:
                if group.get("method") == "adam":
                    group.setdefault("lr", adam_lr)
        super().__init__(groups, defaults, **options)

    def __repr__(self) -> str:
        """Return a table of the groups."""
        titles = ("group", "method", "tensors", "elements", "lr", "λ", "decay", "what")
        rows = [titles, *(_row(i, group) for i, group in enumerate(self.param_groups))]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        left = ("method", "decay", "what")
        lines = [
            "  ".join(
                text.ljust(width) if title in left else text.rjust(width)
                for text, width, title in zip(row, widths, titles, strict=True)
            ).rstrip()
            for row in rows
        ]
        return "\n  ".join([type(self).__name__, *lines])


def _row(place: int, group: Mapping[str, Any]) -> tuple[str, ...]:
    tensors = group["params"]
    numbers = (f"{float(group['lr']):g}", f"{float(group['weight_decay']):g}")
    sizes = (f"{len(tensors)}", f"{sum(p.numel() for p in tensors):,}")
    return str(place), group["method"], *sizes, *numbers, repr(group["decay"]), str(group.get("name", ""))


# ---------------------------------------------------------------- which tensor goes where


def groups_of(params: nn.Module | Params) -> Iterator[dict[str, Any]]:
    """Yield the groups of a model or of tensors, by kind; groups are left as they are."""
    if isinstance(params, nn.Module):
        kinds = kinds_of(params)
        named: list[Any] = list(params.named_parameters())
        yield from _dealt(named, [kinds[id(p)] for _, p in named])
        return
    if isinstance(params, Tensor) or not isinstance(params, Iterable):
        raise TypeError(
            f"params must be a model, or an iterable of Tensors, of (name, Tensor), or of groups; it is {type(params)}."
        )
    items: list[Any] = list(params)
    if not items:
        raise ValueError("MuonAdamW got an empty parameter list.")
    if any(isinstance(item, dict) for item in items):
        yield from (dict(item) for item in items)
        return
    tensors = [item[1] if isinstance(item, tuple) else item for item in items]
    yield from _dealt(items, [HIDDEN if isinstance(p, Tensor) and p.dim() > 1 else REST for p in tensors])


def _dealt(items: list[Any], kinds: list[str]) -> Iterator[dict[str, Any]]:
    """Yield a group for each kind that there is."""
    more: dict[str, dict[str, Any]] = {
        HIDDEN: {"method": "muon"},
        ENDS: {"method": "adam"},
        REST: {"method": "adam", "weight_decay": 0.0},
    }
    for kind, options in more.items():
        if some := [item for item, own in zip(items, kinds, strict=True) if own == kind]:
            yield {"params": some, "name": kind, **options}


def kinds_of(model: nn.Module) -> dict[int, str]:
    """Return the kind of every parameter of a model, by its id: the types of modules decide, and then the shape."""
    modules = list(model.modules())
    kinds = {id(p): REST for p in model.parameters()}
    for module in modules:
        filters = isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d))
        for p in module.parameters(recurse=False):
            if p.dim() == 2 or (filters and p.dim() > 2):
                kinds[id(p)] = HIDDEN
    linears = [module for module in modules if isinstance(module, nn.Linear)]
    ends = [*(m for m in modules if isinstance(m, (nn.Embedding, nn.EmbeddingBag))), *linears[-1:]]
    return {**kinds, **{id(module.weight): ENDS for module in ends}}
