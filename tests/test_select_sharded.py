"""select() splits a sharded model as the whole one, by the shapes before sharding, or refuses."""

import contextlib
import re

import pytest
import torch
import torch.distributed as dist
from selecting import strengths
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.testing._internal.distributed.fake_pg import FakeStore

from weightdecay import select
from weightdecay.selecting.groups import choose
from weightdecay.selecting.tensors import entries


def small():
    return nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 3))


def split(model):
    """Everything that select() decides of a model, by its own defaults and by presets that read shapes and names."""
    found = [[e.entry.name, e.role, e.entry.shape, e.options["weight_decay"]] for e in choose(model, 0.1)]
    for preset in ("timm", "nanogpt", "megatron", "transformers"):
        found += [[e.entry.name, preset, e.options["weight_decay"]] for e in choose(model, 0.1, preset=preset)]
    return found


def fully_sharded(processes):
    model, mesh = small(), init_device_mesh("cpu", (processes,))
    fully_shard(model[1], mesh=mesh)
    return fully_shard(model, mesh=mesh)


@contextlib.contextmanager
def processes(backend, store, world_size):
    dist.init_process_group(backend, store=store, rank=0, world_size=world_size)
    try:
        yield
    finally:
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def sharded():
    found = {}
    with processes("gloo", dist.HashStore(), 1):
        found["one process"] = split(fully_sharded(1))
    with processes("fake", FakeStore(), 2):  # one of two processes, which does not wait for the other
        found["fully_shard"] = split(fully_sharded(2))
        first = FullyShardedDataParallel(small(), use_orig_params=True, device_id=torch.device("cpu"))
        assert all(p.ndim == 1 for p in first.parameters())
        found["FSDP"] = split(first)
        for name, model in {
            "flat": FullyShardedDataParallel(small(), device_id=torch.device("cpu")),
            "a part": first[1],
        }.items():
            with pytest.raises(ValueError, match="flattened") as error:
                select(model)
            found[name] = str(error.value)
    return found


@pytest.mark.parametrize("kind", ["one process", "fully_shard", "FSDP"])
def test_a_sharded_model_is_split_as_the_whole_one(sharded, kind):
    assert sharded[kind] == split(small())
    assert ["1.weight", "matrix", (8, 4), 0.1] in sharded[kind]


def test_flat_parameters_are_refused_with_the_way_out(sharded):
    assert re.search(r"holds 0.weight, 1.weight.*use_orig_params=True", sharded["flat"])
    assert re.search(r"'weight' is a flattened piece of FSDP.*Pass the module that FullyShardedData", sharded["a part"])


def test_deepspeed_says_the_shape_of_what_it_took_away():
    model = nn.Linear(3, 2)
    for p in model.parameters():
        p.ds_shape = p.shape
        p.data = torch.empty(0)  # as ZeRO-3 leaves it
    assert [entry.shape for entry in entries(model)] == [(2, 3), (2,)]
    assert strengths(model, 0.1, preset="nanogpt") == {"weight": 0.1, "bias": 0.0}
