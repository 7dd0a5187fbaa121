"""select(): every tensor once, by type, then by shape, then by name; what nobody knows is named."""

import pytest
import torch
from selecting import holding, parameter, strengths
from torch import nn

import weightdecay
from weightdecay import Cautious, Decoupled, Stable, Toward, select
from weightdecay.selecting import ROLES
from weightdecay.selecting.groups import choose


def roles(model, **options):
    return {each.entry.name: each.role for each in choose(model, **options)}


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.body = nn.Linear(4, 4)
        self.lm_head = nn.Linear(4, 7, bias=False)
        self.lm_head.weight = self.embed.weight


def experts(name="gate"):
    return holding("Moe", **{name: nn.Linear(4, 2)}, experts=nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)]))


ONE = [
    (nn.Linear(3, 2), "weight", "matrix"),
    (nn.Linear(3, 2), "bias", "bias"),
    (nn.Bilinear(3, 2, 2), "weight", "matrix"),
    (nn.Conv2d(3, 2, 1), "weight", "convolution"),
    (nn.ConvTranspose1d(3, 2, 1), "weight", "convolution"),
    (nn.Embedding(3, 2), "weight", "embedding"),
    (nn.EmbeddingBag(3, 2), "weight", "embedding"),
    (nn.BatchNorm1d(3), "weight", "norm"),
    (nn.BatchNorm1d(3), "bias", "bias"),
    (nn.GroupNorm(1, 3), "weight", "norm"),
    (nn.LayerNorm((3, 4)), "weight", "norm"),
    (nn.RMSNorm(3), "weight", "norm"),
    (nn.PReLU(), "weight", "scale"),
    (nn.LSTM(3, 2), "weight_hh_l0", "matrix"),
    (nn.LSTM(3, 2), "bias_ih_l0", "bias"),
    (nn.MultiheadAttention(4, 2), "in_proj_weight", "matrix"),
    (nn.MultiheadAttention(4, 2), "in_proj_bias", "bias"),
    (holding("MyRMSNorm", gain=parameter(3)), "gain", "norm"),
    (holding("ZeroCenteredRMSNorm", gamma=parameter(3)), "gamma", "norm"),
    (holding("KimiLinearRMSNorm", weight=parameter(3)), "weight", "norm"),  # of a model that is called Linear
    (holding("NormalizedLinear", weight=parameter(3, 3)), "weight", "matrix"),
    (holding("KimiLinearAttention", A_log=parameter(2, 3)), "A_log", "state_space"),
    (holding("PosEmbedRel", height_rel=parameter(5, 2)), "height_rel", "positional"),
    (holding(pos_embed_window=parameter(1, 2, 4, 4)), "pos_embed_window", "positional"),
    (holding(cls_token_1=parameter(1, 1, 2)), "cls_token_1", "token"),
    (holding(layer_scale_parameter=parameter(3)), "layer_scale_parameter", "scale"),
    (holding("PreNormBlock", weight=parameter(3, 3)), "weight", "matrix"),
    (holding("ColumnParallelLinear", weight=parameter(3, 3)), "weight", "matrix"),
    (holding("MyExperts", up=parameter(2, 3, 4)), "up", "matrix"),
    (holding("MyExperts", up_bias=parameter(2, 3)), "up_bias", "bias"),
    (holding("VocabParallelEmbedding", weight=parameter(3, 3)), "weight", "embedding"),
    (holding("TopKRouter", weight=parameter(2, 3)), "weight", "router"),
    (experts("gate"), "gate.weight", "router"),
    (experts("gate"), "gate.bias", "bias"),
    (experts("gate"), "experts.1.weight", "matrix"),
    (holding(gate=nn.Linear(3, 2)), "gate.weight", "matrix"),
    (holding(A_log=parameter(3, 2)), "A_log", "state_space"),
    (holding(dt_bias=parameter(3)), "dt_bias", "state_space"),
    (holding(D=parameter(3)), "D", "state_space"),
    (holding(dt_proj=nn.Linear(3, 2)), "dt_proj.bias", "state_space"),
    (holding(time_decay=parameter(3)), "time_decay", "state_space"),
    (holding(pos_embed=parameter(1, 5, 2)), "pos_embed", "positional"),
    (holding(wpe=nn.Embedding(5, 2)), "wpe.weight", "positional"),
    (holding(relative_position_bias_table=parameter(9, 2)), "relative_position_bias_table", "positional"),
    (holding(relative_attention_bias=nn.Embedding(5, 2)), "relative_attention_bias.weight", "positional"),
    (holding(cls_token=parameter(1, 1, 2)), "cls_token", "token"),
    (holding(register_tokens=parameter(1, 4, 2)), "register_tokens", "token"),
    (holding(gamma=parameter(3)), "gamma", "scale"),
    (holding(layer_scale=parameter(3, 1, 1)), "layer_scale", "scale"),
    (holding(logit_scale=parameter()), "logit_scale", "scale"),
    (holding(resid_lambdas=parameter(3)), "resid_lambdas", "scale"),
    (holding(q_bias=parameter(3)), "q_bias", "bias"),
    (holding(w1=parameter(3, 2)), "w1", "matrix"),
    (holding(experts=nn.ParameterList([parameter(3, 2)])), "experts.0", "matrix"),
    (holding(lora_A=nn.ModuleDict({"default": nn.Linear(3, 2)})), "lora_A.default.weight", "lora_a"),
    (holding(lora_b=nn.Linear(3, 2)), "lora_b.weight", "lora_b"),
    (holding("DoRALinear", magnitude=parameter(3)), "magnitude", "magnitude"),
    (nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)), "parametrizations.weight.original0", "magnitude"),
    (nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)), "parametrizations.weight.original1", "matrix"),
    (nn.utils.parametrizations.spectral_norm(nn.Conv1d(3, 2, 1)), "parametrizations.weight.original", "convolution"),
    (nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2)), "1.weight", "matrix"),
    (holding(fc=nn.Linear(3, 2), layers=nn.Linear(3, 3)), "fc.weight", "head"),
    (holding(block=holding(fc=nn.Linear(3, 2))), "block.fc.weight", "matrix"),
    (holding(classifier=nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))), "classifier.0.weight", "matrix"),
    (holding(classifier=nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))), "classifier.1.weight", "head"),
    (holding(decoder=nn.Linear(3, 2)), "decoder.weight", "head"),
    (holding(decoder=nn.Sequential(nn.Linear(3, 2))), "decoder.0.weight", "matrix"),
    (torch.nn.DataParallel(Tied()), "body.weight", "matrix"),
    (holding("OptimizedModule", _orig_mod=Tied()), "embed.weight", "head"),  # as torch.compile wraps
]


@pytest.mark.parametrize(("model", "name", "role"), ONE, ids=lambda each: each if isinstance(each, str) else "")
def test_the_role_of_a_tensor(model, name, role):
    assert roles(model)[name] == role


def test_a_tied_weight_is_in_one_group_and_is_the_head():
    found = strengths(Tied(), 0.3)
    assert found == {"embed.weight": 0.3, "body.weight": 0.3, "body.bias": 0.0}
    assert roles(Tied())["embed.weight"] == "head"


def test_a_model_that_names_its_head_is_believed():
    class Asked(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 3)
            self.last = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2))

        def get_classifier(self):
            return self.last

    found = roles(Asked())
    assert (found["fc.weight"], found["last.0.weight"], found["last.1.weight"]) == ("matrix", "norm", "head")


def test_parameters_without_gradient_are_left_out():
    model = Tied()
    model.body.weight.requires_grad_(False)
    assert set(strengths(model)) == {"embed.weight", "body.bias"}
    model.requires_grad_(False)
    with pytest.raises(ValueError, match=r"Tied has 3 parameters, of which none requires a gradient"):
        select(model)


def test_what_no_rule_knows_is_named_and_never_guessed():
    model = holding("Layer", theta=parameter(3, 2), inner=holding("Deep", psi=parameter(5)), fc=nn.Linear(3, 2))
    says = r"no rule for 2 tensors: 'theta' \(3, 2\) of Layer; 'inner.psi' \(5,\) of Deep. Give a rule, as in rules="
    with pytest.raises(ValueError, match=says):
        select(model)
    found = strengths(model, 0.1, rules=[("theta$", "matrix")], roles={"other": 0.02})
    assert found == {"theta": 0.1, "inner.psi": 0.02, "fc.weight": 0.1, "fc.bias": 0.0}


def test_roles_take_a_strength_a_decay_both_or_options():
    norm, matrix = Toward(1.0, Stable()), Cautious(Decoupled())
    model = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3), nn.Embedding(3, 3))
    settings = {"norm": norm, "matrix": (0.2, matrix), "bias": 0.01, "embedding": {"lr": 1e-4, "weight_decay": 0.03}}
    groups = {group["role"]: group for group in select(model, 0.1, roles=settings)}
    kept = {role: {k: v for k, v in g.items() if k not in ("params", "role", "name")} for role, g in groups.items()}
    assert kept == {
        "matrix": {"weight_decay": 0.2, "decay": matrix},
        "norm": {"weight_decay": 0.1, "decay": norm},
        "bias": {"weight_decay": 0.01},
        "embedding": {"weight_decay": 0.03, "lr": 1e-4},
    }
    assert [group["role"] for group in groups.values()] == [role for role in ROLES if role in groups]


def test_a_gain_is_pulled_towards_one_and_a_matrix_towards_zero():
    """The groups do what they say: at a gradient of 0 each weight moves by pull × its distance from the anchor."""
    model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)).double()
    with torch.no_grad():
        model[1].weight.fill_(3.0)
    before = model[0].weight.detach().clone()
    groups = select(model, 0.5, roles={"norm": Toward(1.0, Decoupled())})
    optimizer = weightdecay.Adam(groups, lr=0.1, decay=Decoupled())
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    torch.testing.assert_close(model[1].weight, torch.full((2,), 1 + 0.95 * 2, dtype=torch.float64))
    torch.testing.assert_close(model[0].weight, 0.95 * before)


def test_the_first_rule_that_fits_decides_before_roles_and_presets():
    model = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3), nn.PReLU(), nn.Linear(3, 2))
    rules = [(r"^0\.weight", 0.7), (r"0\.|1\.", {"lr": 0.5}), (nn.PReLU, "bias"), (lambda e: e.shape == (2,), 0.4)]
    found = {
        each.entry.name: (each.role, dict(each.options))
        for each in choose(model, 0.1, preset="nanogpt", roles={"bias": 0.2}, rules=rules)
    }
    assert found == {
        "0.weight": ("matrix", {"weight_decay": 0.7}),
        "0.bias": ("bias", {"weight_decay": 0.2, "lr": 0.5}),
        "1.weight": ("norm", {"weight_decay": 0.0, "lr": 0.5}),
        "1.bias": ("bias", {"weight_decay": 0.2, "lr": 0.5}),
        "2.weight": ("bias", {"weight_decay": 0.2}),
        "3.weight": ("matrix", {"weight_decay": 0.1}),
        "3.bias": ("bias", {"weight_decay": 0.4}),
    }
    names = [group["name"] for group in select(model, 0.1, rules=rules)]
    assert names == ["matrix_1", "matrix_2", "bias_1", "bias_2", "bias_3", "norm"]


BAD = {
    "parameters": (lambda m: select(m.parameters()), TypeError, "generator is not a model. Pass the torch.nn.Module"),
    "strength": (lambda m: select(m, -0.1), ValueError, r"weight_decay=-0.1 in select\(\) is outside \[0, inf\)"),
    "role": (
        lambda m: select(m, roles={"nrm": 0}),
        ValueError,
        r"roles=: no role is called 'nrm'. Did you mean 'norm'\?",
    ),
    "strength of a role": (lambda m: select(m, roles={"norm": -1}), ValueError, r"weight_decay=-1 in roles\['norm'\]"),
    "decay of a role": (lambda m: select(m, roles={"norm": "stabel"}), ValueError, r"roles\['norm'\].*'stable'\?"),
    "params of a role": (lambda m: select(m, roles={"norm": {"params": []}}), ValueError, r"Leave out 'params'"),
    "preset": (lambda m: select(m, preset="tim"), ValueError, r"no preset is called 'tim'. Did you mean 'timm'\?"),
    "no preset": (lambda m: select(m, preset=3), TypeError, r"preset=3 is neither a name nor a Preset"),
    "rule": (lambda m: select(m, rules=["norm"]), TypeError, r"rules\[0\]='norm' is not a pair"),
    "role of a rule": (lambda m: select(m, rules=[("x", "matrx")]), ValueError, r"rules\[0\]: no role .* 'matrix'\?"),
    "regex": (lambda m: select(m, rules=[("(", 0)]), ValueError, r"rules\[0\]: '\(' is not a regular expression"),
    "type": (lambda m: select(m, rules=[(int, 0)]), TypeError, r"rules\[0\]: int is not a type of module"),
    "spot": (lambda m: select(m, rules=[(3, 0)]), TypeError, r"rules\[0\]: 3 is neither a regular expression"),
    "lazy": (lambda m: select(nn.LazyLinear(2)), ValueError, r"'weight' has no shape yet"),
    "empty": (lambda m: select(nn.ReLU()), ValueError, r"ReLU has no parameters: there is nothing to select"),
    "olmo": (lambda m: select(nn.PReLU(), preset="olmo"), ValueError, r"the preset 'olmo' knows no rule for 1 tensor:"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_is_named_with_the_way_out(case):
    build, error, says = BAD[case]
    with pytest.raises(error, match=says):
        build(nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2)))
