"""Every parameter of a model once: its name, the module that owns it, and its shape before sharding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import ParametrizationList

WRAPPERS = {"module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_orig_mod"}
"""What DDP, FSDP, activation checkpointing and torch.compile call the module that they wrap."""
WRAPPING = {
    *("DataParallel", "DistributedDataParallel", "FullyShardedDataParallel", "CheckpointWrapper", "OptimizedModule"),
    "DeepSpeedEngine",
}


@dataclass(frozen=True)
class Place:
    """The place of a parameter in a module."""

    name: str  # in the model, without the names of wrappers
    key: str  # in the module
    path: tuple[nn.Module, ...]  # from the model to the module

    @property
    def module(self) -> nn.Module:
        """The module that owns the parameter."""
        return self.path[-1]


@dataclass(frozen=True)
class Entry:
    """A parameter of the model, as rules see it."""

    name: str
    """As in ``named_parameters()``, without the names of wrappers; of a tied weight the first one."""
    param: Tensor = field(repr=False)
    shape: tuple[int, ...]
    """The shape of the whole tensor, before sharding."""
    places: tuple[Place, ...] = field(repr=False)
    """Every place that holds it; more than one where it is tied."""

    @property
    def module(self) -> nn.Module:
        """The module that owns it, the first one of a tied weight."""
        return self.places[0].module

    @property
    def key(self) -> str:
        """Its name in that module."""
        return self.places[0].key

    @property
    def elements(self) -> int:
        """The number of elements of the whole tensor."""
        count = 1
        for size in self.shape:
            count *= size
        return count


def entries(model: nn.Module) -> list[Entry]:
    """Return every parameter of the model once, in the order of ``named_parameters()``.

    Raises: TypeError, for what is no module; ValueError, for parameters without a shape, or flattened ones whose shape
            before sharding is not known.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"{type(model).__name__} is not a model. Pass the torch.nn.Module itself, not its parameters.")
    places: dict[int, list[Place]] = {}
    params: dict[int, Tensor] = {}
    for place, param in walk(model):
        params[id(param)] = param
        places.setdefault(id(param), []).append(place)
    flattened = _flattened_shapes(model)
    return [
        Entry(held[0].name, params[key], _shape(params[key], held[0].name, flattened), tuple(held))
        for key, held in places.items()
    ]


def walk(
    module: nn.Module, path: tuple[nn.Module, ...] = (), prefix: str = "", seen: set[int] | None = None
) -> Iterator[tuple[Place, Tensor]]:
    """Yield the parameters of a module and of those inside, in the order of ``named_parameters()``: each module once,
    a tied weight at each place.
    """
    seen = set() if seen is None else seen
    if id(module) in seen:
        return
    seen.add(id(module))
    path = (*path, module)
    for key, param in module._parameters.items():
        if param is not None:
            yield _place(prefix + key, key, path), param
    wraps = any(cls.__name__ in WRAPPING for cls in type(module).__mro__)
    for name, child in module._modules.items():
        if child is not None:
            inside = prefix if wraps and name in WRAPPERS else f"{prefix}{name}."
            yield from walk(child, path, inside, seen)


def _place(name: str, key: str, path: tuple[nn.Module, ...]) -> Place:
    """Return the place; what parametrizes a weight stands for the weight in the module that has it."""
    if not isinstance(path[-1], ParametrizationList) or len(path) < 3:
        return Place(name, key, path)
    weight = name.split(".")[-2]
    first = path[-1][0] if len(path[-1]) else None
    key = "magnitude" if type(first).__name__ == "_WeightNorm" and key == "original0" else weight
    return Place(name, key, path[:-2])


def _shape(param: Tensor, name: str, flattened: dict[int, tuple[int, ...]]) -> tuple[int, ...]:
    """Return the shape before sharding; that of a DTensor is the global one already."""
    if is_lazy(param):
        raise ValueError(f"{name!r} has no shape yet. Run one forward pass first.")
    if getattr(param, "_is_flat_param", False):
        inside = ", ".join(getattr(param, "_fqns", ())[:3]) or "several tensors"
        raise ValueError(
            f"{name!r} is a flattened parameter of FSDP that holds {inside}, …: what is in one tensor has one λ. Wrap "
            "with FullyShardedDataParallel(..., use_orig_params=True), or use fully_shard()."
        )
    if id(param) in flattened:
        return flattened[id(param)]
    if getattr(param, "_fsdp_flattened", False):
        raise ValueError(
            f"{name!r} is a flattened piece of FSDP, and its shape before sharding is not in this model. Pass the "
            "module that FullyShardedDataParallel returned, or use fully_shard()."
        )
    whole: Any = getattr(param, "ds_shape", None)  # of DeepSpeed's ZeRO-3, which leaves an empty tensor behind
    return tuple(param.shape if whole is None else whole)


def _flattened_shapes(model: nn.Module) -> dict[int, tuple[int, ...]]:
    """Return the shapes before sharding, by id, of the pieces that FSDP's first version shows as parameters."""
    shapes: dict[int, tuple[int, ...]] = {}
    for module in model.modules():
        flat: Any = getattr(vars(module).get("_handle"), "flat_param", None)
        pieces = getattr(flat, "_params", None)
        if pieces is not None:
            shapes.update({id(p): tuple(shape) for p, shape in zip(pieces, flat._shapes, strict=True)})
    return shapes
