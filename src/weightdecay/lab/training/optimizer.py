"""The optimizer of a run over its network, and which tensors its decay leaves alone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from torch import Tensor, nn

import weightdecay
from weightdecay import catalog
from weightdecay.decay import parse
from weightdecay.lab.run import Run
from weightdecay.lab.training import processes
from weightdecay.optim.muon_adamw import REST, groups_of

FRESH = "not of the start"
"""The name of the group that a decay towards the start leaves alone."""

WITHOUT_DECAY = (REST, FRESH)
"""The names of groups that have no λ, whatever its schedule."""


def optimizer_of(run: Run, model: nn.Module, fresh: Collection[str] = ()) -> weightdecay.Optimizer:
    """Return the run's optimizer over the model, of which the start did not give the ``fresh`` tensors.

    A decay acts on what it is made for, and the rest is a group without decay: one that keeps the norms of matrices
    leaves the other parameters alone, and one towards the start those that the start did not give.
    Raises: ValueError, for an optimizer that cannot be made.
    """
    options = dict(run.optimizer_options)
    if run.max_grad_norm:
        options["max_grad_norm"] = run.max_grad_norm
    text = options.get("decay")
    decay = parse(text) if isinstance(text, str) else None
    new = {id(p) for name, p in processes.bare(model).named_parameters() if name in fresh}
    try:
        params: Any = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        if catalog.optimizer(run.optimizer).cls.takes_model:
            params = model
        elif decay and decay.switched:
            params = _apart([{"params": params}], lambda p: p.ndim < 2, REST)
        if decay and "start" in decay.needs and new:
            groups = groups_of(model) if params is model else [{"params": params}]
            params = _apart(groups, lambda p: id(p) in new, FRESH)
        return weightdecay.create(run.optimizer, params, lr=run.lr, weight_decay=run.weight_decay, **options)
    except TypeError as error:  # an option that its constructor does not know
        raise ValueError(str(error)) from error


def _apart(groups: Iterable[Mapping[str, Any]], left: Callable[[Tensor], bool], name: str) -> list[dict[str, Any]]:
    """Return the groups, with what is left alone in groups of its own, without decay."""
    found = []
    for group in groups:
        pairs = list(group["params"])
        acted_on, rest = ([pair for pair in pairs if left(pair[1]) == apart] for apart in (False, True))
        found += [{**group, "params": acted_on}] if acted_on else []
        found += [{**group, "params": rest, "weight_decay": 0.0, "name": name}] if rest else []
    return found
