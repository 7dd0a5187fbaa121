"""select() on real architectures, built without downloads, against the code whose rules the presets repeat."""

import warnings

import pytest
import torch
from torch import nn

from weightdecay import select
from weightdecay.selecting.groups import choose

SMALL = {"vocab_size": 32, "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
LLAMA = {**SMALL, "num_key_value_heads": 2}
GPT2 = {
    "vocab_size": 32,
    "n_embd": 8,
    "n_layer": 1,
    "n_head": 2,
    "n_positions": 16,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
T5 = {"vocab_size": 32, "d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2}
MAMBA = {"vocab_size": 32, "hidden_size": 8, "num_hidden_layers": 1, "state_size": 4}


def of_transformers(kind, config, **options):
    transformers = pytest.importorskip("transformers")
    with torch.device("meta"):  # names, types and shapes are all that is asked
        return getattr(transformers, kind)(getattr(transformers, config)(**options))


def of_timm(name, **options):
    return pytest.importorskip("timm").create_model(name, num_classes=3, **options)


def of_peft(**options):
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", **options)
    base = of_transformers("LlamaForCausalLM", "LlamaConfig", **LLAMA)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # between versions of peft and transformers
        return peft.get_peft_model(base, config)


def of_torchvision(name):
    with torch.device("meta"):
        return getattr(pytest.importorskip("torchvision").models, name)(num_classes=3)


def swin():
    return of_timm(
        "swin_tiny_patch4_window7_224", img_size=32, window_size=4, embed_dim=8, depths=(1, 1), num_heads=(2, 2)
    )


BUILD = {
    "vit": lambda: of_timm("vit_tiny_patch16_224", img_size=32, embed_dim=8, depth=1, num_heads=2),
    "swin": swin,
    "convnext": lambda: of_timm("convnext_atto", dims=(8, 8, 8, 8), depths=(1, 1, 1, 1)),
    "resnet": lambda: of_torchvision("resnet18"),
    "convnext of torchvision": lambda: of_torchvision("convnext_tiny"),
    "mobilenet": lambda: of_torchvision("mobilenet_v3_small"),
    "bert": lambda: of_transformers("BertForMaskedLM", "BertConfig", **SMALL, max_position_embeddings=16),
    "gpt2": lambda: of_transformers("GPT2LMHeadModel", "GPT2Config", **GPT2),
    "llama": lambda: of_transformers("LlamaForCausalLM", "LlamaConfig", **LLAMA),
    "mamba": lambda: of_transformers("MambaForCausalLM", "MambaConfig", **MAMBA),
    "mamba2": lambda: of_transformers(
        "Mamba2ForCausalLM", "Mamba2Config", **MAMBA, num_heads=4, head_dim=4, n_groups=1
    ),
    "t5": lambda: of_transformers("T5ForConditionalGeneration", "T5Config", **T5),
    "mixtral": lambda: of_transformers("MixtralForCausalLM", "MixtralConfig", **LLAMA, num_local_experts=2),
    "lora": of_peft,
    "dora": lambda: of_peft(use_dora=True),
}

L, M = "model.layers.0.", "backbone.layers.0.mixer."
Q = "base_model.model.model.layers.0.self_attn.q_proj."
TELLING = {
    "bert": {
        "bert.embeddings.word_embeddings.weight": "head",  # tied
        "bert.embeddings.token_type_embeddings.weight": "embedding",
        "bert.embeddings.position_embeddings.weight": "positional",
        "bert.embeddings.LayerNorm.weight": "norm",
        "bert.encoder.layer.0.attention.output.dense.weight": "matrix",
        "cls.predictions.transform.dense.weight": "matrix",
        "cls.predictions.bias": "bias",
    },
    "gpt2": {
        "transformer.wte.weight": "head",
        "transformer.wpe.weight": "positional",
        "transformer.h.0.attn.c_attn.weight": "matrix",  # of a Conv1D, which is no convolution
        "transformer.h.0.attn.c_attn.bias": "bias",
        "transformer.h.0.ln_1.weight": "norm",
        "transformer.ln_f.bias": "bias",
    },
    "llama": {
        "model.embed_tokens.weight": "embedding",
        "lm_head.weight": "head",
        L + "mlp.gate_proj.weight": "matrix",  # no router: there are no experts
        L + "input_layernorm.weight": "norm",
        "model.norm.weight": "norm",
    },
    "mamba": {
        M + "A_log": "state_space",  # two dimensions, and yet no matrix
        M + "D": "state_space",
        M + "dt_proj.bias": "state_space",
        M + "dt_proj.weight": "matrix",
        M + "conv1d.weight": "convolution",
        M + "in_proj.weight": "matrix",
        "backbone.embeddings.weight": "head",
        "backbone.norm_f.weight": "norm",
    },
    "mamba2": {
        M + "dt_bias": "state_space",
        M + "A_log": "state_space",
        M + "norm.weight": "norm",
        "backbone.embeddings.weight": "embedding",
        "lm_head.weight": "head",
    },
    "t5": {
        "shared.weight": "head",
        "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight": "positional",
        "encoder.block.0.layer.0.layer_norm.weight": "norm",
        "decoder.block.0.layer.1.EncDecAttention.q.weight": "matrix",
    },
    "mixtral": {
        L + "mlp.gate.weight": "router",
        L + "mlp.experts.gate_up_proj": "matrix",
        L + "mlp.experts.down_proj": "matrix",
        "model.embed_tokens.weight": "embedding",
        "lm_head.weight": "head",
    },
    "lora": {Q + "lora_A.default.weight": "lora_a", Q + "lora_B.default.weight": "lora_b"},
    "dora": {
        Q + "lora_A.default.weight": "lora_a",
        Q + "lora_B.default.weight": "lora_b",
        Q + "lora_magnitude_vector.default.weight": "magnitude",
    },
    "vit": {
        "cls_token": "token",
        "pos_embed": "positional",
        "patch_embed.proj.weight": "convolution",
        "blocks.0.attn.qkv.weight": "matrix",
        "norm.weight": "norm",
        "head.weight": "head",
        "head.bias": "bias",
    },
    "swin": {
        "layers.0.blocks.0.attn.relative_position_bias_table": "positional",
        "layers.1.downsample.reduction.weight": "matrix",
        "layers.1.downsample.norm.weight": "norm",
        "head.fc.weight": "head",
    },
    "convnext": {
        "stages.0.blocks.0.gamma": "scale",
        "stages.0.blocks.0.conv_dw.weight": "convolution",
        "stages.0.blocks.0.mlp.fc1.weight": "convolution",
        "stem.1.weight": "norm",  # timm's LayerNorm2d
        "head.norm.weight": "norm",
        "head.fc.weight": "head",
    },
    "resnet": {
        "conv1.weight": "convolution",
        "layer2.0.downsample.0.weight": "convolution",
        "layer2.0.downsample.1.weight": "norm",
        "layer2.0.downsample.1.bias": "bias",
        "fc.weight": "head",
    },
    "convnext of torchvision": {
        "features.1.0.layer_scale": "scale",  # three dimensions, of which two are 1
        "features.1.0.block.0.weight": "convolution",
        "features.1.0.block.3.weight": "matrix",
        "classifier.0.weight": "norm",
        "classifier.2.weight": "head",
    },
    "mobilenet": {
        "features.1.block.1.fc1.weight": "convolution",
        "classifier.0.weight": "matrix",
        "classifier.3.weight": "head",
    },
}
COUNT = {
    "bert": {"matrix": 7, "head": 1, "embedding": 1, "positional": 1, "bias": 12, "norm": 4},
    "gpt2": {"matrix": 4, "head": 1, "positional": 1, "bias": 7, "norm": 3},
    "llama": {"matrix": 7, "head": 1, "embedding": 1, "norm": 3},
    "mamba": {"matrix": 4, "convolution": 1, "head": 1, "bias": 1, "norm": 2, "state_space": 3},
    "mamba2": {"matrix": 2, "convolution": 1, "head": 1, "embedding": 1, "bias": 1, "norm": 3, "state_space": 3},
    "t5": {"matrix": 16, "head": 1, "positional": 2, "norm": 7},
    "mixtral": {"matrix": 6, "head": 1, "router": 1, "embedding": 1, "norm": 3},
    "lora": {"lora_a": 2, "lora_b": 2},
    "dora": {"lora_a": 2, "lora_b": 2, "magnitude": 2},
}
"""How many tensors of each role, where it is few enough to count by hand."""


@pytest.fixture(scope="module", params=BUILD)
def model(request):
    built = BUILD[request.param]()
    built.called = request.param
    return built


def test_the_roles_of_an_architecture(model):
    found = {each.entry.name: each.role for each in choose(model)}
    telling = TELLING[model.called]
    assert {name: found.get(name) for name in telling} == telling
    roles = list(found.values())
    if model.called in COUNT:
        assert {role: roles.count(role) for role in roles} == COUNT[model.called]


def test_every_tensor_that_is_trained_is_in_one_group(model):
    ids = [id(p) for group in select(model, 0.1) for p in group["params"]]
    assert len(ids) == len(set(ids))
    assert set(ids) == {id(p) for p in model.parameters() if p.requires_grad}


def decaying(groups):
    return {id(p) for group in groups if group["weight_decay"] for p in group["params"]}


def test_the_preset_of_transformers_is_the_trainers_split(model):
    trainer = pytest.importorskip("transformers").Trainer
    names = set(trainer.get_decay_parameter_names(None, model))
    expected = {id(p) for name, p in model.named_parameters() if name in names and p.requires_grad}
    assert decaying(select(model, 0.1, preset="transformers")) == expected


def test_the_preset_of_timm_is_its_split(model):
    split = pytest.importorskip("timm.optim").param_groups_weight_decay
    skip = model.no_weight_decay() if hasattr(model, "no_weight_decay") else ()
    assert decaying(select(model, 0.1, preset="timm")) == decaying(split(model, 0.1, no_weight_decay_list=skip))


def test_the_default_is_no_preset():
    """By one dimension or two alone, A_log and the table of positions would decay; by name alone, other norms."""
    mamba, vit = BUILD["mamba"](), BUILD["vit"]()
    for built, name in ((mamba, "backbone.layers.0.mixer.A_log"), (vit, "pos_embed")):
        tensor = id(dict(built.named_parameters())[name])
        assert tensor not in decaying(select(built, 0.1))
        assert tensor in decaying(select(built, 0.1, preset="nanogpt"))


def test_a_wrapped_model_is_split_as_the_model_inside():
    inside = BUILD["llama"]()
    said = [[(each.entry.name, each.role) for each in choose(model)] for model in (nn.DataParallel(inside), inside)]
    assert said[0] == said[1]
