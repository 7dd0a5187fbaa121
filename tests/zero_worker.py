"""Two processes that share out the tensors of one model by ZeRO or by hand; each writes what became of its weights.

    python zero_worker.py DIRECTORY

The interpreter that imported torch once forks two processes for every partition. The laws are in ``test_zero.py``.
"""

import importlib
import json
import os
import signal
import sys
import time
import warnings
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

import weightdecay as wd

WORLD = 2
SHAPES = [(6, 4), (5,), (3, 3), (2, 7), (4,), (9,)]
STEPS = 6


def attached(params, process_group=None, **options):
    """Torch's AdamW, with stable decay."""
    optimizer = torch.optim.AdamW(params, **options)
    wd.attach(optimizer, wd.Stable(), process_group=process_group)
    return optimizer


CASES = {
    "attached": (attached, {"lr": 1e-2, "weight_decay": 0.1}),
    "AdamS": (wd.AdamS, {"lr": 1e-2, "weight_decay": 0.1}),
    "AdamS-reference": (wd.AdamS, {"lr": 1e-2, "weight_decay": 0.1, "engine": "reference"}),
    "AdamS-clipped": (wd.AdamS, {"lr": 1e-2, "weight_decay": 0.1, "max_grad_norm": 1.0}),
    "AdamW": (wd.AdamW, {"lr": 1e-2, "weight_decay": 0.1}),
    "AdamW-clipped": (wd.AdamW, {"lr": 1e-2, "weight_decay": 0.1, "max_grad_norm": 1.0}),
    "SGDS": (wd.SGDS, {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.02}),
    "AMSGradS": (wd.AMSGradS, {"lr": 1e-2, "weight_decay": 0.1}),
    "AdaiS": (wd.AdaiS, {"lr": 0.1, "weight_decay": 0.1}),
}


def weights():
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(s, generator=generator, dtype=torch.float64)) for s in SHAPES]


def set_gradients(params, t):
    """The same in every process, as after the all-reduce of DDP; tensors differ in loudness, so that a mean shows."""
    for i, p in enumerate(params):
        values = torch.sin(torch.arange(p.numel(), dtype=torch.float64) + 3 * t + i)
        p.grad = (3.0**i * values).reshape(p.shape)


def steps(optimizer, params, times=range(STEPS)):
    for t in times:
        set_gradients(params, t)
        optimizer.step()


def zero(cls, options, rank):
    """``ZeroRedundancyOptimizer`` and nothing else passed."""
    from torch.distributed.optim import ZeroRedundancyOptimizer

    params = weights()
    steps(ZeroRedundancyOptimizer(params, cls, **options), params)
    return params


def zero_groups(cls, options, rank):
    from torch.distributed.optim import ZeroRedundancyOptimizer

    params = weights()
    optimizer = ZeroRedundancyOptimizer(params[:3], cls, **options)
    optimizer.add_param_group({"params": params[3:], "lr": 0.5 * options["lr"]})
    steps(optimizer, params)
    return params


def by_hand(cls, options, rank, **more):
    """Each process has an optimizer over its half, and sends the others what it moved."""
    params = weights()
    optimizer = cls(params[rank::WORLD], **options, **more)
    for t in range(STEPS):
        steps(optimizer, params, [t])
        for i, p in enumerate(params):
            dist.broadcast(p.data, src=i % WORLD)
    return params


def by_hand_said(cls, options, rank):
    """The same, with the processes named."""
    return by_hand(cls, options, rank, process_group=dist.group.WORLD)


PARTITIONS = {f.__name__: f for f in (zero, zero_groups, by_hand, by_hand_said)}


TIMEOUT = 60  # seconds for all cases of one partition


def work(directory, rank, partition):
    results = {}
    for case, (cls, options) in CASES.items():
        store = dist.FileStore(str(directory / f"{partition}-{case}"), WORLD)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=WORLD, timeout=timedelta(seconds=20))
        try:
            params = PARTITIONS[partition](cls, options, rank)
            results[case] = {"weights": [p.detach().flatten().tolist() for p in params]}
        except Exception as error:
            results[case] = {"error": type(error).__name__, "message": str(error)}
        dist.destroy_process_group()
        # After each case: one that hangs takes the later ones with it, not the earlier.
        (directory / f"{partition}-{rank}.json").write_text(json.dumps(results))


def fork(*what):
    child = os.fork()
    if child == 0:
        try:
            work(*what)
        finally:
            os._exit(0)
    return child


def main():
    directory = Path(sys.argv[1])
    for name in ("torch.distributed.optim", "torch._dynamo"):  # ZeRO needs both: once here, not in every process
        importlib.import_module(name)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    for partition in PARTITIONS:
        children, deadline = [fork(directory, rank, partition) for rank in range(WORLD)], time.time() + TIMEOUT
        for child in children:  # what is missing afterwards has hung
            while os.waitpid(child, os.WNOHANG)[0] == 0:
                if time.time() > deadline:
                    os.kill(child, signal.SIGKILL)
                time.sleep(0.02)


if __name__ == "__main__":
    main()
