"""What an unfinished run is made of: everything that the next step depends on, as plain values and tensors."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

import weightdecay
from weightdecay.lab.data.base import Carried
from weightdecay.lab.run import Epoch, Place, Run
from weightdecay.lab.run.store import StoreError
from weightdecay.lab.training.processes import bare, divided, from_first, share_buffers, whole


@dataclass
class Progress:
    """Where a run is. ``epoch`` and ``step`` are those that come next; losses are sums over this process's targets."""

    run: Run
    place: Place
    model: nn.Module
    optimizer: weightdecay.Optimizer
    epoch: int = 1
    step: int = 0
    loss: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    seen: int = 0  # targets in this epoch, over all processes
    carried: Carried = None
    epochs: list[Epoch] = field(default_factory=list)
    seconds: float = 0.0

    def content(self) -> dict[str, Any]:
        """Return the whole of it; every process takes part, and every one gets the same."""
        share_buffers(self.model, self.place)
        own = {"loss": self.loss.cpu(), "carried": whole(list(self.carried)) if self.carried is not None else None}
        return {
            "run": asdict(self.run),
            "rule": rule(self.optimizer, self.run),
            "model": whole(dict(bare(self.model).state_dict())),
            "optimizer": whole(self.optimizer.state_dict()),
            "epoch": self.epoch,
            "step": self.step,
            "seen": self.seen,
            "own": _gathered(own, self.place),
            "epochs": [asdict(epoch) for epoch in self.epochs],
            "seconds": self.seconds,
        }

    def restore(self, content: dict[str, Any], path: str) -> None:
        """Continue from :meth:`content`.

        Raises: StoreError, where the optimizer is no longer the one that made it.
        """
        now = rule(self.optimizer, self.run)
        if content["rule"] != now:
            changed = [name for name in now if now[name] != content["rule"].get(name)]
            what = ", ".join(f"{name} was {content['rule'].get(name)} and is {now[name]}" for name in changed)
            raise StoreError(
                f"the checkpoint in {path} was made by another optimizer: {what}. Continue with the version that "
                "made it, or move that folder away to train the run from its start."
            )
        model = bare(self.model)
        like = model.state_dict()
        model.load_state_dict({name: divided(value, like[name]) for name, value in content["model"].items()})
        state = content["optimizer"]
        params = [p for group in self.optimizer.param_groups for p in group["params"]]
        for index, slots in state["state"].items():
            state["state"][index] = {
                name: divided(value, params[index]) if isinstance(value, Tensor) else value
                for name, value in slots.items()
            }
        self.optimizer.load_state_dict(state)
        self.epoch, self.step, self.seen = content["epoch"], content["step"], content["seen"]
        own = content["own"][self.place.rank]
        self.loss = own["loss"].to(self.place.device)
        if own["carried"] is not None:
            self.carried = tuple(part.to(self.place.device) for part in own["carried"])
        self.epochs = [Epoch(**epoch) for epoch in content["epochs"]]
        self.seconds = content["seconds"]


def rule(optimizer: weightdecay.Optimizer, run: Run) -> dict[str, str]:
    """Return what decides an optimizer's steps, but for what a schedule moves: the lr, and λ where it has one."""
    left_out = {"params", "param_names", "lr", *(["weight_decay"] if run.weight_decay_schedule else [])}
    values = {
        f"{name} of group {i}" if i else name: repr(value)
        for i, group in enumerate(optimizer.param_groups)
        for name, value in group.items()
        if name not in left_out
    }
    own = ("max_grad_norm", "nonfinite", "rounding", "moments")
    return {"optimizer": type(optimizer).__name__, **values, **{name: repr(getattr(optimizer, name)) for name in own}}


def _gathered(own: dict[str, Any], place: Place) -> list[dict[str, Any]]:
    if place.world == 1:
        return [own]
    everyone: list[Any] = [None] * place.world
    dist.all_gather_object(everyone, own)
    return from_first(everyone, place)  # type: ignore[no-any-return]
