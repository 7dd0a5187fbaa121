"""Which layer is the head: the model says so itself, or the name of the last layer does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from torch import nn

from weightdecay.selecting.tensors import Place, walk

ASKED = ("get_output_embeddings", "get_classifier")
"""Methods by which models of transformers and timm name their head."""
LINEAR = re.compile(r"Linear(?!.*Norm)|^Conv1D$")
NAMES = (
    *("lm_head", "head", "heads", "classifier", "fc", "score", "output", "output_layer", "embed_out", "unembed"),
    *("unembedding", "decoder", "logits", "cls", "qa_outputs", "output_projection", "generator"),
)
"""How heads are called, directly under the model."""
AROUND = ("base_model", "model")
"""Names under which a model holds another that is all of it."""
ADAPTED = ("modules_to_save", "default", "original_module", "base_layer")
"""Parts of names that adapters put around a layer."""


def find_heads(model: nn.Module) -> set[int]:
    """Return the ids of the modules that are the head: usually one.

    A model of transformers or timm is asked. Where none answers, it is the last linear layer of whatever stands
    directly under the model with a name from :data:`NAMES`.
    """
    if heads := {id(module) for module in _asked(model)}:
        return heads
    last: dict[str, int] = {}
    for place, _ in walk(model):
        name = _parts(place)[0]
        whole = name == "decoder" and len(_parts(place)) > 2  # a decoder with layers inside is half of a model
        if name in NAMES and not whole and place.key == "weight" and linear(place.module):
            last[name] = id(place.module)
    return set(last.values())


def linear(module: nn.Module) -> bool:
    """Whether the module multiplies by a matrix: torch's Linear, and what others call so."""
    return any(LINEAR.search(cls.__name__) for cls in type(module).__mro__)


def _parts(place: Place) -> list[str]:
    parts = place.name.split(".")
    while len(parts) > 2 and parts[0] in AROUND and parts[0] != parts[-2]:
        parts = parts[1:]
    return [part for part in parts if part not in ADAPTED]


def _asked(model: nn.Module) -> Iterator[nn.Module]:
    for module in model.modules():
        for name in ASKED:
            method: Any = getattr(type(module), name, None)
            if method is None:
                continue
            try:
                answer = method(module)
            except (AttributeError, NotImplementedError, TypeError):
                continue
            for each in answer if isinstance(answer, (tuple, list)) else (answer,):
                inside = each.modules() if isinstance(each, nn.Module) else ()
                layers = [
                    m for m in inside if linear(m) and {"weight", "parametrizations"} & {*m._parameters, *m._modules}
                ]
                yield from layers[-1:]
