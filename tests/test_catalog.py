"""One table: everything that lists optimizers or decays agrees with it, and one call adds a user's own."""

import inspect
import math
import time
import types
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from forked import output

import weightdecay as wd
from weightdecay import catalog, checks
from weightdecay.decay import parse, spelled
from weightdecay.lab.run import Run, options
from weightdecay.lab.run.methods import with_code
from weightdecay.lab.run.settings import SettingsError
from weightdecay.optim.options import DEFAULTS, Options
from weightdecay.transfer.setting import OPTIMIZERS as KNOWN

CLASSES = [pytest.param(catalog.OPTIMIZERS[name].cls, id=name) for name in wd.available()]
HINTS = ("foreach", "fused", "capturable", "differentiable")


def weights():
    """Matrices, which every optimizer takes."""
    return [torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(3, 2))]


@dataclass(frozen=True)
class Half(wd.Decay):
    """Half of what Decoupled takes."""

    share: float = 0.5

    def pull(self, step):
        return step.lr * step.strength * self.share


@dataclass(frozen=True)
class Twice(wd.Decay):
    """Another decay, twice."""

    inner: wd.Decay = Half()
    times: int = 2

    def pull(self, step):
        return self.times * self.inner.pull(step)


class Sign(wd.Optimizer):
    """The sign of the gradient.

    A second paragraph.
    """

    method = "Sign"

    def __init__(self, params, lr=0.1, weight_decay=0.0, *, sharpness=1.0, decay=Half(), **options):
        defaults = {"lr": lr, "weight_decay": weight_decay, "sharpness": sharpness, "decay": decay}
        super().__init__(params, defaults, **options)

    def direction(self, state, grad, group, mean_square):
        return torch.sign(grad)


@pytest.fixture
def registered():
    catalog.register(Half)
    catalog.register("double", Twice)
    catalog.register(Sign, lr=0.3)
    yield
    for name in ("half", "double", "sign"):
        catalog.unregister(name)


# ---------------------------------------------------------------- the table


@pytest.mark.parametrize("name", wd.available())
def test_every_row_of_an_optimizer_says_what_its_class_does(name):
    row = catalog.OPTIMIZERS[name]
    optimizer = row.cls(weights())
    assert (row.name, row.title) == (name, type(optimizer).__name__)
    assert type(optimizer.param_groups[0]["decay"]) is catalog.DECAYS[row.decay].cls
    assert row.default_lr == optimizer.param_groups[0]["lr"]
    assert row.default_weight_decay == optimizer.param_groups[0]["weight_decay"]
    assert catalog.OPTIMIZERS[row.base].cls.method == optimizer.method
    assert row.description.endswith(".")
    assert row.family in ("sgd", "adam", "adai", "sign", "orthogonal")
    assert row.lr > 0 < row.centre
    assert KNOWN[name] is row
    assert getattr(wd, row.title) is row.cls


@pytest.mark.parametrize("name", sorted(catalog.DECAYS))
def test_every_row_of_a_decay_names_its_class(name):
    row = catalog.DECAYS[name]
    assert (row.name, row.title) == (name, row.cls.__name__)
    assert parse(name) == row.cls()
    assert row.pull
    assert row.words
    assert row.description.endswith(".")
    assert getattr(wd, row.title) is row.cls


def test_every_class_has_a_row():
    public = [getattr(wd, name) for name in wd.__all__ if isinstance(getattr(wd, name), type)]
    optimizers = {cls for cls in public if issubclass(cls, wd.Optimizer)} - {wd.Optimizer}
    decays = {cls for cls in public if issubclass(cls, wd.Decay)} - {wd.Decay}
    assert {row.cls for row in catalog.OPTIMIZERS.values()} == optimizers
    assert {row.cls for row in catalog.DECAYS.values()} == decays


# ---------------------------------------------------------------- signatures and constructors


@pytest.mark.parametrize("cls", [*CLASSES, pytest.param(wd.Optimizer, id="Optimizer"), pytest.param(Sign, id="own")])
def test_every_option_is_named_in_the_signature(cls):
    for signature in (inspect.signature(cls), inspect.signature(cls.__init__)):
        kinds = {parameter.kind for parameter in signature.parameters.values()}
        assert not kinds & {inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL}
        assert set(Options.__annotations__) <= set(signature.parameters)
        assert {name: signature.parameters[name].default for name in DEFAULTS} == DEFAULTS
        assert cls is wd.Optimizer or "decay" in signature.parameters
    assert list(inspect.signature(cls.__init__).parameters)[1:] == list(inspect.signature(cls).parameters)


@pytest.mark.parametrize("cls", CLASSES)
def test_the_defaults_of_the_signature_are_those_of_the_optimizer(cls):
    plain = cls(weights())
    bound = inspect.signature(cls).bind(weights())
    bound.apply_defaults()
    explicit = cls(*bound.args, **bound.kwargs)
    assert explicit.defaults == plain.defaults
    for name, parameter in inspect.signature(cls).parameters.items():
        if name in plain.defaults:
            assert parameter.default == plain.defaults[name]


PLAIN = {float, bool, type(None), int, str, torch.dtype}
"""What the defaults of an optimizer are, besides a decay: all of it travels in a checkpoint."""

ORDER = {
    wd.SGD: ("lr", "momentum", "dampening", "weight_decay", "nesterov"),
    wd.TensorFlowSGD: ("lr", "momentum", "weight_decay", "nesterov"),
    wd.Adam: ("lr", "betas", "eps", "weight_decay"),
    wd.Adai: ("lr", "betas", "eps", "weight_decay"),
    wd.NAdam: ("lr", "betas", "eps", "weight_decay", "momentum_decay"),
    wd.Muon: (
        *("lr", "weight_decay", "momentum", "nesterov"),
        *("ns_coefficients", "eps", "ns_steps", "adjust_lr_fn"),
    ),
    wd.MuonAdamW: ("lr", "weight_decay", "momentum", "betas", "eps"),
    wd.Lion: ("lr", "betas", "weight_decay"),
}


@pytest.mark.parametrize("cls", CLASSES)
def test_the_order_of_the_parameters_is_that_of_torch(cls):
    order = next(order for base in cls.__mro__ for parent, order in ORDER.items() if base is parent)
    positional = [p.name for p in inspect.signature(cls).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional == ["params", *order]
    values = {"lr": 0.25, "weight_decay": 0.125, "momentum": 0.5, "dampening": 0.0, "nesterov": True}
    values |= {"betas": (0.5, 0.75), "eps": 0.5, "momentum_decay": 0.5}
    values |= {"ns_coefficients": (2.0, -1.5, 0.5), "ns_steps": 3, "adjust_lr_fn": "original"}
    defaults = cls(weights(), *(values[name] for name in order)).defaults
    assert {name: defaults[name] for name in order} == {name: values[name] for name in order}


@pytest.mark.parametrize("decay", [None, wd.Stable(power=0.25), "vanilla", "Stable(power=0.25, eps=1e-8)"])
@pytest.mark.parametrize("cls", CLASSES)
def test_an_optimizer_can_be_built_again_from_its_defaults(cls, decay):
    told = {"gain": 1.0} if "gain" in inspect.signature(cls).parameters else {}
    one = cls(weights(), lr=np.float32(0.5), weight_decay=1, **told, **({} if decay is None else {"decay": decay}))
    two = type(one)(weights(), **one.defaults)
    assert two.defaults == one.defaults
    without = [{k: v for k, v in o.param_groups[0].items() if k != "params"} for o in (one, two)]
    assert without[0] == without[1]
    assert isinstance(one.defaults["decay"], wd.Decay)
    numbers = [v for value in one.defaults.values() for v in (value if isinstance(value, tuple) else (value,))]
    assert {type(value) for value in numbers if not isinstance(value, wd.Decay)} <= PLAIN


@pytest.mark.parametrize("cls", CLASSES)
def test_an_unknown_option_is_refused_with_the_nearest(cls):
    with pytest.raises(TypeError, match=r"no option is called 'max_grad_nrm'\. Did you mean 'max_grad_norm'\?"):
        cls(weights(), max_grad_nrm=1.0)


def test_a_subclass_of_a_users_keeps_its_extra_hyper_parameter():
    class Warm(wd.AdamS):
        ranges: ClassVar[checks.Ranges] = {**wd.AdamS.ranges, "warmth": checks.POSITIVE}

        def __init__(self, params, lr=1e-3, *, warmth=2.0, **options):
            super().__init__(params, lr, warmth=warmth, **options)

    optimizer = Warm([{"params": weights()[:1], "warmth": 3}], max_grad_norm=1)
    assert optimizer.param_groups[0]["warmth"] == 3.0
    assert optimizer.defaults["warmth"] == 2.0
    assert "max_grad_norm" in inspect.signature(Warm).parameters
    with pytest.raises(ValueError, match=r"warmth=-1 in group 0 is outside \(0, inf\)"):
        Warm(weights(), warmth=-1)

    class Named(Warm):
        changed_defaults: ClassVar[dict[str, float]] = {"lr": 0.5, "warmth": 7.0}

    assert (Named(weights()).defaults["lr"], Named(weights()).defaults["warmth"]) == (0.5, 7.0)
    assert Named(weights(), 0.1, warmth=1.0).defaults["warmth"] == 1.0
    with pytest.raises(TypeError, match=r"'warmht' is no parameter. Did you mean 'warmth'"):
        type("Slip", (Warm,), {"changed_defaults": {"warmht": 1.0}})


def test_power_is_short_for_a_stable_decay():
    assert wd.AdamS(weights(), power=0.25).defaults["decay"] == wd.Stable(0.25)
    assert wd.AMSGradS(weights(), decay=wd.Stable(power=0.25)).defaults["decay"] == wd.Stable(0.25)
    assert wd.AdamS(weights(), decay="decoupled").defaults["decay"] == wd.Decoupled()


# ---------------------------------------------------------------- torch's hints


@pytest.mark.parametrize(
    ("options", "engine"),
    [
        ({}, "auto"),
        ({"foreach": None, "fused": None, "capturable": False, "differentiable": False}, "auto"),
        ({"fused": True}, "fused"),
        ({"foreach": True}, "foreach"),
        ({"foreach": True, "fused": False}, "foreach"),
        ({"foreach": False, "fused": True}, "fused"),
        ({"foreach": False, "fused": False}, "reference"),
        ({"foreach": False}, "reference"),
        ({"fused": False}, "foreach"),
        ({"fused": False, "engine": "compiled"}, "compiled"),
        ({"fused": True, "engine": "fused"}, "fused"),
        ({"capturable": True}, "auto"),
        ({"capturable": True, "fused": True}, "fused"),
        ({"capturable": True, "engine": "foreach"}, "foreach"),
    ],
)
def test_torchs_keywords_choose_the_engine(options, engine):
    assert wd.AdamS(weights(), **options).engine == engine


# ---------------------------------------------------------------- decays as text


@pytest.mark.parametrize(
    ("text", "decay"),
    [
        ("stable", wd.Stable()),
        ("Stable()", wd.Stable()),
        (" STABLE ( power = 0.25 ) ", wd.Stable(0.25)),
        ("stable(0.25, eps=1e-8)", wd.Stable(0.25, 1e-8)),
        (f"{__name__}:Half", Half()),
        (f"{__name__}:Half(0.3)", Half(0.3)),
        (f"{__name__}:Twice({__name__}:Half(share=0.3), times=3)", Twice(Half(0.3), 3)),
        (f"{__name__}:Twice(stable(power=0))", Twice(wd.Stable(0))),
        (f"{__name__}:Twice(inner=vanilla)", Twice(wd.Vanilla())),
    ],
)
def test_a_decay_may_be_a_text_everywhere(text, decay):
    assert parse(text) == decay
    a, b = weights()
    optimizer = wd.Adam([{"params": [a], "decay": text}, {"params": [b]}], decay=text)
    assert [group["decay"] for group in optimizer.param_groups] == [decay, decay]
    assert wd.create("sgd", weights(), decay=text).defaults["decay"] == decay
    assert parse(spelled(decay)) == decay


@pytest.mark.parametrize("decay", [row.cls() for row in catalog.DECAYS.values()] + [wd.Stable(0.25, 1e-8)], ids=repr)
def test_the_repr_of_a_decay_reads_as_that_decay(decay):
    assert parse(repr(decay)) == decay


@pytest.mark.parametrize(
    "text", ["", "1", "stable.power", "[stable]", "stable +", "stable\nvanilla", "lambda: 0", "(" * 300]
)
def test_what_is_no_decay_is_refused(text):
    with pytest.raises(ValueError, match="is not a decay"):
        parse(text)


def test_a_fresh_process_reads_decays_without_the_catalog_being_asked_for():
    code = """
import torch
from weightdecay.optim import Adam
optimizer = Adam([torch.nn.Parameter(torch.ones(2))], decay="stable(power=0.25)")
print(repr(optimizer.param_groups[0]["decay"]))
"""
    assert output(code) == "Stable(power=0.25, eps=0.0)\n"


# ---------------------------------------------------------------- one's own


def test_one_call_adds_an_optimizer_and_a_decay(registered):
    assert "sign" in wd.available()
    optimizer = wd.create("Sign", weights(), lr=0.5, weight_decay=0.1, decay="double(half(0.25))")
    assert type(optimizer) is Sign
    assert optimizer.defaults["decay"] == Twice(Half(0.25))
    row = catalog.OPTIMIZERS["sign"]
    assert (row.title, row.description, row.family, row.decay) == ("Sign", "The sign of the gradient.", "sign", "half")
    assert (row.lr, row.centre, row.default_lr) == (0.3, 40.0, 0.1)
    assert catalog.optimizer(row.base) is row
    assert KNOWN["sign"] is row
    assert catalog.portable("sign") == f"{__name__}:Sign"
    assert catalog.DECAYS["half"].description == "Half of what Decoupled takes."
    with pytest.raises(ValueError, match=r"no optimizer is called 'sgn'. Did you mean 'sign'\?"):
        wd.create("sgn", weights())


def test_a_path_needs_no_registration():
    optimizer = wd.create(f"{__name__}:Sign", weights(), decay=f"{__name__}:Half(0.125)")
    assert type(optimizer) is Sign
    assert optimizer.defaults["decay"] == Half(0.125)
    assert "sign" not in wd.available()
    assert catalog.optimizer("weightdecay.named:AdamS") is catalog.OPTIMIZERS["adams"]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        (f"{__name__}:Sgn", r"has no 'Sgn'. Did you mean 'Sign'\?"),
        (f"{__name__}:Half", r"and no optimizer. It must be a class derived from weightdecay.Optimizer"),
        (f"{__name__}:weights", r"and no optimizer"),
        ("nowhere_at_all:Sign", r"the module 'nowhere_at_all' .*PYTHONPATH"),
        (":Sign", r"cannot be imported"),
        ("torch.optim:SGD", r"and no optimizer. It must be a class derived from weightdecay.Optimizer"),
    ],
)
def test_a_path_that_leads_nowhere_says_where_it_ends(path, says):
    with pytest.raises(ValueError, match=says):
        wd.create(path, weights())


def test_a_name_belongs_to_one_class(registered):
    assert catalog.register(Sign) is Sign  # a notebook's cell, run again
    assert catalog.OPTIMIZERS["sign"].lr == 1e-3
    assert catalog.register(wd.AdamS) is wd.AdamS
    again = types.new_class("Half", (wd.Decay,), {}, lambda ns: ns.update(__module__=__name__, __qualname__="Half"))
    catalog.register(again)  # defined anew
    assert catalog.decay("half").cls is again
    other = type("Sign", (wd.SGD,), {"__module__": "elsewhere", "__doc__": "Another."})
    with pytest.raises(ValueError, match=rf"'sign' is taken by {__name__}:Sign.*\"my_sign\".*unregister\('sign'\)"):
        catalog.register(other)
    for taken in ("adams", "stable"):
        with pytest.raises(ValueError, match=f"optimizer '{taken}' is taken by .*my_{taken}"):
            catalog.register(taken, other)
    with pytest.raises(ValueError, match="'adams' belongs to weightdecay"):
        catalog.unregister("adams")
    with pytest.raises(ValueError, match=r"'sgn' is not registered. Did you mean 'sign'\?"):
        catalog.unregister("sgn")


def test_what_cannot_be_registered_is_refused():
    with pytest.raises(TypeError, match=r"keeps its step: weightdecay\.attach"):
        catalog.register(torch.optim.Adam)
    with pytest.raises(TypeError, match="is not a class derived from"):
        catalog.register(Half(0.5))
    with pytest.raises(TypeError, match="which class"):
        catalog.register("sign")
    with pytest.raises(TypeError, match=r"no column is called 'titel'. Did you mean 'title'\?"):
        catalog.register(Sign, titel="x")
    assert "sign" not in wd.available()


# ---------------------------------------------------------------- numbers


NUMBERS = [0.25, np.float64(0.25), np.float32(0.25), np.array(0.25), np.array([0.25]), torch.tensor(0.25)]


@pytest.mark.parametrize("value", NUMBERS, ids=lambda v: f"{type(v).__name__}{getattr(v, 'shape', '')}")
@pytest.mark.parametrize("cls", CLASSES)
def test_numbers_are_numbers_in_constructors_and_groups(cls, value):
    a, b = weights()
    optimizer = cls([a], weight_decay=value, peak_lr=value, max_grad_norm=value, seed=np.int64(3))
    optimizer.add_param_group({"params": [b], "weight_decay": value, "lr": value, "method": "adam"})
    for group in optimizer.param_groups:
        assert float(group["weight_decay"]) == 0.25
        assert type(group["peak_lr"]) is float
        if not isinstance(value, torch.Tensor):
            assert type(group["weight_decay"]) is float
    assert (type(optimizer.max_grad_norm), type(optimizer.seed)) == (float, int)
    if isinstance(value, torch.Tensor):
        assert optimizer.param_groups[1]["lr"] is value


@pytest.mark.parametrize(
    "betas", [[0.5, 0.75], np.array([0.5, 0.75]), torch.tensor([0.5, 0.75]), (np.float32(0.5), 0.75)]
)
def test_betas_become_a_tuple_of_floats(betas):
    group = wd.AdamS(weights(), betas=betas).param_groups[0]
    assert group["betas"] == (0.5, 0.75)
    assert {type(beta) for beta in group["betas"]} == {float}


def test_plain_values_hold_no_numpy():
    given = {"a": [np.float64(1.5), (np.int32(2), True)], "b": np.array([3.0]), "c": None, "d": "text"}
    assert repr(checks.plain(given)) == "{'a': [1.5, (2, True)], 'b': 3.0, 'c': None, 'd': 'text'}"
    tensor = torch.ones(2)
    assert checks.plain(tensor) is tensor


@pytest.mark.parametrize(
    "name", ["no_weight_decay", "lr_scale", "name", "layer_id", "initial_lr", "wd_mult", "lr_mult"]
)
def test_a_key_of_the_users_own_is_no_slip(name):
    assert wd.AdamS([{"params": weights(), name: 1}]).param_groups[0][name] == 1


@pytest.mark.parametrize("name", ["weight_decays", "weight_decy", "weigth_decay", "beta", "decays", "LR", "peak_lrs"])
def test_a_misspelt_option_of_a_group_is_refused(name):
    with pytest.raises(ValueError, match=rf"'{name}' in group 0 is no option. Did you mean"):
        wd.AdamS([{"params": weights(), name: 1}])


def test_groups_are_checked_in_time_that_grows_as_their_number():
    def seconds(count):
        groups = [{"params": torch.nn.Parameter(torch.ones(1))} for _ in range(count)]
        start = time.perf_counter()
        ours = wd.AdamS(groups, engine="reference")
        took = time.perf_counter() - start
        assert len(ours.param_groups) == count
        return took

    seconds(50)
    few, many = (min(seconds(count) for _ in range(3)) for count in (250, 2000))
    assert many < 8 * few * 3  # a quadratic one takes 64 × as long


def test_tensors_that_moved_since_are_looked_at_again():
    model = torch.nn.Linear(3, 2)
    optimizer = wd.AdamS(model.parameters())
    model.double()  # p.data lies elsewhere now
    with pytest.raises(ValueError, match="parameter 0 of group 1 shares its memory with an earlier group"):
        optimizer.add_param_group({"params": [torch.nn.Parameter(model.weight.data)]})
    optimizer.param_groups[0]["params"].clear()
    optimizer.add_param_group({"params": list(model.parameters())})
    assert math.isfinite(optimizer.param_groups[1]["lr"])


def test_the_page_of_the_documentation_is_the_table():
    page = (Path(__file__).parent.parent / "docs" / "catalog.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in page if line.startswith("| `")]
    optimizers = [
        f"| `{row.title}` | {row.family} | {row.decay} | {row.default_lr:g} | {row.default_weight_decay:g} "
        f"| {row.base} | {row.description} |"
        for row in catalog.OPTIMIZERS.values()
    ]
    decays = [f"| `{row.title}` | {row.pull} | {row.words} | {row.description} |" for row in catalog.DECAYS.values()]
    assert rows == optimizers + decays


def test_a_run_holds_plain_values_and_the_code_of_ones_own():
    base = Run("sgd", 0.1, 0.01, seed=0)
    for decay in (wd.Vanilla(), wd.Decoupled(), wd.Stable(0.25)):
        with pytest.raises(SettingsError, match=r"decay=.* is an object.*Write it as a text: decay=\""):
            replace(base, optimizer_options=options(decay=decay))
    assert with_code(base) == base
    assert with_code(replace(base, optimizer="SGD")).address == base.address
    own = with_code(replace(base, optimizer=f"{__name__}:Sign"))
    assert own.optimizer_digest
    assert own.address != replace(own, optimizer_digest="other").address
    ruled = with_code(replace(base, optimizer_options=options(decay=f"{__name__}:Half(0.25)")))
    assert dict(ruled.optimizer_options) == {"decay": f"{__name__}:Half(share=0.25)"}
    assert ruled.optimizer_digest
    assert Run.from_json(asdict(own)) == own
    with pytest.raises(SettingsError, match=r"Did you mean 'vanilla'"):
        with_code(replace(base, optimizer_options=options(decay="vanila")))
