"""Every network: its size, its shapes, its weights, that it learns, and what is said when it does not fit."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from networks import CIFAR, DIGITS, FEW, IMAGENET, IMAGES, WORDS, facts_for, images, tokens
from torch import nn
from torch.nn.functional import cross_entropy

from weightdecay.lab import models
from weightdecay.lab.data.base import Facts
from weightdecay.lab.models import resnet
from weightdecay.lab.run import options


def count(model):
    return sum(p.numel() for p in model.parameters())


# ---------------------------------------------------------------- sizes


COUNTS = [
    ("resnet8", Facts(10, 1, 8), {}, 77_754),
    ("resnet20", CIFAR, {}, 269_722),
    ("smallcnn", CIFAR, {}, 94_762),
    ("resnet18", CIFAR, {}, 11_173_962),
    ("resnet34", CIFAR, {}, 21_282_122),
    ("resnet50", CIFAR, {}, 23_520_842),
    ("resnet50", IMAGENET, {}, 25_557_032),
    ("vgg16", CIFAR, {}, 14_728_266),
    ("vgg16plain", CIFAR, {}, 14_719_818),
    ("densenet121", CIFAR, {}, 6_956_298),
    ("densenet121", IMAGENET, {}, 7_978_856),
    ("googlenet", CIFAR, {}, 6_166_250),
    ("lstm", WORDS, {}, 14_452_496),
    ("transformer", WORDS, {}, 8_551_696),
]


@pytest.mark.parametrize(
    ("name", "facts", "given", "parameters"), COUNTS, ids=[f"{name}-{facts.size}" for name, facts, *_ in COUNTS]
)
def test_a_network_has_its_published_number_of_parameters(name, facts, given, parameters):
    assert count(models.build(name, facts, 0, options(given))) == parameters


def test_every_network_is_counted():
    assert {name for name, *_ in COUNTS} == set(models.names())


@pytest.mark.parametrize("name", ["resnet8", "resnet20", "smallcnn"])
@pytest.mark.parametrize("width", [1, 8])
def test_the_number_of_parameters_follows_from_the_width(name, width):
    """Quadratic in the width, from the sizes of the layers."""
    norms, w = 2, width  # a batch norm: scale and shift a channel
    first, last = 9 * 3 * w, 4 * w * 10 + 10
    expected = {
        # Per stage: the first convolution and the others; batch norms; for resnet8 the shortcuts by 1×1 convolution.
        "resnet20": first + 9 * w * w * (6 + 2 + 5 * 4 + 8 + 5 * 16) + norms * w * (1 + 6 * (1 + 2 + 4)) + last,
        "resnet8": first
        + 9 * w * w * (2 + 2 + 4 + 8 + 16)
        + w * w * (2 + 8)
        + norms * w * (1 + 2 * (1 + 2 + 4) + 2 + 4)
        + last,
        "smallcnn": first + 9 * w * w * (2 + 8) + norms * w * (1 + 2 + 4) + last,
    }[name]
    assert count(models.build(name, CIFAR, 0, options(width=width))) == expected


@pytest.mark.parametrize(("layers", "embedding", "hidden"), [(1, 4, 3), (2, 3, 5), (3, 6, 6)])
def test_the_number_of_parameters_of_the_lstm_follows_from_its_options(layers, embedding, hidden):
    model = models.build("lstm", FEW, 0, options(layers=layers, embedding=embedding, hidden=hidden))
    words = FEW.classes
    stack = 4 * hidden * (embedding + (2 * layers - 1) * hidden + 2 * layers)
    assert count(model) == words * embedding + stack + hidden * words + words


# ---------------------------------------------------------------- shapes

SHAPES = [(name, size, 1) for name in IMAGES for size in (8, 28, 32)]
SHAPES += [(name, 64, 3) for name in IMAGES]
SHAPES += [(name, 224, 3) for name in IMAGES if name.startswith(("resnet", "densenet", "vgg", "small"))]


@pytest.mark.parametrize(("name", "size", "channels"), SHAPES)
@torch.no_grad()
def test_images_of_every_size_become_a_number_a_class(name, size, channels):
    facts = Facts(classes=7, channels=channels, size=size)
    outputs = models.build(name, facts, 0).eval()(images(facts))
    assert outputs.shape == (2, 7)
    assert outputs.isfinite().all()
    assert not outputs[0].equal(outputs[1])


@pytest.mark.parametrize("name", models.names())
def test_gradients_reach_every_parameter(name):
    """Of a batch of two small images, or of a text: none stays without one, and none is all zero."""
    facts = facts_for(name, Facts(classes=10, channels=3, size=8))
    model = models.build(name, facts, 0).double()
    outputs = model(tokens(facts, 4), None)[0].flatten(0, 1) if name not in IMAGES else model(images(facts, 4).double())
    cross_entropy(outputs, torch.arange(len(outputs))).backward()
    modules = list(model.named_modules())
    idle = {  # batch norm takes off again what the bias of the convolution before it adds
        f"{convolution}.bias"
        for (convolution, module), (_, after) in pairwise(modules)
        if isinstance(module, nn.Conv2d) and isinstance(after, nn.BatchNorm2d)
    }
    for parameter, p in model.named_parameters():
        assert p.grad is not None, parameter
        assert parameter in idle or p.grad.abs().max() > 0, parameter


# ---------------------------------------------------------------- weights


@pytest.mark.parametrize("name", models.names())
def test_weights_are_a_function_of_the_seed_and_the_generator_is_left_alone(name):
    facts = facts_for(name)
    before = torch.get_rng_state()
    first = models.build(name, facts, 3).state_dict()
    assert torch.get_rng_state().equal(before)
    torch.rand(5)
    again, other = models.build(name, facts, 3).state_dict(), models.build(name, facts, 4).state_dict()
    assert all(value.equal(again[key]) for key, value in first.items())
    assert any(not value.equal(other[key]) for key, value in first.items())


def test_weights_do_not_depend_on_the_default_device():
    with torch.device("meta"):
        weight = models.build("resnet8", DIGITS, 0)[0].weight
    assert weight.equal(models.build("resnet8", DIGITS, 0)[0].weight)


@pytest.mark.parametrize("name", [name for name in models.names() if name not in ("lstm", "transformer", "vgg16plain")])
def test_the_initialisation_is_pytorchs_default(name):
    """Uniform within 1/√fan-in, weights and biases, the outermost close to it; scales one and shifts zero."""
    for module in models.build(name, CIFAR, 0).modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.weight.eq(1).all()
            assert module.bias.eq(0).all()
        elif isinstance(module, nn.Conv2d | nn.Linear):
            bound = module.weight[0].numel() ** -0.5
            assert 0.98 * bound < module.weight.abs().max() <= bound
            if module.bias is not None:
                assert 0 < module.bias.abs().max() <= bound


def test_the_weights_of_resnet8_are_those_it_always_had():
    """Results in the world rest on them. The number is the sum of all weights in float64."""
    model = models.build("resnet8", Facts(classes=10, channels=1, size=8), 0, options(width=16))
    assert sum(p.double().sum().item() for p in model.parameters()) == pytest.approx(340.59679312907963, rel=1e-8)
    assert model[0].weight.flatten()[0].item() == pytest.approx(-0.0024956068955361843, rel=1e-6)


# ---------------------------------------------------------------- learning


@pytest.mark.parametrize(
    ("name", "given", "lr", "steps"),
    [
        ("resnet8", {"width": 8}, 1e-2, 40),
        ("resnet20", {"width": 4}, 1e-2, 60),
        ("smallcnn", {"width": 8}, 1e-2, 40),
        ("lstm", {"embedding": 24, "hidden": 24, "dropout": 0.0}, 3e-2, 80),
    ],
)
def test_a_small_network_learns_one_batch_by_heart(name, given, lr, steps):
    """Labels without a pattern: the loss falls below a tenth of that of guessing, so every layer can be used."""
    facts = facts_for(name)
    model = models.build(name, facts, 0, options(given))
    adam = torch.optim.Adam(model.parameters(), lr=lr)
    inputs = tokens(facts, 8, 4) if name == "lstm" else images(facts, 16)
    labels = torch.randint(facts.classes, (32 if name == "lstm" else 16,), generator=torch.Generator().manual_seed(1))

    def loss():
        outputs = model(inputs, None)[0].flatten(0, 1) if name == "lstm" else model(inputs)
        return cross_entropy(outputs, labels)

    for _ in range(steps):
        adam.zero_grad()
        loss().backward()
        adam.step()
    guess = torch.tensor(float(facts.classes)).log()
    assert loss() < 0.1 * guess


# ---------------------------------------------------------------- what is said

REFUSED = [
    ("resnet19", CIFAR, {}, "no network is called 'resnet19'. Did you mean 'resnet18'?"),
    ("Perceiver", CIFAR, {}, "no network is called 'Perceiver'. Known: densenet121, "),
    ("resnet20", CIFAR, {"widht": 8}, "no option of the network 'resnet20' is called 'widht'. Did you mean 'width'?"),
    ("lstm", WORDS, {"width": 8}, "no option of the network 'lstm' is called 'width'."),
    ("resnet18", CIFAR, {"width": 8}, "width=8: the network 'resnet18' has no options."),
    (
        "resnet20",
        CIFAR,
        {"width": 0},
        "width=0 of the network 'resnet20' must be a whole number of channels, 1 or more",
    ),
    ("smallcnn", CIFAR, {"width": 2.5}, "width=2.5 of the network 'smallcnn' must be a whole number"),
    ("smallcnn", CIFAR, {"width": True}, "width=True of the network 'smallcnn' must be a whole number"),
    ("lstm", WORDS, {"dropout": 1.5}, "dropout=1.5 of the network 'lstm' must be a fraction in [0, 1)"),
    ("lstm", WORDS, {"dropout": float("nan")}, "dropout=nan of the network 'lstm' must be"),
    ("lstm", WORDS, {"dropout": "half"}, "dropout='half' of the network 'lstm' must be"),
    ("lstm", WORDS, {"layers": -1}, "layers=-1 of the network 'lstm' must be a whole number, 1 or more"),
    ("googlenet", CIFAR, {"paper_eps": 1}, "paper_eps=1 of the network 'googlenet' must be True or False"),
    (
        "resnet20",
        WORDS,
        {},
        "the network 'resnet20' is for images, and the data are tokens. Networks for tokens: lstm, transformer.",
    ),
    ("lstm", CIFAR, {}, "the network 'lstm' is for tokens, and the data are images. Networks for images: resnet8, "),
    ("vgg16", Facts(10, 3, 7), {}, "images of 7 pixels per side are too small for the network 'vgg16': it needs 8"),
]


@pytest.mark.parametrize(("name", "facts", "given", "words"), REFUSED)
def test_a_mistake_is_named_with_its_way_out(name, facts, given, words):
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the words are compared below)
        models.build(name, facts, 0, options(given))
    assert str(error.value).startswith(words)


def test_the_blocks_of_the_small_networks_are_torchvisions():
    from torchvision.models.resnet import BasicBlock, conv1x1

    x = torch.randn(2, 4, 6, 6, requires_grad=True)
    for inputs, outputs, stride in ((4, 4, 1), (4, 8, 2)):
        ours = resnet.Block(inputs, outputs, stride, resnet.projection(inputs, outputs, stride) if stride > 1 else None)
        shortcut = torch.nn.Sequential(conv1x1(inputs, outputs, stride), torch.nn.BatchNorm2d(outputs))
        theirs = BasicBlock(inputs, outputs, stride, shortcut if stride > 1 else None)
        theirs.load_state_dict(ours.state_dict())
        for module in (ours, theirs):
            (module(x) ** 2).sum().backward()
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(p.grad, q.grad)
        assert [*ours.state_dict()] == [*theirs.state_dict()]


def test_names_and_small_networks_cost_no_import_of_torchvision():
    code = "import sys; from weightdecay.lab import models; models.names(); assert 'torchvision' not in sys.modules"
    code += "; from networks import DIGITS; models.build('resnet8', DIGITS, 0)"
    code += "; assert not {'torchvision', 'torch._dynamo'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, cwd=Path(__file__).parent)
