"""torchvision's ResNets again, in one class: for their shapes, and for a machine without torchvision.

The parameters have torchvision's shapes in torchvision's order; tests/test_benchmarks.py compares them.
"""

from torch import Tensor, nn
from torch.nn.functional import relu


class Block(nn.Module):
    """Two 3×3 convolutions, or with ``bottleneck`` 1×1, 3×3 and 1×1, beside a shortcut."""

    def __init__(self, inputs: int, width: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        outputs = 4 * width if bottleneck else width
        sides = ((inputs, width, 1, 1), (width, width, 3, stride), (width, outputs, 1, 1))
        plain = ((inputs, width, 3, stride), (width, width, 3, 1))
        layers = [layer for form in (sides if bottleneck else plain) for layer in convolution(*form)]
        self.layers = nn.ModuleList(layers)
        changes = stride != 1 or inputs != outputs
        self.shortcut = nn.Sequential(*convolution(inputs, outputs, 1, stride)) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) → (n, outputs, ⌈h/stride⌉, ⌈w/stride⌉)."""
        y = x
        for i in range(0, len(self.layers), 2):
            y = self.layers[i + 1](self.layers[i](relu(y) if i else y))
        return relu(y + self.shortcut(x))


def convolution(inputs: int, outputs: int, size: int, stride: int) -> tuple[nn.Module, nn.Module]:
    """Return a convolution and its batch norm."""
    return nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False), nn.BatchNorm2d(outputs)


def resnet(blocks: tuple[int, ...], bottleneck: bool, classes: int, small: bool = False) -> nn.Sequential:
    """Return the network; with ``small`` a 3×3 stem of stride 1 and no pooling, for images of up to 64 pixels."""
    stem = [*convolution(3, 64, 3, 1), nn.ReLU()]
    if not small:
        stem = [*convolution(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    layers, inputs = [], 64
    for stage, count in enumerate(blocks):
        width = 64 << stage
        for i in range(count):
            layers.append(Block(inputs, width, 2 if stage and i == 0 else 1, bottleneck))
            inputs = 4 * width if bottleneck else width
    return nn.Sequential(*stem, *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))


def resnet18(classes: int = 10, small: bool = False) -> nn.Sequential:
    """11.2 million weights in 62 tensors."""
    return resnet((2, 2, 2, 2), False, classes, small)


def resnet50(classes: int = 1000, small: bool = False) -> nn.Sequential:
    """25.6 million weights in 161 tensors."""
    return resnet((3, 4, 6, 3), True, classes, small)
