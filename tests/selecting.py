"""What the tests of select() and audit() share: modules of new types, and who gets which λ."""

import torch
from torch import nn

from weightdecay import select


def parameter(*shape):
    return nn.Parameter(torch.ones(shape))


def holding(kind="Block", **tensors):
    """A module of a new type that holds parameters (and modules) itself."""
    module = type(kind, (nn.Module,), {})()
    for name, value in tensors.items():
        setattr(module, name, value)
    return module


def strengths(model, *args, **options):
    """λ by name, from the groups."""
    names = {id(p): name for name, p in model.named_parameters()}
    groups = select(model, *args, **options)
    found = {names[id(p)]: group["weight_decay"] for group in groups for p in group["params"]}
    assert len(found) == sum(len(group["params"]) for group in groups), "a tensor is in two groups"
    return found


def network(dtype=torch.float64):
    return nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4), nn.LayerNorm(4)).to(dtype)


def all_of(model, optimizer=torch.optim.AdamW, **options):
    """Return an optimizer that decays every tensor alike."""
    return optimizer(model.parameters(), **{"lr": 0.1, "weight_decay": 0.1, **options})


def all_of_groups(model, **options):
    """Return one that decays what select() says."""
    return torch.optim.AdamW(select(model, 0.1, **options), lr=0.1)
