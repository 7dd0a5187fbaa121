"""No run crashes for its layout: widths and layers under the checks of glibc's malloc, with the kernels of AVX2."""

import os
import subprocess
import sys

import pytest
import torch
from lab import small
from torch import nn

from weightdecay.lab.data import layout
from weightdecay.lab.run import Place, options
from weightdecay.lab.training.train import train

CHECKED = {
    **os.environ,
    "LD_PRELOAD": "libc_malloc_debug.so.0",
    "MALLOC_CHECK_": "3",
    "GLIBC_TUNABLES": "glibc.malloc.check=3",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), os.environ.get("PYTHONPATH", "")]),
}
"""A write past the end of an allocation ends the process when that is freed."""

HERE = Place(device="cpu")


FORKED = """
import os, sys, traceback
import torch, test_layout
for name in sys.argv[1:]:
    print("#", name, flush=True)
    child = os.fork()
    if child == 0:
        try:
            exec(getattr(test_layout, name))
        except BaseException:
            traceback.print_exc(file=sys.stdout)
            os._exit(1)
        sys.stdout.flush()
        os._exit(0)
    print("ended with", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def checked():
    """Each code under the checks: its exit status and what it said last. Forks of one process, which imports torch."""
    names = ("OVERFLOW", "WIDTHS", "LAYERS", "COMPILED")
    done = subprocess.run(
        [sys.executable, "-c", FORKED, *names], env=CHECKED, stdout=subprocess.PIPE, text=True, timeout=480, check=True
    )
    found = {}
    for part in done.stdout.split("# ")[1:]:
        name, *said, ended = part.splitlines()
        found[name] = int(ended.removeprefix("ended with ")), (said or [""])[-1]
    assert found.keys() == set(names), done.stdout
    return found


OVERFLOW = """
import ctypes, torch
numbers = torch.zeros(6)
ctypes.memset(numbers.data_ptr() + 24, 7, 1)
del numbers
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the checks are glibc's")
def test_the_checks_find_one_byte_too_many(checked):
    assert checked["OVERFLOW"][0] == -6


WIDTHS = """
import torch
from lab import small
from weightdecay.lab.run import Place, options
from weightdecay.lab.training.train import train
torch.set_num_threads(1)
for width in range(1, 17):
    print(width, flush=True)
    result = train(small(epochs=1, batch_size=32, network_options=options(width=width)), place=Place(device="cpu"))
    assert result.status == "finished"
print("all")
"""


@pytest.mark.slow
def test_a_residual_network_of_any_width_trains_in_channels_last(checked):
    assert small().channels_last
    assert checked["WIDTHS"] == (0, "all")


LAYERS = """
import sys
import torch
from test_layout import HERE, NETWORKS, small
from weightdecay.lab.data import layout
for name, network in NETWORKS.items():
    for channels_last in (True, False):
        print(name, channels_last, flush=True)
        model = layout.laid_out(network(), small(channels_last=channels_last), HERE)
        for _ in range(3):
            x = torch.randn(8, 4, 8, 8).contiguous(memory_format=torch.channels_last).requires_grad_()
            (g,) = torch.autograd.grad(model(x).square().sum(), x, create_graph=True)
            g.square().sum().backward()
            del g, x
            kept = [torch.randn(i) for i in range(1, 2000, 97)]
print("all")
"""


class ByName(nn.Module):
    """A layer that is called with its argument by name, as nothing in torch forbids."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(4, 8, 1, stride=2)

    def forward(self, x):
        return self.layer(input=x)


class Bare(nn.Module):
    """A weight whose stride stands in code."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 4, 1, 1))

    def forward(self, x):
        return nn.functional.conv2d(x.contiguous(), self.weight, stride=2)


NETWORKS = {
    "stride (1, 2)": lambda: nn.Conv2d(4, 8, 1, stride=(1, 2)),
    "bias": lambda: nn.Sequential(nn.Conv2d(4, 7, 3, padding=1), nn.Conv2d(7, 3, 1, stride=2)),
    "transposed": lambda: nn.ConvTranspose2d(4, 4, 1, stride=2, output_padding=1),
    "weight norm": lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 8, 1, stride=2)),
    "laid out by its author": lambda: nn.Conv2d(4, 8, 1, stride=2).to(memory_format=torch.channels_last),
    "by name": ByName,
    "bare": Bare,
}


@pytest.mark.slow
def test_a_layer_of_ones_own_is_found_however_it_is_made(checked):
    assert checked["LAYERS"] == (0, "all")


COMPILED = """
import torch
from lab import small
from test_layout import HERE, NETWORKS
from torch import nn
from weightdecay.lab.data import layout
model = layout.laid_out(nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 8, 1, stride=2)), small(), HERE)
layout.compiled(model, HERE)
for _ in range(5):
    x = torch.randn(8, 1, 8, 8)
    model(x).square().sum().backward()
    kept = [torch.randn(i) for i in range(1, 2000, 97)]
print("all")
"""


@pytest.mark.slow
def test_the_compiler_does_not_choose_channels_last_by_itself(checked):
    assert checked["COMPILED"] == (0, "all")


@pytest.mark.parametrize("channels", range(1, 17))
def test_a_layer_is_contiguous_below_eight_channels_only(channels):
    model = layout.laid_out(
        nn.Sequential(nn.Conv2d(4, channels, 3), nn.Conv2d(channels, 8, 1, stride=2)), small(), HERE
    )
    assert layout.fragile(model) == ([model[1]] if channels < 8 else [])
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    strides = (channels, 1, 1, 1) if channels < 8 else (channels, 1, channels, channels)
    assert model[1].weight.stride() == strides


@pytest.mark.parametrize("layer", [
    nn.Conv2d(4, 8, 1), nn.Conv2d(4, 8, 3, stride=2), nn.Conv2d(4, 8, 1, stride=2, groups=4),
    nn.Conv2d(8, 4, 1, stride=2),
    nn.ConvTranspose2d(4, 8, 1, stride=2), nn.ConvTranspose2d(4, 4, 2, stride=2), nn.Conv1d(4, 8, 1, stride=2),
], ids=str)  # fmt: skip
def test_other_layers_are_left_alone(layer):
    assert layout.fragile(nn.Sequential(layer)) == []


def test_on_a_gpu_every_layer_is_what_the_run_asks_for():
    model = layout.laid_out(nn.Sequential(nn.Conv2d(4, 8, 1, stride=2)), small(), Place(device="cuda"))
    assert model[0].weight.stride() == (4, 1, 4, 4)
    assert not model[0]._forward_pre_hooks


def test_the_layout_changes_rounding_and_nothing_else():
    """And a run has one address and one result, whatever it asked for was called."""
    runs = [
        small(epochs=2, dtype="float64", channels_last=asked, network_options=options(width=4))
        for asked in (True, False)
    ]
    there, here = (train(run, place=HERE) for run in runs)
    assert [e.train_loss for e in there.epochs] == pytest.approx([e.train_loss for e in here.epochs], rel=1e-9)
    assert there.run.channels_last
    assert there.run.address != here.run.address
