"""Pipeline stages, other meshes, and tensors that are summands."""

from __future__ import annotations

import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor

from sharded.bag import SHAPES, STEPS, Bag, counted, distance, gradient, line, mesh_of, set_gradients, state_of, weight
from sharded.table import METHODS, Measured, alone, compared, moved, scenario


@scenario(4)
def pipeline_of_fsdp2() -> Measured:
    """Two stages, each FSDP2 on two processes: process_group adds the stages up."""
    mesh = mesh_of((2, 2), ("stage", "shard"))
    stages = [["matrix", "single"], ["row", "short", "vector"]]
    mine = stages[mesh.get_local_rank("stage")]
    stage, reference = Bag(), Bag()
    for name in set(SHAPES) - set(mine):
        delattr(stage, name)
    fully_shard(stage, mesh=mesh["shard"])
    optimizer = METHODS["AdamS"](stage.parameters(), process_group=dist.group.WORLD, max_grad_norm=0.5)
    theirs = METHODS["AdamS"](reference.parameters(), engine="reference", max_grad_norm=0.5)
    most = moved(stage, optimizer)
    moved(reference, theirs)
    expected = state_of(reference)
    return {"difference": distance(state_of(stage), {n: expected[n] for n in mine}), "collectives": most}


@scenario(4)
def pipeline_of_ddp() -> Measured:
    """Two stages, each on two processes with plain tensors: the group is one process of each stage."""
    mesh = mesh_of((2, 2), ("stage", "data"))
    mine = [["matrix", "single"], ["row", "short", "vector"]][mesh.get_local_rank("stage")]
    model, reference = Bag(), Bag()
    optimizer = METHODS["AdamS"](
        [getattr(model, n) for n in mine], process_group=mesh.get_group("stage"), max_grad_norm=0.5
    )
    theirs = METHODS["AdamS"](reference.parameters(), engine="reference", max_grad_norm=0.5)
    most = moved(model, optimizer)
    moved(reference, theirs)
    ours, expected = state_of(model), state_of(reference)
    return {"difference": distance({n: ours[n] for n in mine}, {n: expected[n] for n in mine}), "collectives": most}


def refused(model: nn.Module) -> int:
    """Return 1 where a step without ``process_group`` is refused, and the refusal names it."""
    try:
        METHODS["AdamS"](model.parameters()).step()
    except ValueError as error:
        return int("process_group" in str(error))
    return 0


@scenario(4)
def meshes_that_cross() -> Measured:
    """Parameters on the rows and on the columns of a mesh: refused, and right with process_group."""
    mesh = mesh_of((2, 2), ("data", "tensor"))
    model = Bag()
    for name, submesh in (("matrix", mesh["data"]), ("vector", mesh["tensor"])):
        value = distribute_tensor(weight(name), submesh, [Shard(0)], src_data_rank=None)
        setattr(model, name, nn.Parameter(value))
    set_gradients(model, 0)
    no = refused(model)
    most = moved(model, METHODS["AdamS"](model.parameters(), process_group=dist.group.WORLD))
    return compared(model, alone("AdamS"), collectives=most, refused=no)


@scenario(4)
def submesh_of_two_dimensions() -> Measured:
    """A mesh of several dimensions that is not the world has no group of its own: refused, right with process_group."""
    mesh = mesh_of((2, 2, 1), ("stage", "replicate", "shard"))
    model = fully_shard(Bag(), mesh=mesh["replicate", "shard"])
    set_gradients(model, 0)
    no = refused(model)
    most = moved(model, METHODS["AdamS"](model.parameters(), process_group=mesh.get_group("replicate")))
    return compared(model, alone("AdamS"), collectives=most, refused=no)


@scenario(2, 4)
def gradients_not_yet_summed() -> Measured:
    """A replicated DTensor whose gradient is still a summand: it is summed first."""
    model = Bag()
    model.matrix = nn.Parameter(distribute_tensor(weight("matrix"), line(), [Replicate()], src_data_rank=None))
    optimizer = METHODS["AdamS"](model.parameters())
    most, share = 0, (dist.get_rank() + 1) * 2 / dist.get_world_size() / (dist.get_world_size() + 1)
    for t in range(STEPS):
        set_gradients(model, t)
        model.matrix.grad = DTensor.from_local(gradient("matrix", t) * share, line(), [Partial()])
        most = max(most, counted(optimizer.step))
    return compared(model, alone("AdamS"), collectives=most)


@scenario(2, 4)
def weights_that_are_summands() -> Measured:
    param = nn.Parameter(DTensor.from_local(weight("matrix"), line(), [Partial()]))
    param.grad = DTensor.from_local(gradient("matrix", 0), line(), [Partial()])
    refused = 0
    try:
        METHODS["AdamS"]([param]).step()
    except ValueError as error:
        refused = int("Redistribute" in str(error))
    return {"difference": distance({"": param.detach().to_local()}, {"": weight("matrix")}), "refused": refused}
