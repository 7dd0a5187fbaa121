"""The networks: their sizes, that they are the networks they say they are, and what is said when they do not fit."""

import subprocess
import sys
from itertools import pairwise

import pytest
import torch
import torchvision
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, batch_norm, conv2d, cross_entropy, linear, relu

from weightdecay.lab import models
from weightdecay.lab.data.base import Facts
from weightdecay.lab.run import options

CIFAR = Facts(classes=10, channels=3, size=32)
IMAGENET = Facts(classes=1000, channels=3, size=224)
DIGITS = Facts(classes=10, channels=1, size=8)
WORDS = Facts(classes=10_000)
FEW = Facts(classes=30)

IMAGES = tuple(name for name in models.names() if models.NETWORKS[name][1] == models.IMAGES)
THIN = options(embedding=5, hidden=7)


def count(model):
    return sum(p.numel() for p in model.parameters())


def images(facts, n=2, seed=0):
    return torch.randn(n, facts.channels, facts.size, facts.size, generator=torch.Generator().manual_seed(seed))


def tokens(facts, time, n=2, seed=0):
    return torch.randint(facts.classes, (time, n), generator=torch.Generator().manual_seed(seed))


def facts_for(name, image=DIGITS):
    return image if name in IMAGES else FEW


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
    assert sum(p.double().sum().item() for p in model.parameters()) == pytest.approx(340.59679312907963, rel=1e-12)
    assert model[0].weight.flatten()[0].item() == -0.0024956068955361843


# ---------------------------------------------------------------- the networks they say they are


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "densenet121"])
@torch.no_grad()
def test_at_224_pixels_the_function_is_torchvisions(name):
    model = models.build(name, Facts(classes=11, channels=3, size=224), 0).eval()
    theirs = getattr(torchvision.models, name)(num_classes=11).eval()
    theirs.load_state_dict(model.state_dict())
    x = images(IMAGENET)
    assert model(x).equal(theirs(x))


class Block(nn.Module):
    """kuangliu/pytorch-cifar's basic block, written again from its description."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        return relu(self.bn2(self.conv2(relu(self.bn1(self.conv1(x))))) + self.shortcut(x))


class Residual(nn.Module):
    """kuangliu/pytorch-cifar's ResNet of basic blocks, at 32 pixels."""

    def __init__(self, blocks, classes):
        super().__init__()
        self.conv1, self.bn1, self.blocks = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.Sequential()
        inputs = 64
        for stage, (outputs, length) in enumerate(zip((64, 128, 256, 512), blocks, strict=True)):
            for i in range(length):
                self.blocks.append(Block(inputs, outputs, 2 if stage and not i else 1))
                inputs = outputs
        self.linear = nn.Linear(512, classes)

    def forward(self, x):
        x = self.blocks(relu(self.bn1(self.conv1(x))))
        return self.linear(avg_pool2d(x, 4).flatten(1))


def copy_in_order(source, target):
    """Load weights by their order, where names differ and shapes must not."""
    values = list(source.state_dict().values())
    target.load_state_dict(dict(zip(target.state_dict(), values, strict=True)))


@pytest.mark.parametrize(
    ("name", "blocks"),
    [("resnet18", (2, 2, 2, 2)), pytest.param("resnet34", (3, 4, 6, 3), marks=pytest.mark.slow)],
)
def test_at_32_pixels_a_residual_network_is_that_of_the_papers_code(name, blocks):
    """Outputs and the gradient of the first layer, in training, in float64."""
    model, reference = models.build(name, CIFAR, 0).double(), Residual(blocks, 10).double()
    copy_in_order(model, reference)
    x = images(CIFAR).double()
    ours, theirs = model(x), reference(x)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    cross_entropy(ours, torch.tensor([0, 1])).backward()
    cross_entropy(theirs, torch.tensor([0, 1])).backward()
    torch.testing.assert_close(model.conv1.weight.grad, reference.conv1.weight.grad, rtol=1e-9, atol=1e-12)


@torch.no_grad()
def test_resnet20_is_the_papers_with_shortcuts_without_parameters():
    """Against functions of the weights in their order: 19 convolutions with their norms, and one linear layer."""
    model = models.build("resnet20", CIFAR, 0, options(width=4)).double().train()
    weights = list(model.parameters())
    *layers, (w, b) = [weights[i : i + 3] for i in range(0, len(weights) - 2, 3)] + [weights[-2:]]
    assert len(layers) == 19

    def unit(x, stride=1):
        kernel, scale, shift = layers.pop(0)
        return batch_norm(conv2d(x, kernel, stride=stride, padding=1), None, None, scale, shift, training=True)

    x = relu(unit(images(CIFAR).double()))
    for stage in range(3):
        for block in range(3):
            halves = stage > 0 and block == 0
            path = unit(relu(unit(x, 2 if halves else 1)))
            if halves:
                x = torch.cat([x[:, :, ::2, ::2], torch.zeros_like(x[:, :, ::2, ::2])], 1)
            x = relu(path + x)
    expected = linear(x.mean((2, 3)), w, b)
    torch.testing.assert_close(model(images(CIFAR).double()), expected, rtol=1e-12, atol=1e-12)


def newest_first(channels, base):
    """Where a channel of ours is, when each layer's 32 go before all earlier ones instead of behind them."""
    blocks = [range(base), *(range(start, start + 32) for start in range(base, channels, 32))]
    return torch.tensor([channel for block in reversed(blocks) for channel in block])


@torch.no_grad()
def test_densenet_is_that_of_the_papers_code_with_channels_renumbered():
    """The reference joins (new, old), as kuangliu/pytorch-cifar does; its weights are ours, renumbered."""
    model = models.build("densenet121", CIFAR, 0).double().train()
    features, x = model.features, images(CIFAR).double()

    def unit(x, norm, conv, order, padding=0):
        x = relu(batch_norm(x, None, None, norm.weight[order], norm.bias[order], training=True))
        return conv2d(x, conv.weight[:, order], padding=padding)

    everything = slice(None)
    for module in model.modules():  # scales of one would hide a wrong order
        if isinstance(module, nn.BatchNorm2d):
            module.weight.uniform_(0.5, 1.5)
            module.bias.uniform_(-0.5, 0.5)
    y = conv2d(x, features.conv0.weight, padding=1)
    for i, length in enumerate((6, 12, 24, 16), 1):
        block, base = getattr(features, f"denseblock{i}"), y.shape[1]
        assert len(block) == length
        for layer in block.values():
            new = unit(y, layer.norm1, layer.conv1, newest_first(y.shape[1], base))
            y = torch.cat([unit(new, layer.norm2, layer.conv2, everything, 1), y], 1)
        order = newest_first(y.shape[1], base)
        if i < 4:
            between = getattr(features, f"transition{i}")
            y = avg_pool2d(unit(y, between.norm, between.conv, order), 2)
    last = features.norm5
    y = relu(batch_norm(y, None, None, last.weight[order], last.bias[order], training=True))
    expected = linear(avg_pool2d(y, 4).flatten(1), model.classifier.weight[:, order], model.classifier.bias)
    torch.testing.assert_close(model(x), expected, rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_vgg16_has_torchvisions_convolutions():
    """Features of configuration D with batch norm, then one linear layer."""
    model = models.build("vgg16", CIFAR, 0).double().eval()
    layers = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["D"], batch_norm=True)
    features = layers.double().eval()
    *own, flatten, last = model
    copy_in_order(nn.Sequential(*own), features)
    x = images(CIFAR).double()
    assert isinstance(flatten, nn.Flatten)
    torch.testing.assert_close(model(x), last(features(x).flatten(1)), rtol=1e-12, atol=1e-12)


NORMS = nn.modules.batchnorm._NormBase | nn.GroupNorm | nn.LayerNorm | nn.RMSNorm | nn.LocalResponseNorm


def test_vgg16plain_is_vgg16_without_its_norms_and_has_no_other():
    plain, with_norms = models.build("vgg16plain", CIFAR, 0), models.build("vgg16", CIFAR, 0)
    assert not any(isinstance(module, NORMS) for module in plain.modules())
    left = [repr(module) for module in with_norms if not isinstance(module, nn.BatchNorm2d)]
    assert [repr(module) for module in plain] == left
    assert len(with_norms) - len(plain) == 13


@torch.no_grad()
def test_vgg16plain_tells_two_images_apart_where_the_default_initialisation_does_not():
    """The reason for its initialisation: outputs differ between images by a tenth, not by a rounding error."""
    plain = models.build("vgg16plain", CIFAR, 0)
    apart = plain(images(CIFAR, 8)).std(0).mean()
    for module in plain.modules():
        if isinstance(module, nn.Conv2d):
            module.reset_parameters()
    assert apart > 1e-2
    assert plain(images(CIFAR, 8)).std(0).mean() < 1e-5


def epsilons(**given):
    model = models.build("googlenet", CIFAR, 0, options(given))
    return [(m.num_features, m.eps) for m in model.modules() if isinstance(m, nn.BatchNorm2d)]


def test_paper_eps_changes_nine_norms_of_googlenet_and_no_weight():
    usual, papers = epsilons(), epsilons(paper_eps=True)
    changed = [after for before, after in zip(usual, papers, strict=True) if before != after]
    assert changed == [(n, float(n)) for n in (32, 96, 48, 64, 64, 64, 128, 128, 128)]
    assert {eps for _, eps in usual} == {1e-5}
    ours = models.build("googlenet", CIFAR, 0).state_dict()
    theirs = models.build("googlenet", CIFAR, 0, options(paper_eps=True)).state_dict()
    assert all(value.equal(theirs[key]) for key, value in ours.items())


@torch.no_grad()
def test_googlenet_is_four_branches_nine_times():
    """Against functions of the weights in their order: (kernel, bias, scale, shift) of each of 64 convolutions."""
    model = models.build("googlenet", CIFAR, 0).double().train()
    model[-2].p = 0.0  # dropout
    weights = list(model.parameters())
    layers = [weights[i : i + 4] for i in range(0, len(weights) - 2, 4)]
    assert len(layers) == 1 + 9 * 7

    def unit(x, padding=None):
        kernel, bias, scale, shift = layers.pop(0)
        padding = kernel.shape[-1] // 2 if padding is None else padding
        return relu(batch_norm(conv2d(x, kernel, bias, padding=padding), None, None, scale, shift, training=True))

    x = unit(images(CIFAR).double(), padding=0)
    for module in range(9):
        if module in (2, 7):
            x = nn.functional.max_pool2d(x, 3, 2, 1)
        one, three, five = unit(x), unit(unit(x)), unit(unit(unit(x)))
        x = torch.cat([one, three, five, unit(nn.functional.max_pool2d(x, 3, 1, 1))], 1)
    assert not layers
    expected = linear(adaptive_avg_pool2d(x, 1).flatten(1), *weights[-2:])
    torch.testing.assert_close(model(images(CIFAR).double()), expected, rtol=1e-10, atol=1e-10)


# ---------------------------------------------------------------- the recurrent network


def naive_lstm(model, words, h, c):
    """One word after the other, gate by gate."""
    logits = []
    h, c = list(h), list(c)
    for word in words:
        x = model.embedding.weight[word]
        for i, layer in enumerate(model.layers):
            gates = x @ layer.weight_ih_l0.T + layer.bias_ih_l0 + h[i] @ layer.weight_hh_l0.T + layer.bias_hh_l0
            enter, forget, new, out = gates.chunk(4, -1)
            c[i] = forget.sigmoid() * c[i] + enter.sigmoid() * new.tanh()
            h[i] = x = out.sigmoid() * c[i].tanh()
        logits.append(linear(x, model.decoder.weight, model.decoder.bias))
    return torch.stack(logits), (torch.stack(h), torch.stack(c))


@pytest.mark.parametrize("layers", [1, 2, 3])
@torch.no_grad()
def test_the_lstm_is_its_formula(layers):
    model = models.build("lstm", FEW, 0, (*THIN, ("layers", layers))).double().eval()
    words, zeros = tokens(FEW, 6, 3), torch.zeros(layers, 3, 7, dtype=torch.float64)
    logits, (h, c) = model(words, None)
    expected, (expected_h, expected_c) = naive_lstm(model, words, zeros, zeros)
    assert logits.shape == (6, 3, FEW.classes)
    assert h.shape == c.shape == (layers, 3, 7)
    for ours, theirs in ((logits, expected), (h, expected_h), (c, expected_c)):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("cut", [1, 5, 9])
@torch.no_grad()
def test_a_text_read_in_two_parts_is_the_text_read_in_one(cut):
    """The state carries everything: logits of both parts, and the state after them."""
    model = models.build("lstm", FEW, 0, THIN).double().eval()
    words = tokens(FEW, 10, 3)
    whole, after = model(words, None)
    first, carried = model(words[:cut], None)
    second, end = model(words[cut:], carried)
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=1e-13, atol=1e-14)
    for one, two in zip(end, after, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-13, atol=1e-14)


def test_dropout_of_the_lstm_follows_from_the_generator_and_stops_in_eval():
    model, words = models.build("lstm", FEW, 0, THIN).double(), tokens(FEW, 10, 3)

    def outputs(seed):
        torch.manual_seed(seed)
        return model(words, None)[0]

    assert outputs(0).equal(outputs(0))
    assert not outputs(0).equal(outputs(1))
    model.eval()
    assert outputs(0).equal(outputs(1))
    still = models.build("lstm", FEW, 0, (*THIN, ("dropout", 0.0))).double()
    torch.testing.assert_close(still(words, None)[0], outputs(0), rtol=1e-13, atol=1e-14)


def test_the_lstm_begins_as_the_example_it_follows():
    """Embedding and output uniform in ±0.1, no output bias; the layers in ±1/√hidden."""
    model = models.build("lstm", WORDS, 0)
    for weight in (model.embedding.weight, model.decoder.weight):
        assert 0.0999 < weight.abs().max() <= 0.1
        assert abs(weight.std().item() - 0.2 / 12**0.5) < 1e-4
    assert model.decoder.bias.eq(0).all()
    for layer in model.layers:
        assert all(0.98 * 512**-0.5 < p.abs().max() <= 512**-0.5 for p in layer.parameters())


def test_the_lstm_trains_under_autocast_with_carried_state():
    model, words = models.build("lstm", FEW, 0, THIN), tokens(FEW, 8, 3)
    carried = None
    for part in words.split(4):
        with torch.autocast("cpu", torch.bfloat16):
            logits, carried = model(part, carried)
            loss = cross_entropy(logits.flatten(0, 1), part.flatten())
        loss.backward()
        carried = tuple(state.detach() for state in carried)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.slow
@torch.no_grad()
def test_the_lstm_compiles_in_place():
    model, words = models.build("lstm", FEW, 0, THIN).double().eval(), tokens(FEW, 6, 3)
    expected, state = model(words, None)
    model.compile()
    logits, carried = model(words, None)
    torch.testing.assert_close(logits, expected, rtol=1e-12, atol=1e-14)
    again, _ = model(words, carried)
    torch.testing.assert_close(again, models.build("lstm", FEW, 0, THIN).double().eval()(words, state)[0])


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
    ("vgg16", Facts(10, 3, 7), {}, "images of 7 pixels a side are too small for the network 'vgg16': it needs 8"),
]


@pytest.mark.parametrize(("name", "facts", "given", "words"), REFUSED)
def test_a_mistake_is_named_with_its_way_out(name, facts, given, words):
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the words are compared below)
        models.build(name, facts, 0, options(given))
    assert str(error.value).startswith(words)


def test_the_names_of_networks_cost_no_import_of_torchvision():
    code = "import sys; from weightdecay.lab import models; models.names(); assert 'torchvision' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_transformer_sees_no_word_that_comes_later():
    model = models.build("transformer", FEW, 0, options(embedding=8, heads=2, layers=2)).double().eval()
    words = tokens(FEW, 6, 3)
    changed = words.clone()
    changed[4] = (changed[4] + 1) % FEW.classes
    before, after = model(words)[0], model(changed)[0]
    torch.testing.assert_close(before[:4], after[:4], rtol=1e-12, atol=1e-14)
    assert (before[4:] - after[4:]).abs().amax(dim=(1, 2)).min() > 1e-6


def test_the_transformer_attends_as_its_formula_says():
    """One block, one head, written out: softmax over the tokens before of q·k/√d, and the two residual sums."""
    model = models.build("transformer", FEW, 1, options(embedding=4, heads=1, layers=1)).double().eval()
    words = tokens(FEW, 5, 1)
    x = model.embedding.weight[words[:, 0]] + model.position.weight[:5]
    block = model.blocks[0]
    q, k, v = block.attention(block.norms[0](x)).split(4, dim=1)
    rows = [torch.softmax(q[t] @ k[: t + 1].t() / 2, 0) @ v[: t + 1] for t in range(5)]
    x = x + block.projection(torch.stack(rows))
    x = x + block.outer(torch.nn.functional.gelu(block.inner(block.norms[1](x))))
    torch.testing.assert_close(model(words)[0][:, 0], model.decoder(model.norm(x)), rtol=1e-10, atol=1e-12)


def test_without_norm_the_small_network_is_not_invariant_to_the_scale_of_its_weights():
    for norm, invariant in ((True, True), (False, False)):
        model = models.build("smallcnn", CIFAR, 0, options(width=4, norm=norm)).double().train()
        x = images(CIFAR, 8).double()
        before = model(x)
        with torch.no_grad():
            model[0].weight.mul_(3)
        assert torch.allclose(before, model(x), rtol=1e-3) == invariant
