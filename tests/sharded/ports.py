"""Decays of a user's own on pieces of tensors: those whose ports act element by element."""

from __future__ import annotations

from collections.abc import Callable

import torch
from toys import TOYS, Sign, Toy

import weightdecay as wd
from sharded.bag import Bag, state_of, whole
from sharded.table import LAYOUTS, SCENARIOS, Measured, compared, moved, scenario


def build(cls: type[wd.Optimizer], toy: Toy, model: Bag, engine: str) -> wd.Optimizer:
    """Two groups, the second with λ = 0."""
    first = [p for name, p in model.named_parameters() if name != "row"]
    groups = [{"params": first}, {"params": [model.row], "weight_decay": 0.0}]
    return cls(groups, lr=0.05, weight_decay=toy.strength, decay=toy.decay, engine=engine)


def walked(cls: type[wd.Optimizer], toy: Toy, layout: str, engine: str) -> Callable[[], Measured]:
    def measure() -> Measured:
        model, alone = LAYOUTS[layout](), Bag()
        most = moved(model, build(cls, toy, model, engine))
        moved(alone, build(cls, toy, alone, "reference"))
        return compared(model, state_of(alone), collectives=most)

    return measure


@scenario(2)
def given_anchors() -> Measured:
    """Whole tensors are cut as the parameters are, and a checkpoint's pieces are those of the whole."""
    models = LAYOUTS["mixed"](), Bag()
    anchors = {name: value.flip(0) for name, value in state_of(models[1]).items()}
    for model, engine in zip(models, ("auto", "reference"), strict=True):
        optimizer = wd.Adam(model.named_parameters(), lr=0.05, weight_decay=1.0, decay="toward(start)", engine=engine)
        wd.set_anchors(optimizer, anchors)
        moved(model, optimizer, range(4))
        kept = {name: whole(optimizer.state[p]["start"]) for name, p in model.named_parameters()}
        assert all(torch.equal(kept[name], anchors[name]) for name in anchors)
    return compared(models[0], state_of(models[1]))


for toy_ in (toy for toy in TOYS if toy.elementwise):
    for cls_ in (wd.Adam, Sign):
        if cls_ is Sign and {"mean_gain", "gain"} & toy_.decay.needs:
            continue
        for layout_, engine_ in (("fsdp2", "reference"), ("fsdp2", "auto"), ("mixed", "auto")):
            name_ = f"ports-{layout_}/{cls_.__name__}-{toy_}/{engine_}"
            SCENARIOS[name_] = ((2,), walked(cls_, toy_, layout_, engine_))
