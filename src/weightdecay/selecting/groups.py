"""``select``: parameter groups by role, by a preset, or by rules of one's own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from weightdecay.checks import NON_NEGATIVE, checked
from weightdecay.decay import Decay
from weightdecay.decay.parse import decay_of
from weightdecay.selecting.classify import kind_of, role_of
from weightdecay.selecting.heads import find_heads
from weightdecay.selecting.presets import Preset, Strength, preset_of
from weightdecay.selecting.roles import ROLES, known_role
from weightdecay.selecting.tensors import Entry, entries

Where = str | type[nn.Module] | Callable[[Entry], bool]
"""Of which tensors a rule speaks: a regular expression for the name, a type of module, or a function of the tensor."""
Setting = float | Decay | str | tuple[Any, Any] | Mapping[str, Any]
"""What a role or a rule sets: λ, a decay, both, or a dict of group options."""


@dataclass(frozen=True)
class Chosen:
    """What was decided for one tensor."""

    entry: Entry
    role: str
    reason: str
    options: Mapping[str, Any]  # of its group: λ, perhaps a decay, perhaps more


def select(
    model: nn.Module,
    weight_decay: float | Tensor = 0.1,
    *,
    preset: str | Preset | None = None,
    roles: Mapping[str, Setting] | None = None,
    rules: Iterable[tuple[Where, Setting]] = (),
) -> list[dict[str, Any]]:
    r"""Return the parameters of a model as groups for any torch optimizer: what decays, and what does not.

    Every tensor gets a role, by the type of its module, then by its shape before sharding, then by its name.
    Weights of linear layers and convolutions, the head, routers and both factors of LoRA decay by ``weight_decay``;
    embeddings, biases, gains of norms, scales, positions, magnitudes of DoRA, tokens and the scalars of state-space
    models do not (``docs/select.md`` has the table). A tied weight is in one group. Parameters that need no gradient
    are left out.

    ``weight_decay``
        λ of whatever decays.
    ``preset``
        Instead of the roles' defaults, what a known code base does: "transformers", "timm", "nanogpt", "nanochat",
        "megatron", "megatron_qk", "olmo", "olmo2".
    ``roles``
        What a role gets: a number is λ; a decay, or its text, acts with λ = ``weight_decay``; a pair is both; a dict
        holds options of the group: ``{"norm": Toward(1.0, Stable()), "embedding": 0.01, "head": {"lr": 1e-4}}``.
        ``{"other": 0.0}`` is for all tensors that no rule knows.
    ``rules``
        Pairs (where, what), of which the first that fits decides, before roles and presets. Where: a regular
        expression, searched in the name; a type of module; or a function of the :class:`Entry`. What: the name of a
        role, or as in ``roles``.

    Returns: groups with "params", "weight_decay", "role", "name" (which no other group has), and "decay" where one was
    given. Only weightdecay's optimizers and :func:`weightdecay.attach` read "decay"; :func:`weightdecay.audit` says so.

    Raises: TypeError, for what is no module; ValueError, with the names, for tensors of no known role, for unknown
    roles and presets, and for flattened pieces of FSDP whose shape is not known.

    >>> import torch, weightdecay
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.LayerNorm(8), torch.nn.Linear(8, 2))
    >>> for group in weightdecay.select(model, 0.1):
    ...     print(group["name"], group["weight_decay"], [tuple(p.shape) for p in group["params"]])
    matrix 0.1 [(8, 4), (2, 8)]
    bias 0.0 [(8,), (8,), (2,)]
    norm 0.0 [(8,)]
    """
    chosen = choose(model, weight_decay, preset=preset, roles=roles, rules=rules)
    groups: list[dict[str, Any]] = []
    for role in ROLES:
        ours: list[dict[str, Any]] = []
        for each in (one for one in chosen if one.role == role):
            home = next((group for group in ours if _same(group, each.options)), None)
            if home is None:
                home = {"params": [], **each.options, "role": role}
                ours.append(home)
            home["params"].append(each.entry.param)
        for i, group in enumerate(ours, start=1):
            group["name"] = role if len(ours) == 1 else f"{role}_{i}"
        groups += ours
    return groups


def choose(
    model: nn.Module,
    weight_decay: float | Tensor = 0.1,
    *,
    preset: str | Preset | None = None,
    roles: Mapping[str, Setting] | None = None,
    rules: Iterable[tuple[Where, Setting]] = (),
) -> list[Chosen]:
    """Return what :func:`select` decides for each tensor that needs a gradient, in the order of the model."""
    given = checked("weight_decay", weight_decay, NON_NEGATIVE, "select()")
    settings = {
        known_role(role, "roles="): _options(what, given, f"roles[{role!r}]") for role, what in (roles or {}).items()
    }
    read = [_rule(rule, given, i) for i, rule in enumerate(rules)]
    found = entries(model)
    trained = [entry for entry in found if entry.param.requires_grad]
    if not trained:
        why = "no parameters" if not found else f"{len(found)} parameters, of which none requires a gradient"
        raise ValueError(f"{type(model).__name__} has {why}: there is nothing to select.")
    strength = preset_of(preset).of(model) if preset is not None else None
    heads = find_heads(model)
    chosen, strange = [], []
    for entry in trained:
        one = _decide(entry, heads, given, strength, settings, read)
        if one is None:
            strange.append(entry)
        else:
            chosen.append(one)
    if strange:
        raise ValueError(_unmatched(strange, preset))
    return chosen


def roles_of(model: nn.Module) -> Iterator[tuple[Entry, str, str]]:
    """Yield every tensor, its role and the reason; "other" where nothing is known."""
    found = entries(model)
    heads = find_heads(model)
    for entry in found:
        role, reason = role_of(entry, heads) or ("other", "no rule knows it")
        yield entry, role, reason


Rule = tuple[Callable[[Entry], bool], str | None, Mapping[str, Any], str]
"""Which tensors, the role that is theirs, their options, and what the rule is called."""


def _decide(
    entry: Entry,
    heads: set[int],
    given: float | Tensor,
    strength: Strength | None,
    settings: Mapping[str, Mapping[str, Any]],
    rules: Iterable[Rule],
) -> Chosen | None:
    """Return what is decided for a tensor: by the first rule that fits, its role, the preset, the role's default."""
    known = role_of(entry, heads)
    role, reason = known or ("other", "no rule knows it")
    options: Mapping[str, Any] = {}
    for fits, named, more, said in rules:
        if fits(entry):
            role, reason, options = named or role, said, more
            known = known or (named and (role, reason)) or None
            break
    options = {**settings.get(role, {}), **options}
    if "weight_decay" in options:
        return Chosen(entry, role, reason, options)
    number: float | Tensor | None = given if ROLES[role].decays else 0.0
    if strength is not None:
        number = strength(entry, role, given)  # type: ignore[arg-type]
    elif known is None and role not in settings:
        number = None
    return None if number is None else Chosen(entry, role, reason, {"weight_decay": number, **options})


def _rule(rule: Any, given: float | Tensor, place: int) -> Rule:
    where = f"rules[{place}]"
    if not isinstance(rule, (tuple, list)) or len(rule) != 2:
        raise TypeError(f'{where}={rule!r} is not a pair. Write (where, what), as ("embed", "embedding").')
    spot, what = rule
    if isinstance(what, str) and (what in ROLES or (re.fullmatch(r"\w+", what) and not _is_decay(what))):
        return _fits(spot, where), known_role(what, where), {}, f"rule {_said(spot)}"
    return _fits(spot, where), None, _options(what, given, where), f"rule {_said(spot)}"


def _is_decay(text: str) -> bool:
    try:
        decay_of(text, "")
    except ValueError:
        return False
    return True


def _fits(spot: Any, where: str) -> Callable[[Entry], bool]:
    if isinstance(spot, str):
        try:
            pattern = re.compile(spot)
        except re.error as error:
            raise ValueError(f"{where}: {spot!r} is not a regular expression ({error}).") from None
        return lambda entry: any(pattern.search(place.name) for place in entry.places)
    if isinstance(spot, type):
        if not issubclass(spot, nn.Module):
            raise TypeError(f"{where}: {spot.__name__} is not a type of module. Give a subclass of torch.nn.Module.")
        return lambda entry: any(isinstance(place.module, spot) for place in entry.places)
    if callable(spot):
        return lambda entry: bool(spot(entry))
    raise TypeError(f"{where}: {spot!r} is neither a regular expression, nor a type of module, nor a function.")


def _said(spot: Any) -> str:
    return repr(spot) if isinstance(spot, str) else getattr(spot, "__name__", type(spot).__name__)


def _options(what: Any, given: float | Tensor, where: str) -> dict[str, Any]:
    """Return the group options that a setting means."""
    if isinstance(what, Mapping):
        options = dict(what)
        if "params" in options:
            raise ValueError(f"{where}: select() finds the tensors of each group. Leave out 'params'.")
    elif isinstance(what, tuple):
        if len(what) != 2:
            raise ValueError(f"{where}={what!r}: a pair (λ, decay) has two items.")
        options = {"weight_decay": what[0], "decay": what[1]}
    elif isinstance(what, (Decay, str)) or (isinstance(what, type) and issubclass(what, Decay)):
        options = {"weight_decay": given, "decay": what}
    else:
        options = {"weight_decay": what}
    if "weight_decay" in options:
        options["weight_decay"] = checked("weight_decay", options["weight_decay"], NON_NEGATIVE, where)
    if "decay" in options:
        options["decay"] = decay_of(options["decay"], where)
        options.setdefault("weight_decay", given)
    return options


def _same(group: Mapping[str, Any], options: Mapping[str, Any]) -> bool:
    """Whether a tensor with these options belongs into the group. Objects that do not compare are told by identity."""
    if group.keys() - {"params", "role"} != options.keys():
        return False
    return all(
        group[key] is value or (not isinstance(value, Tensor) and bool(group[key] == value))
        for key, value in options.items()
    )


def _unmatched(strange: list[Entry], preset: str | Preset | None) -> str:
    names = "; ".join(f"{e.name!r} {e.shape} of {kind_of(e.module)}" for e in strange[:5])
    more = f"; and {len(strange) - 5} more" if len(strange) > 5 else ""
    example = re.escape(strange[0].name.rsplit(".", 1)[-1])
    who = "select()" if preset is None else f"the preset {preset_of(preset).name!r}"
    return (
        f"{who} knows no rule for {len(strange)} tensor{'s' * (len(strange) > 1)}: {names}{more}. Give a rule, as in "
        f'rules=[(r"{example}$", "matrix")] or rules=[(r"{example}$", 0.0)], or set '
        'roles={"other": 0.0} for all such tensors.'
    )
