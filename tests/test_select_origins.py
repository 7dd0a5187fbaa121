"""The presets of nanoGPT, nanochat, Megatron and OLMo against their source, read and told in our own words.

Their packages do not install beside ours. Each architecture here has the modules, names and numbers of dimensions that
the source builds, in one layer of small sizes; each rule says what the source does, with the commit and the file.
"""

from fnmatch import fnmatch

import pytest
import torch
from selecting import holding, parameter, strengths
from torch import nn

LAM = 0.3  # a number that no source fixes


def linear(*sizes, bias=False):
    return nn.Linear(*sizes, bias=bias)


def own_norm(kind, bias=True):
    """A normalisation that the source writes itself, of a type of its own."""
    return holding(kind, weight=parameter(4), **({"bias": parameter(4)} if bias else {}))


# ---------------------------------------------------------------- nanoGPT


def nanogpt():
    """karpathy/nanoGPT 3adf61e, model.py: GPT with biases, head and token embedding tied."""
    attention = holding("CausalSelfAttention", c_attn=linear(4, 12, bias=True), c_proj=linear(4, 4, bias=True))
    mlp = holding("MLP", c_fc=linear(4, 16, bias=True), c_proj=linear(16, 4, bias=True))
    block = holding("Block", ln_1=own_norm("LayerNorm"), attn=attention, ln_2=own_norm("LayerNorm"), mlp=mlp)
    parts = {"wte": nn.Embedding(7, 4), "wpe": nn.Embedding(5, 4), "h": nn.ModuleList([block])}
    model = holding("GPT", transformer=nn.ModuleDict({**parts, "ln_f": own_norm("LayerNorm")}), lm_head=linear(4, 7))
    model.transformer.wte.weight = model.lm_head.weight
    return model


def nanogpt_rule(model):
    """The same file, configure_optimizers: two dimensions or more decay, all else does not."""
    return {name: LAM if p.dim() >= 2 else 0.0 for name, p in model.named_parameters()}


# ---------------------------------------------------------------- nanochat


def nanochat():
    """karpathy/nanochat 92d63d4, nanochat/gpt.py: GPT; gates and value embeddings in every second layer."""

    def block(gated):
        attention = {name: Linear(4, 4) for name in ("c_q", "c_k", "c_v", "c_proj")}
        attention["ve_gate"] = Linear(12, 2) if gated else None
        mlp = holding("MLP", c_fc=Linear(4, 16), c_proj=Linear(16, 4))
        return holding("Block", attn=holding("CausalSelfAttention", **attention), mlp=mlp)

    class Linear(nn.Linear):  # of its own, without biases
        def __init__(self, inside, outside):
            super().__init__(inside, outside, bias=False)

    blocks = nn.ModuleList([block(False), block(True)])
    return holding(
        "GPT",
        transformer=nn.ModuleDict({"wte": nn.Embedding(7, 4), "h": blocks}),
        lm_head=Linear(4, 7),
        resid_lambdas=parameter(2),
        x0_lambdas=parameter(2),
        smear_gate=Linear(24, 1),
        smear_lambda=parameter(1),
        backout_lambda=parameter(1),
        value_embeds=nn.ModuleDict({"1": nn.Embedding(7, 4)}),
    )


def nanochat_rule(model):
    """The same file, setup_optimizer: all of the blocks goes to Muon with λ, the other groups have a number each."""
    fixed = {"lm_head": 0.01, "wte": 0.001, "value_embeds": 0.01, "resid_lambdas": 0.05, "x0_lambdas": 0.0}
    fixed |= {"smear_gate": 0.0, "smear_lambda": 0.0, "backout_lambda": 0.0}
    found = {name: LAM for name, _ in model.named_parameters() if name.startswith("transformer.h.")}
    for name, _ in model.named_parameters():
        if name not in found:
            found[name] = fixed[name.removeprefix("transformer.").partition(".")[0]]
    return found


# ---------------------------------------------------------------- Megatron


def megatron():
    """NVIDIA/Megatron-LM: a GPT layer with norms of queries and keys, fused norms, experts, and a Mamba layer."""
    attention = holding(
        "SelfAttention",
        linear_proj=linear(4, 4, bias=True),
        linear_qkv=holding(
            "TELayerNormColumnParallelLinear",
            weight=parameter(12, 4),
            bias=parameter(12),
            layer_norm_weight=parameter(4),
            layer_norm_bias=parameter(4),
        ),
        q_layernorm=own_norm("TENorm"),
        k_layernorm=own_norm("TENorm"),
    )
    experts = holding(
        "TEGroupedMLP",
        linear_fc1=holding(
            "TEColumnParallelGroupedLinear",
            weight0=parameter(8, 4),
            weight1=parameter(8, 4),
            bias0=parameter(8),
            bias1=parameter(8),
        ),
    )
    moe = holding("MoELayer", router=holding("TopKRouter", weight=parameter(2, 4)), experts=experts)
    layer = holding(
        "TransformerLayer", self_attention=attention, pre_mlp_layernorm=own_norm("TENorm", bias=False), mlp=moe
    )
    mixer = {"A_log": parameter(2), "dt_bias": parameter(2), "D": parameter(2), "conv1d": nn.Conv1d(4, 4, 2)}
    mixer |= {"in_proj": linear(4, 8), "out_proj": linear(8, 4), "norm": own_norm("RMSNorm", bias=False)}
    mamba = holding("MambaLayer", mixer=holding("MambaMixer", **mixer))
    block = holding(
        "TransformerBlock", layers=nn.ModuleList([layer, mamba]), final_layernorm=own_norm("TENorm", bias=False)
    )
    embedding = holding(
        "LanguageModelEmbedding",
        word_embeddings=holding("VocabParallelEmbedding", weight=parameter(7, 4)),
        position_embeddings=nn.Embedding(5, 4),
    )
    output = holding("ColumnParallelLinear", weight=parameter(7, 4))
    return holding("GPTModel", embedding=embedding, decoder=block, output_layer=output)


def megatron_rule(model, qk=False):
    """Commit 0044db1, megatron/core/optimizer/__init__.py, get_standard_config_overrides.

    No decay for one dimension, nor for names that match "*.bias" (ParamKey matches by name or by predicate). With
    apply_wd_to_qk_layernorm those two, unless q_layernorm or k_layernorm is in the name.
    """

    def spared(name, p):
        plain = len(p.shape) == 1 or fnmatch(name, "*.bias")
        return plain and not (qk and ("q_layernorm." in name or "k_layernorm." in name))

    return {name: 0.0 if spared(name, p) else LAM for name, p in model.named_parameters()}


# ---------------------------------------------------------------- OLMo


def olmo():
    """allenai/OLMo 59a53e3, olmo/model.py: OLMo with sequential blocks, norms with gains and biases, and positions."""

    def norm():
        base = type("LayerNormBase", (nn.Module,), {})
        module = type("LayerNorm", (base,), {})()
        module.weight, module.bias = parameter(4), parameter(4)
        return module

    sizes = {"attn_out": (4, 4), "ff_out": (8, 4), "att_proj": (4, 12), "ff_proj": (4, 8)}
    layers = {name: linear(*size, bias=True) for name, size in sizes.items()}
    norms = {name: norm() for name in ("k_norm", "q_norm", "attn_norm", "ff_norm")}
    parts = {"wte": nn.Embedding(7, 4), "ln_f": norm()}
    parts["blocks"] = nn.ModuleList([holding("OLMoSequentialBlock", **layers, **norms)])
    parts |= {"wpe": nn.Embedding(5, 4), "ff_out": linear(4, 7, bias=True), "emb_norm": norm()}
    return holding("OLMo", transformer=nn.ModuleDict(parts))


def olmo_rule(model, norm_and_bias=False):
    """The same commit, olmo/optim.py, get_param_groups: by the end of the name, and the type of the module.

    Biases, and weights of LayerNormBase, as decay_norm_and_bias says, which is off by default; weights of nn.Linear
    always; those of nn.Embedding as decay_embeddings says, which is off by default and in configs/official-0425.
    """
    found = {}
    for name, module in model.named_modules():
        for key, _ in module.named_parameters(recurse=False):
            if key == "bias" or "LayerNormBase" in [cls.__name__ for cls in type(module).__mro__]:
                found[f"{name}.{key}"] = LAM * norm_and_bias
            else:
                found[f"{name}.{key}"] = LAM * isinstance(module, nn.Linear)
    return found


def olmo_core():
    """allenai/OLMo-core fa6c501, src/olmo_core/nn: Transformer of OLMo 2, with norms after blocks and of q and k."""
    attention = {name: linear(4, 4) for name in ("w_q", "w_k", "w_v", "w_out")}
    attention |= {name: own_norm("RMSNorm", bias=False) for name in ("q_norm", "k_norm")}
    block = holding(
        "ReorderedNormTransformerBlock",
        attention=holding("Attention", **attention),
        attention_norm=own_norm("RMSNorm", bias=False),
        feed_forward=holding("FeedForward", w1=linear(4, 8), w2=linear(8, 4), w3=linear(4, 8)),
        feed_forward_norm=own_norm("RMSNorm", bias=False),
    )
    head = holding("LMHead", norm=own_norm("RMSNorm", bias=False), w_out=linear(4, 7))
    return holding("Transformer", embeddings=nn.Embedding(7, 4), blocks=nn.ModuleDict({"0": block}), lm_head=head)


def olmo_core_rule(model):
    """The same commit, src/scripts/official/OLMo2 and OLMo3: only embeddings.weight is given λ = 0."""
    return {name: 0.0 if fnmatch(name, "embeddings.weight") else LAM for name, _ in model.named_parameters()}


CASES = {
    "nanogpt": ("nanogpt", nanogpt, nanogpt_rule),
    "nanochat": ("nanochat", nanochat, nanochat_rule),
    "megatron": ("megatron", megatron, megatron_rule),
    "megatron_qk": ("megatron_qk", megatron, lambda model: megatron_rule(model, qk=True)),
    "olmo": ("olmo", olmo, olmo_rule),
    "olmo2, OLMo": ("olmo2", olmo, lambda model: olmo_rule(model, norm_and_bias=True)),
    "olmo2, OLMo-core": ("olmo2", olmo_core, olmo_core_rule),
}


@pytest.mark.parametrize("case", CASES)
def test_a_preset_makes_the_groups_of_its_source(case):
    preset, build, rule = CASES[case]
    with torch.device("meta"):
        model = build()
    expected = rule(model)
    assert strengths(model, LAM, preset=preset) == pytest.approx(expected)
    assert len(set(expected.values())) > 1
