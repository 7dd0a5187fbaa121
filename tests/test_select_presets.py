"""The presets of select() decay what the published code decays; the page has the tables of the code."""

from pathlib import Path

import pytest
from selecting import holding, parameter, strengths
from torch import nn

from weightdecay.selecting import PRESETS, ROLES, Preset


class Network(nn.Module):
    """A tensor for each line of the presets' rules, named as nanochat and Megatron name theirs."""

    def __init__(self):
        super().__init__()
        block = holding(attn=nn.Linear(4, 4), q_layernorm=nn.LayerNorm(4))
        self.transformer = nn.ModuleDict({"wte": nn.Embedding(5, 4), "h": nn.ModuleList([block])})
        self.value_embeds = nn.ModuleDict({"0": nn.Embedding(5, 4)})
        self.resid_lambdas, self.x0_lambdas, self.smear_lambda = parameter(2), parameter(2), parameter(1)
        self.smear_gate = nn.Linear(4, 1, bias=False)
        self.lm_head = nn.Linear(4, 5, bias=False)


NAMES = [name for name, _ in Network().named_parameters()]
BLOCK = "transformer.h.0."


def decaying(*names):
    """Return λ of every name: 0.1 for these, 0 for others."""
    return {name: 0.1 * (name in names) for name in NAMES}


MATRICES = ("lm_head.weight", "smear_gate.weight", BLOCK + "attn.weight")
TABLES = ("transformer.wte.weight", "value_embeds.0.weight")
SCALARS = ("resid_lambdas", "x0_lambdas", "smear_lambda")
EXPECTED = {
    "nanogpt": decaying(*MATRICES, *TABLES),
    "megatron": decaying(*MATRICES, *TABLES),
    "megatron_qk": decaying(*MATRICES, *TABLES, BLOCK + "q_layernorm.weight", BLOCK + "q_layernorm.bias"),
    "olmo2": decaying(*MATRICES, *SCALARS, *(name for name in NAMES if name.startswith(BLOCK))),
    "nanochat": {
        **decaying(BLOCK + "attn.weight"),
        "lm_head.weight": 0.01,
        "transformer.wte.weight": 0.001,
        "value_embeds.0.weight": 0.01,
        "resid_lambdas": 0.05,
    },
    "timm": decaying(*MATRICES, *TABLES),
    "transformers": decaying(*MATRICES, *TABLES, *SCALARS),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_preset_decays_what_the_published_code_decays(name):
    assert strengths(Network(), 0.1, preset=name) == pytest.approx(EXPECTED[name])


def test_olmo_decays_linear_layers_and_neither_norms_biases_nor_embeddings():
    model = nn.Sequential(nn.Embedding(3, 4), nn.Linear(4, 4), nn.LayerNorm(4))
    found = strengths(model, 0.1, preset="olmo")
    assert [name for name, strength in found.items() if strength] == ["1.weight"]
    assert set(PRESETS) == {*EXPECTED, "olmo"}


def test_a_preset_of_ones_own():
    mine = Preset("mine", "here", "the first", lambda model: lambda entry, role, given: given * (entry.key == "weight"))
    assert strengths(nn.Linear(2, 2), 0.5, preset=mine) == {"weight": 0.5, "bias": 0.0}


def test_the_page_says_of_roles_and_presets_what_the_tables_say():
    page = (Path(__file__).parents[1] / "docs" / "select.md").read_text(encoding="utf-8")
    rows = [f"| `{r.name}` | {'λ' if r.decays else '0'} | {r.what} | {r.why} |" for r in ROLES.values()]
    rows += [f"| `{p.name}` | {p.what} | {p.source} |" for p in PRESETS.values()]
    assert [row for row in rows if row not in page.splitlines()] == []
