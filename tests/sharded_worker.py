"""The processes of the sharded tests: each runs every scenario and writes what it measured, a line a scenario.

    python sharded_worker.py DIRECTORY [PART OF A SCENARIO'S NAME]

The interpreter that imported torch once forks 4 processes, then 2 and 1, which read the checkpoints of the 4. They meet
through a file. The scenarios, and what they measure, are in ``sharded/``.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
import warnings
from datetime import timedelta

import torch
import torch.distributed as dist
from sharded.table import DIRECTORY, SCENARIOS

TIMEOUT = timedelta(seconds=60)  # of one collective: how long a scenario that hangs is waited for

PARTS = ("steps", "training", "owned", "meshes", "ports", "norms", "watching", "checkpoints")  # the order of the runs
for part in PARTS:
    importlib.import_module(f"sharded.{part}")


def work(rank: int, world: int) -> None:
    store = dist.FileStore(str(DIRECTORY / f"store{world}"), world)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world, timeout=TIMEOUT)
    with (DIRECTORY / f"{world}-{rank}.jsonl").open("w") as file:
        for name, (worlds, measure) in SCENARIOS.items():
            if world not in worlds or (sys.argv[2:] and sys.argv[2] not in name):
                continue
            start = time.perf_counter()
            try:
                result = measure()
            except Exception:
                result = {"error": traceback.format_exc()}
            line = {"scenario": name, **result, "seconds": round(time.perf_counter() - start, 3)}
            print(json.dumps(line), file=file, flush=True)
    dist.barrier()
    dist.destroy_process_group()


def fork(rank: int, world: int) -> int:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work(rank, world)
            status = 0
        except Exception:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    return child


def main() -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    for worlds in ((4,), (2, 1)):
        for child in [fork(rank, world) for world in worlds for rank in range(world)]:
            os.waitpid(child, 0)


if __name__ == "__main__":
    main()
