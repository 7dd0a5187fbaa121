"""Networks for images are those that they say they are: torchvision's, the papers' code, or functions written out."""

import pytest
import torch
import torchvision
from networks import CIFAR, IMAGENET, images
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, batch_norm, conv2d, cross_entropy, linear, relu

from weightdecay.lab import models
from weightdecay.lab.data.base import Facts
from weightdecay.lab.run import options


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


def test_without_norm_the_small_network_is_not_invariant_to_the_scale_of_its_weights():
    for norm, invariant in ((True, True), (False, False)):
        model = models.build("smallcnn", CIFAR, 0, options(width=4, norm=norm)).double().train()
        x = images(CIFAR, 8).double()
        before = model(x)
        with torch.no_grad():
            model[0].weight.mul_(3)
        assert torch.allclose(before, model(x), rtol=1e-3) == invariant
