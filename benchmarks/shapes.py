"""The tensor shapes of real networks: what an optimizer sees of them."""

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
import resnet

Shape = tuple[int, ...]


def resnet18() -> list[Shape]:
    """ImageNet's ResNet-18 with 10 classes: 62 tensors, 11.2 million weights."""
    return of(resnet.resnet18)


def resnet50() -> list[Shape]:
    """ImageNet's ResNet-50: 161 tensors, 25.6 million weights."""
    return of(resnet.resnet50)


def of(network: Callable[[], torch.nn.Module]) -> list[Shape]:
    """Return the shapes of a network without making its weights."""
    with torch.device("meta"):
        return [tuple(p.shape) for p in network().parameters()]


def gpt124m() -> list[Shape]:
    """GPT-2's small transformer, head tied to the embedding: 148 tensors, 124.4 million weights."""
    return gpt(768, 50257, 1024)


def gpt(width: int, vocabulary: int, positions: int, layers: int = 12) -> list[Shape]:
    """A transformer as GPT-2's, head tied to the embedding."""
    layer = [
        *((width,), (width,)),  # norm
        *((3 * width, width), (3 * width,), (width, width), (width,)),  # attention
        *((width,), (width,)),  # norm
        *((4 * width, width), (4 * width,), (width, 4 * width), (width,)),  # perceptron
    ]
    return [(vocabulary, width), (positions, width), *(layers * layer), (width,), (width,)]


NETWORKS: dict[str, Callable[[], list[Shape]]] = {"resnet18": resnet18, "resnet50": resnet50, "gpt124m": gpt124m}


def parameters(shapes: list[Shape], device: str, seed: int = 0) -> list[torch.nn.Parameter]:
    """Return float32 parameters of these shapes with gradients of the size that training has."""
    generator = torch.Generator(device).manual_seed(seed)

    def random(shape: Shape, scale: float) -> Tensor:
        return scale * torch.randn(shape, generator=generator, device=device)

    params = [torch.nn.Parameter(random(shape, 0.02)) for shape in shapes]
    for p in params:
        p.grad = random(tuple(p.shape), 1e-3)
    return params
