"""The role of a parameter: by the type of its module first, then by its shape, then by its name."""

from __future__ import annotations

import re

from torch import nn

from weightdecay.selecting.heads import linear
from weightdecay.selecting.tensors import Entry, Place

STATE_SPACE = re.compile(
    r"A_logs?|A_real|A_imag|log_A_real|Ds?|dt_bias|dt_projs_bias|log_dt|inv_dt|log_step|recurrent_param|"
    r"time_(decay|first|faaaa|mix|maa|state|curve)\w*"
)
POSITIONAL = re.compile(
    r"pos(ition)?(al)?_?(emb|embed|embeds|embedding|embeddings|encoding|encodings|bias|table)(?![a-z])|\bwpe\b|"
    r"position_emb|embed_positions|rel(ative)?_pos|relative_(position|attention)_bias|\brel_(h|w|emb)|attention_biases|"
    r"(^|[._])pos(ition)?s?$|(spatial|temporal|time)_pos|rotary|\brope\b|freqs_?cis",
    re.IGNORECASE,
)
POSITIONAL_TYPE = re.compile(r"Pos(ition(al)?)?_?(Emb|Enc|Bias)|RelPos")
TOKEN = re.compile(
    r"(cls|class|dist|distill\w*|mask|masked_spec|reg|register|storage|query|prompt|mem|memory|seg|sep|bos|pad|pool|"
    r"latent)_?(tokens?|emb|embed|embeds|embedding|embeddings|query|queries)$|^(query_tokens|latents?|probe|soft_prompt|"
    r"registers|prompt|queries)$",
    re.IGNORECASE,
)
BIAS = re.compile(r"(^|_)bias(es)?(_|$)|^(beta|shift|sinks|b|b\d)$", re.IGNORECASE)
SCALE = re.compile(
    r"(^|_)(gamma|scales?|gain|alpha|temp|temperature|tau|layer_?scale|ls)(_[a-z]\w*)?$|(^|_)lambdas?(_|$)",
    re.IGNORECASE,
)
MATRIX = re.compile(
    r"(^|_)(weights?|kernel|proj|projection|projections|matrix|experts?|w|w[_qkvoig]\w?|qkv|[qkvor])(_[a-z]\w*)?$",
    re.IGNORECASE,
)
CONVOLUTION = re.compile(r"Conv(Transpose)?[123]d")
EMBEDDING = re.compile(r"Embedding|^Embed$")
ROUTER = re.compile(r"Router$|Top\dGate$|TopKGate$|MoE?Gate$")
ROUTER_NAMES = ("gate", "router", "wg", "gating")
NORM = re.compile(r"Norm(?!.*Linear)|GRN$")
NORM_KEYS = ("weight", "gain", "scale", "gamma", "g", "alpha", "bias", "beta")

Answer = tuple[str, str]
"""A role, and the reason in a few words."""


def role_of(entry: Entry, heads: set[int]) -> Answer | None:
    """Return the role and why; None where nothing is known. A tied weight that is a head anywhere is a head."""
    answers = [answer for place in entry.places if (answer := _role(place, entry, heads))]
    if len(entry.places) > 1 and any(role == "head" for role, _ in answers):
        others = "tied: " + " and ".join(dict.fromkeys(role for role, _ in answers))
        return "head", others
    return answers[0] if answers else None


def _role(place: Place, entry: Entry, heads: set[int]) -> Answer | None:
    return _adapter(place) or _by_type(place, entry, heads) or _by_shape_and_name(place, entry)


def _adapter(place: Place) -> Answer | None:
    """LoRA and DoRA, which put layers of ordinary types into places of their own."""
    parts = {part.lower() for part in place.name.split(".")}
    if place.key == "bias":
        return None
    if "lora_magnitude_vector" in parts or (
        place.key == "magnitude" and any("DoRA" in cls.__name__ for cls in type(place.module).__mro__)
    ):
        return "magnitude", "DoRA's magnitude"
    for letter in "ab":
        if parts & {f"lora_{letter}", f"lora_embedding_{letter}"}:
            return f"lora_{letter}", f"inside lora_{letter.upper()}"
    return None


def _by_type(place: Place, entry: Entry, heads: set[int]) -> Answer | None:
    module, key = place.module, place.key
    kind = kind_of(module)
    if key == "magnitude" or (key == "weight_g" and hasattr(module, "weight_v")):
        return "magnitude", "weight_norm's magnitude"
    long = [size for size in entry.shape if size != 1]
    if _is_norm(module, key, len(long)):
        return ("bias", f"bias of {kind}") if BIAS.search(key) else ("norm", kind)
    if BIAS.search(key) and not STATE_SPACE.fullmatch(key) and not POSITIONAL.search(key):
        if place.name.endswith("dt_proj.bias"):
            return "state_space", "Mamba's dt bias"
        return "bias", f"bias of {kind}"
    if isinstance(module, (nn.Embedding, nn.EmbeddingBag)) or (
        EMBEDDING.search(kind) and key == "weight" and len(long) > 1
    ):
        return ("positional", f"{kind} of positions") if POSITIONAL.search(place.name) else ("embedding", kind)
    if isinstance(module, nn.modules.conv._ConvNd) or CONVOLUTION.search(kind):
        return ("convolution", kind) if key == "weight" or key.startswith("weight_") else None
    if isinstance(module, nn.PReLU):
        return "scale", "slope of PReLU"
    if _is_router(place):
        return "router", f"{kind} that chooses experts"
    if linear(module) and key == "weight" and len(entry.shape) > 1:
        return ("head", f"{kind}, the last layer") if id(module) in heads else ("matrix", kind)
    if isinstance(module, (nn.MultiheadAttention, nn.RNNBase, nn.RNNCellBase, nn.Bilinear)) and "weight" in key:
        return "matrix", kind
    if kind.endswith("Experts") and len(entry.shape) == 3:
        return "matrix", f"{kind}, one matrix per expert"
    return None


def _by_shape_and_name(place: Place, entry: Entry) -> Answer | None:
    """Parameters that a module of no known type holds itself."""
    word = next((part for part in reversed(place.name.split(".")) if not part.isdigit()), place.key)
    word = re.sub(r"_?\d+$", "", word)  # one of several
    kind = kind_of(place.module)
    long = [size for size in entry.shape if size != 1]
    if STATE_SPACE.fullmatch(word):
        return "state_space", f"{word} of {kind}"
    if POSITIONAL.search(word) or POSITIONAL_TYPE.search(kind):
        return "positional", f"{word} of {kind}"
    if TOKEN.search(word):
        return "token", f"{word} of {kind}"
    if len(long) < 2:
        return ("scale", f"{word} of {kind}") if SCALE.search(word) else None
    return ("matrix", f"{word} of {kind}, {len(entry.shape)} dimensions") if MATRIX.search(word) else None


def kind_of(module: nn.Module) -> str:
    """Return the name of the module's class, without the classes that FSDP2 and parametrizations derive from it."""
    names = [cls.__name__ for cls in type(module).__mro__]
    return next(name for name in names if not name.startswith(("FSDP", "Parametrized")))


def _is_norm(module: nn.Module, key: str, dimensions: int) -> bool:
    """Whether the module normalises: by torch's types, or by its name, if it holds one number per channel."""
    if isinstance(module, (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.modules.batchnorm._NormBase)):
        return True
    return key in NORM_KEYS and dimensions < 2 and any(NORM.search(cls.__name__) for cls in type(module).__mro__)


def _is_router(place: Place) -> bool:
    """A layer whose type, or that of the module around it, is a router's; or one named so beside experts."""
    if place.key != "weight":
        return False
    if any(ROUTER.search(type(module).__name__) for module in place.path[-2:]):
        return True
    siblings = place.path[-2]._modules if len(place.path) > 1 else {}
    named = any(child is place.module and name in ROUTER_NAMES for name, child in siblings.items())
    return named and any("experts" in name for name in siblings)
