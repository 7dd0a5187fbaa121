"""A run that starts from the weights of another: which of them it takes, and what is left of the other at the end."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn

from weightdecay.lab.run import Run
from weightdecay.lab.run.weights import Weights


def take(model: nn.Module, weights: Weights, run: Run) -> tuple[str, ...]:
    """Load the tensors whose name and shape agree, in place; return the names of those that stay fresh.

    The last linear layer stays fresh too, unless both runs learn the same classes of the same data.
    Raises: ValueError, where no parameter agrees.
    """
    assert run.start is not None
    own, other = model.state_dict(), () if same_classes(run, run.start) else last_layer(model)
    fits = {
        name: value
        for name, value in weights.items()
        if name in own and own[name].shape == value.shape and name not in other
    }
    if not fits.keys() & {name for name, _ in model.named_parameters()}:
        raise ValueError(f"start: no weight of {run.start} has the name and the shape of one here. Use its network.")
    model.load_state_dict({**own, **fits})
    return tuple(name for name in own if name not in fits)


def freeze(model: nn.Module, fresh: Collection[str]) -> list[nn.Module]:
    """Leave what the start gave as it is, and return the modules that have nothing else, which must not train either.

    A module in training would go on with the running statistics of its batch norm, or drop some of its outputs: those
    are to be in evaluation at every step. Raises: ValueError, where the start gave every parameter.
    """
    named = dict(model.named_parameters())
    if not named.keys() & set(fresh):
        raise ValueError(
            "frozen: the start gave every weight, and none is left to learn. Use other classes, or train all."
        )
    for name, p in named.items():
        p.requires_grad_(name in fresh)
    return [
        module
        for name, module in model.named_modules()
        if (own := [f"{name}.{key}" if name else key for key in module.state_dict()]) and not set(own) & set(fresh)
    ]


def same_classes(run: Run, start: Run) -> bool:
    """Whether an output of one network means what it does in the other."""
    return all(getattr(run, name) == getattr(start, name) for name in ("data", "data_digest", "classes"))


def last_layer(model: nn.Module) -> tuple[str, ...]:
    """Return the names of the tensors of the last linear layer; none where there is no linear layer."""
    linear = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        return ()
    name, module = linear[-1]
    return tuple(f"{name}.{own}" if name else own for own in module.state_dict())


def put_back(weights: Weights, start: Weights, fresh: tuple[str, ...]) -> Weights:
    """Return the weights of the start after the run: as the run left them, and its own where the run took none."""
    return {name: value if name in fresh or name not in weights else weights[name] for name, value in start.items()}
