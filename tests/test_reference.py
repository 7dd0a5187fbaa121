"""The reference has every public name, and says what every parameter means."""

import inspect
import sys
from importlib import import_module

import pytest
from test_docs import DOCS, listed

import weightdecay

sys.path.insert(0, str(DOCS))
import parameters

ROOMS = [
    f"weightdecay{room}"
    for room in (
        *("", ".attaching", ".decay", ".measuring", ".monitor", ".optim", ".schedule"),
        *(".selecting", ".spectrum", ".theory", ".transfer"),
    )
]


def public(module):
    """Return the public names of a room."""
    home = import_module(module)
    return {name: getattr(home, name) for name in home.__all__}


@pytest.fixture(scope="module")
def there():
    return {id(each) for each in listed()}


@pytest.mark.parametrize("module", ROOMS)
def test_every_public_name_is_on_a_page(there, module):
    assert [name for name, it in public(module).items() if id(it) not in there] == []


@pytest.mark.parametrize("module", ROOMS)
def test_every_parameter_is_explained(module):
    silent = [
        f"{name}({p.name})"
        for name, it in public(module).items()
        if inspect.isclass(it) or inspect.isfunction(it)
        for p in parameters.parameters(it)
        if parameters.meaning(it, p.name) is None and not parameters.explains(inspect.getdoc(it) or "", p.name)
    ]
    assert silent == []


def test_no_meaning_is_of_a_parameter_that_is_gone():
    """And every class and function that parameters.toml names has the parameters that it explains."""
    takes = {}
    for module in (*ROOMS, "weightdecay.catalog", "weightdecay.integrations.building"):
        home = import_module(module)
        for name in {*vars(home), *getattr(home, "__all__", ())}:
            it = getattr(home, name)
            if (inspect.isclass(it) or inspect.isfunction(it)) and not name.startswith("_"):
                takes.setdefault(name, set()).update(p.name for p in parameters.parameters(it))
    everywhere = set().union(*takes.values())
    for owner, name in parameters.WORDS:
        if owner not in ("configure", "decay_schedule"):  # of Lightning, which is not imported here
            assert name in (everywhere if owner is None else takes[owner]), (owner, name)


def test_the_page_of_adams_says_meaning_and_default():
    said = "\n".join(parameters.fields(weightdecay.AdamS))
    assert ":param lr: Learning rate η" in said
    assert ":param weight_decay: λ" in said
    assert "Default: ``0.0005``" in said
    assert ":param max_grad_norm: Clip the gradients" in said
