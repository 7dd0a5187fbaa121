"""What every test stands on: a fixed seed, one thread, and where the cases are."""

import gc
import os
import signal

import pytest
import seconds
import torch
from seconds import pytest_addoption, pytest_runtest_protocol  # noqa: F401 - pytest finds them here

collect_ignore = ["sharded_worker.py", "sharded", "processes_worker.py"]  # programs, which tests start


FIRST = (
    *("sharded", "ray", "benchmarks", "reproduce", "slurm", "executors", "sweep", "train", "processes", "cli_streams"),
    *(
        "cli_train",
        "edited",
        "engines",
        "oracle_agreement",
        "theory_command",
        "low_precision",
        "contract",
        "docs",
        "tutorials",
    ),
)
"""The files that take longest, which are begun first: with two workers, one of them would otherwise end alone."""


def pytest_collection_modifyitems(config, items):
    if config.getoption("limit") is not None:
        return  # what matters most was named first
    rank = {f"test_{name}.py": place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


def pytest_collection():
    gc.disable()  # nothing of what is collected is garbage: a sixth of the time, in every worker


def pytest_collection_finish():
    gc.freeze()
    gc.enable()


def pytest_configure(config):
    seconds.pytest_configure(config)
    # A shell tells what it starts in the background to ignore Ctrl-C, and children would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # A terminal as most are, and pipes that are buffered, whatever the machine's own environment says.
    for name in ("FORCE_COLOR", "CLICOLOR_FORCE", "PYTHONUNBUFFERED"):
        os.environ.pop(name, None)
    os.environ["COLUMNS"] = "120"


@pytest.fixture(autouse=True)
def _seeded():
    # torch.manual_seed would note a traceback for the GPU that may come: a millisecond, in thousands of tests.
    torch.default_generator.manual_seed(0)
    torch.set_num_threads(1)
