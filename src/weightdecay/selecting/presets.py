"""Which tensors decay in well-known training code, each rule as published, with its source."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from weightdecay.checks import unknown
from weightdecay.selecting.tensors import Entry

Strength = Callable[[Entry, str, float], float | None]
"""λ of a tensor, from the tensor, its role and the λ given; None where the original code refuses."""


@dataclass(frozen=True)
class Preset:
    """The rule of one code base. ``of(model)`` returns it, since some rules depend on the model."""

    name: str
    source: str
    what: str
    of: Callable[[nn.Module], Strength] = field(repr=False)


def _by_entry(decays: Callable[[Entry], bool]) -> Callable[[nn.Module], Strength]:
    return lambda model: lambda entry, role, strength: strength if decays(entry) else 0.0


TRANSFORMERS = re.compile(r"bias|layernorm|rmsnorm|(?:^|\.)norm(?:$|\.)|_norm(?:$|\.)")


def _transformers(entry: Entry) -> bool:
    inside = entry.places[0].path[1:]  # the model itself is not asked
    return not any(isinstance(module, nn.LayerNorm) for module in inside) and not TRANSFORMERS.search(
        entry.name.lower()
    )


def _timm(model: nn.Module) -> Strength:
    listed: Any = getattr(model, "no_weight_decay", None)
    patterns: Iterable[str] = listed() if callable(listed) else ()
    patterns = tuple(patterns)

    def strength(entry: Entry, role: str, given: float) -> float:
        flat = len(entry.shape) <= 1 or entry.name.endswith(".bias")
        return 0.0 if flat or any(fnmatch.fnmatch(entry.name, pattern) for pattern in patterns) else given

    return strength


def _megatron(entry: Entry) -> bool:
    return len(entry.shape) != 1 and not entry.name.endswith(".bias")


def _megatron_qk(entry: Entry) -> bool:
    return _megatron(entry) or "q_layernorm." in entry.name or "k_layernorm." in entry.name


NANOCHAT = {"head": 0.01, "embedding": 0.001}
NANOCHAT_NAMES = ((r"(^|\.)value_embeds\.", 0.01), (r"(^|\.)resid_lambdas$", 0.05), (r"(^|\.)smear_gate\.", 0.0))


def _nanochat(entry: Entry, role: str, given: float) -> float:
    for pattern, strength in NANOCHAT_NAMES:
        if re.search(pattern, entry.name):
            return strength
    return NANOCHAT.get(role, given if role == "matrix" else 0.0)


OLMO = {"matrix": True, "head": True, "bias": False, "norm": False, "embedding": False, "positional": False}


def _olmo(entry: Entry, role: str, given: float) -> float | None:
    if role == "positional" and not isinstance(entry.module, nn.Embedding):
        return None
    return None if role not in OLMO else given if OLMO[role] else 0.0


def _olmo2(entry: Entry, role: str, given: float) -> float:
    return 0.0 if role == "embedding" or isinstance(entry.module, nn.Embedding) else given


PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            "transformers",
            "transformers 5.24, Trainer.get_decay_parameter_names",
            "all but nn.LayerNorm and names with bias, layernorm, rmsnorm, norm or …_norm",
            _by_entry(_transformers),
        ),
        Preset(
            "timm",
            "timm 1.0.31, optim.create_optimizer_v2 and param_groups_weight_decay",
            "two dimensions or more, but for names ending in .bias and those of model.no_weight_decay()",
            _timm,
        ),
        Preset(
            "nanogpt",
            "karpathy/nanoGPT 3adf61e, model.py, configure_optimizers",
            "two dimensions or more",
            _by_entry(lambda entry: len(entry.shape) >= 2),
        ),
        Preset(
            "nanochat",
            "karpathy/nanochat 92d63d4, nanochat/gpt.py, setup_optimizer",
            "matrices; beside them fixed numbers: head 0.01, embedding 0.001, value_embeds 0.01, resid_lambdas 0.05",
            lambda model: _nanochat,
        ),
        Preset(
            "megatron",
            "Megatron-LM 0044db1, megatron/core/optimizer, get_standard_config_overrides",
            "all but tensors of one dimension and names ending in .bias",
            _by_entry(_megatron),
        ),
        Preset(
            "megatron_qk",
            "the same with apply_wd_to_qk_layernorm, as for Qwen3-Next",
            "as megatron, and the norms of queries and keys (q_layernorm, k_layernorm)",
            _by_entry(_megatron_qk),
        ),
        Preset(
            "olmo",
            "allenai/OLMo 59a53e3, olmo/optim.py, get_param_groups at its defaults",
            "linear layers; not biases, norms, embeddings; anything else is refused",
            lambda model: _olmo,
        ),
        Preset(
            "olmo2",
            "allenai/OLMo 59a53e3, configs/official-0425; OLMo-core fa6c501, group_overrides",
            "everything but embeddings: norms and biases too",
            lambda model: _olmo2,
        ),
    )
}
"""By name."""


def preset_of(given: str | Preset) -> Preset:
    """Return a preset by its name, or a preset of the user's own. Raises: ValueError, TypeError."""
    if isinstance(given, Preset):
        return given
    if not isinstance(given, str):
        raise TypeError(f"preset={given!r} is neither a name nor a Preset. Known: {', '.join(sorted(PRESETS))}.")
    if given not in PRESETS:
        raise ValueError(f"preset={given!r}: {unknown('preset', given, PRESETS)}")
    return PRESETS[given]
