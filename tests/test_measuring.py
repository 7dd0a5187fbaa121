"""`measure` tells every decay of the catalog by its paths alone, and finds the bugs that have been published."""

import importlib
import math
import re
from pathlib import Path

import pytest
import torch

import weightdecay as wd
from weightdecay.lab.cli import main
from weightdecay.lab.pages.keyword import LISTED, libraries, line_of, listed, row
from weightdecay.measuring import MeasureError, TorchWalk, measured
from weightdecay.measuring.experiment import experiment, given
from weightdecay.measuring.kinds import kind_of
from weightdecay.measuring.measured import last
from weightdecay.measuring.walk import LR, STEPS, STRENGTH

NAMING = Path(__file__).parents[1] / "docs" / "naming.md"


class Plain(torch.optim.Optimizer):
    """AdamW's two moments written out, with decay by a function (group, weight, update) → what is subtracted."""

    def __init__(self, params, lr, weight_decay=0.0, decay=None):
        self.decay = decay
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                s = self.state[p]
                t = s["t"] = s.get("t", 0) + 1
                s["m"] = 0.9 * s.get("m", 0) + 0.1 * p.grad
                s["v"] = 0.999 * s.get("v", 0) + 0.001 * p.grad**2
                update = s["m"] / (1 - 0.9**t) / ((s["v"] / (1 - 0.999**t)).sqrt() + 1e-8)
                p.sub_(group["lr"] * update + self.decay(group, p, update))


def fake(decay):
    return lambda params, lr, weight_decay: Plain(params, lr, weight_decay, decay)


def masked_unless_tensor(group, p, update):
    """Published: cautious decay that became plain under a λ that was a tensor."""
    cautious = not isinstance(group["weight_decay"], torch.Tensor)
    return group["lr"] * group["weight_decay"] * p * ((update * p >= 0) if cautious else 1)


def first_groups(group, p, update):
    return group["lr"] * first_groups.strength * p


FAKES = {
    "decoupled": lambda group, p, update: group["lr"] * group["weight_decay"] * p,
    "vanilla": lambda group, p, update: group["weight_decay"] * p,
    "cautious(decoupled)": lambda group, p, update: group["lr"] * group["weight_decay"] * p * (update * p >= 0),
    "cautious(vanilla)": lambda group, p, update: group["weight_decay"] * p * (update * p > 0),
    "none": lambda group, p, update: 0.0,
}


@pytest.mark.parametrize("kind", FAKES)
def test_a_step_written_out_is_named(kind):
    got = wd.measure(fake(FAKES[kind]))
    assert got.kind == kind
    assert got.fits(kind)
    assert got.steps == STEPS
    assert [other for other in FAKES if got.fits(other)] == [kind]


@pytest.mark.parametrize(
    ("optimizer", "options", "kind"),
    [
        *(("adam", {"decay": name}, name) for name in ("decoupled", "independent", "corrected", "elementwise")),
        ("sgd", {"momentum": 0.9, "decay": "vanilla"}, "vanilla"),
        ("sgds", {"momentum": 0.9}, "stable"),
        ("adam", {"decay": "cautious(stable)"}, "cautious(stable)"),
    ],
)
def test_every_decay_of_ours_is_named_with_an_exact_strength(optimizer, options, kind):
    got = wd.measure(optimizer, **options)
    assert got.kind == kind
    assert (got.low, got.high) == pytest.approx((1, 1), abs=1e-6)
    assert (got.reach.vectors, got.reach.groups, got.reach.written, got.reach.tensor) == (True,) * 4
    assert got.reach.bfloat16 == pytest.approx(1, abs=0.1)  # decay and update are rounded as one
    assert got.default == wd.catalog.optimizer(optimizer).default_weight_decay


def test_the_exponents_are_those_of_the_formula():
    """Any exponents, not only those that have a name: pull = λ η^a (η_t/η_1)^(b−a)."""
    for a, b in ((2, 2), (0, 3), (0.5, 1)):

        def decay(group, p, update, a=a, b=b):
            first = group.setdefault("first", group["lr"])
            return group["weight_decay"] * first**a * (group["lr"] / first) ** b * p

        seen = experiment(TorchWalk(fake(decay), "fake"))
        assert last(seen.before)[1:] == pytest.approx((a, b, 0), abs=1e-9)
        assert kind_of(seen).name == "unnamed"


def test_l2_is_more_than_a_pull():
    """Torch's Adam is L2; without momentum SGD's L2, decoupled and stable are one path."""
    adam, sgd = wd.measure(torch.optim.Adam), wd.measure(torch.optim.SGD)
    assert (adam.kind, adam.also, adam.where) == ("l2", (), "gradient")
    assert (sgd.kind, sgd.also) == ("l2", ("decoupled", "stable"))
    assert sgd.fits("decoupled")
    assert not adam.fits("decoupled")


def test_decay_after_the_update_and_a_growing_weight_are_told():
    def late(group, p, update):
        return group["lr"] * group["weight_decay"] * (p - group["lr"] * update)

    got = wd.measure(fake(late))
    assert (got.kind, got.where) == ("decoupled", "after")
    growing = wd.measure(fake(lambda group, p, update: -group["weight_decay"] * p))
    assert (growing.low, growing.high) == pytest.approx((-1, -1))
    assert "weights grow" in growing.notes
    assert not growing.fits("vanilla")


def test_the_penalty_without_a_half_is_l2_with_twice_lambda():
    class Twice(torch.optim.SGD):
        def __init__(self, params, lr, weight_decay=0.0):
            super().__init__(params, lr=lr, weight_decay=2 * weight_decay, momentum=0.9)

    got = wd.measure(Twice)
    assert (got.kind, got.low) == ("l2", 2.0)
    assert not got.fits("l2")


@pytest.mark.parametrize(
    ("make", "kind", "options", "words"),
    [
        (
            fake(FAKES["none"]),
            "l2",
            {},
            r"expected to be l2.*Measured: none, weights with λ = 0.01 and λ = 0 differ by 0 ",
        ),
        (torch.optim.Adam, "decoupled", {}, r"pull 0.001 at lr 0.1.*Measured: l2, pull 0.0076"),
        (fake(FAKES["vanilla"]), "decoupled", {}, r"exponents 1, 1, 0. Measured: vanilla, pull 0.01, exponents"),
        (fake(lambda g, p, u: 0.8 * FAKES["decoupled"](g, p, u)), "decoupled", {}, r"pull 0.001 .*pull/formula 0.8"),
        (
            fake(masked_unless_tensor),
            "cautious(decoupled)",
            {},
            r"λ = tensor\(0.01\) is expected to give the path of λ",
        ),
        (torch.optim.AdamW, "decoupled", {"bfloat16": True}, r"at least 90 % .*; 0 % arrives"),
    ],
    ids=["does nothing", "l2", "no lr", "too weak", "tensor", "bfloat16"],
)
def test_a_claim_that_is_wrong_fails_with_both_numbers(make, kind, options, words):
    with pytest.raises(AssertionError, match=words):
        wd.assert_decays(make, kind, **options)


def test_a_group_whose_lambda_is_ignored_fails():
    def make(params, lr, weight_decay):
        optimizer = Plain(params, lr, weight_decay, first_groups)
        first_groups.strength = optimizer.param_groups[0]["weight_decay"]
        return optimizer

    with pytest.raises(AssertionError, match="a group with λ of its own is expected to decay by it"):
        wd.assert_decays(make, "decoupled")


def test_claims_that_are_right_pass():
    wd.assert_decays(torch.optim.AdamW)
    wd.assert_decays(torch.optim.SGD, "l2")
    wd.assert_decays("adams", "stable", bfloat16=True)
    with pytest.raises(ValueError, match="Did you mean 'decoupled'"):
        wd.assert_decays(torch.optim.AdamW, "decopled")


def test_steps_with_closures_and_second_derivatives_are_measured():
    class Curvature(Plain):
        def step(self, closure):
            closure()
            for group in self.param_groups:
                for p in group["params"]:
                    (second,) = torch.autograd.grad(p.grad.sum(), p)
                    p.grad = p.grad.detach() * second
            super().step()

    got = wd.measure(lambda params, lr, weight_decay: Curvature(params, lr, weight_decay, FAKES["decoupled"]))
    assert got.fits("decoupled")


@pytest.mark.parametrize(
    ("what", "options", "words"),
    [
        (torch.optim.LBFGS, {}, "LBFGS has no argument 'weight_decay'"),
        ("torch.optim:SGD", {"momentun": 0.9}, "no argument 'momentun'. Did you mean 'momentum'"),
        ("torch.optim:AdanW", {}, "torch.optim has no 'AdanW'. Did you mean 'AdamW'"),
        ("adms", {}, "no optimizer is called 'adms'. Did you mean 'adams'"),
        (torch.optim.SparseAdam, {}, "no argument 'weight_decay'"),
        (lambda params, lr, weight_decay: 1 / 0, {}, "cannot be measured: ZeroDivisionError: division by zero"),
    ],
)
def test_what_cannot_be_measured_is_one_clear_line(what, options, words):
    with pytest.raises(ValueError, match=words) as caught:
        wd.measure(what, **options)
    assert "\n" not in str(caught.value)


def test_an_optimizer_that_exists_already_is_refused():
    with pytest.raises(TypeError, match="exists already cannot be measured"):
        wd.measure(torch.optim.SGD([torch.nn.Parameter(torch.ones(2))]))


def test_random_numbers_and_gradients_of_the_caller_are_left_alone():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    wd.measure(torch.optim.SGD)
    assert torch.equal(torch.rand(3), expected)


def test_whatever_walks_can_be_measured():
    """Another library needs a function from gradients to a path: here decoupled SGD by hand."""

    def walk(lrs, grads, strength, start, coupled=0.0):
        path = [start]
        for lr, grad in zip(lrs, grads, strict=True):
            path.append((1 - lr * strength) * path[-1] - lr * (grad + coupled * path[-1]))
        return torch.stack(path)

    got = measured(walk, "by hand")
    assert (got.kind, got.also, got.reach) == ("l2", ("decoupled", "stable"), None)


def test_a_walk_is_the_optimizers_own_path():
    start, grads = given()
    walk = TorchWalk(torch.optim.AdamW, "AdamW")
    path = walk([LR] * STEPS, grads, STRENGTH, start)
    weight = torch.nn.Parameter(start.clone())
    optimizer = torch.optim.AdamW([weight], lr=LR, weight_decay=STRENGTH)
    for t in range(STEPS):
        weight.grad = grads[t].clone()
        optimizer.step()
        assert torch.equal(path[t + 1], weight.detach())


PUBLISHED = {
    "RAdam's L2 does nothing": ("pytorch_optimizer:RAdam", {"weight_decouple": False}, "kind", "none"),
    "MARS leaves vectors out": ("pytorch_optimizer:MARS", {}, "vectors", False),
    "λ of a group is that of the first": ("dadaptation:DAdaptSGD", {}, "groups", False),
    "a tensor λ is divided in place": ("lion_pytorch:Lion", {"decoupled_weight_decay": True}, "tensor", False),
}


@pytest.mark.parametrize("bug", PUBLISHED)
def test_bugs_of_real_packages_are_found(bug):
    path, options, fact, value = PUBLISHED[bug]
    pytest.importorskip(path.partition(":")[0])
    got = wd.measure(path, **options)
    assert getattr(got, fact, getattr(got.reach, fact, None)) == value


# ---------------------------------------------------------------- the command and the page


def test_the_command_says_what_it_found_and_checks_a_claim(capsys):
    assert main(["measure", "torch.optim:SGD", "--options", "momentum=0.9", "--expect", "l2"]) == 0
    assert "torch.optim:SGD(momentum=0.9): l2" in capsys.readouterr().out
    assert main(["measure", "sgdw", "--options", "momentum=0.9", "--expect", "vanilla"]) == 1
    out, err = capsys.readouterr()
    assert "pull = ηλ" in out
    assert err.startswith("error: sgdw(momentum=0.9): weight_decay is expected to be vanilla, pull 0.01")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name an optimizer"),
        (["adms"], "no optimizer is called 'adms'"),
        (["sgd", "--options", "momentum"], "--options momentum: write name=value"),
        (["torch", "--expect", "l2"], "torch is a library"),
        (["torch.optim:AdamW", "--key", "decay"], "no argument 'decay'"),
    ],
)
def test_a_mistake_is_one_line(words, message, capsys):
    assert main(["measure", *words]) == 2
    assert message in capsys.readouterr().err


def page_rows():
    library, found = "", {}
    for line in NAMING.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 11 and re.fullmatch(r"`.+`", cells[1]):
            library = cells[0] or library
            found[library.split()[0], cells[1]] = (library, line)
    return found


def test_the_page_lists_what_the_command_lists():
    rows = page_rows()
    expected = {(name, f"`{label}`") for name in libraries() for label, _, _ in listed(name)}
    assert set(rows) == expected
    assert len(rows) >= 60
    assert len(LISTED.strip().splitlines()) >= len(libraries())


SAMPLE = [
    ("torch", "AdamW"),
    ("torch", "Muon"),
    ("timm", "LaProp(corrected_weight_decay=True)"),
    ("pytorch_optimizer", "AdamS"),
    ("torch-optimi", "AdamW(decouple_lr=True)"),
    ("schedulefree", "SGDScheduleFree"),
]


@pytest.mark.parametrize(("library", "label"), SAMPLE)
def test_a_part_of_the_page_is_made_again(library, label):
    written, line = page_rows()[library, f"`{label}`"]
    path, options = next((path, options) for name, path, options in listed(library) if name == label)
    pytest.importorskip(path.partition(":")[0].partition(".")[0])
    if importlib.metadata.version(library) != written.split()[1]:
        pytest.skip(f"the page was made with {written}")
    pattern = r"\| (\d+) %"
    made = line_of(line.split("|")[1].strip(), label, row(path, options))
    assert re.sub(pattern, "| %", made) == re.sub(pattern, "| %", line)
    parts = [re.search(pattern, each) for each in (made, line)]
    if all(parts):  # roundings of a processor's own
        assert math.isclose(*(int(part[1]) for part in parts), abs_tol=3)


def test_a_row_of_what_cannot_be_measured_says_why():
    assert line_of("x 1", "Odd", MeasureError("Odd needs a sea.")).endswith("| Odd needs a sea. |")
