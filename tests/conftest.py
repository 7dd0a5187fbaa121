"""What every test stands on: a fixed seed, one thread, and where the cases are."""

import signal

import pytest
import torch

collect_ignore = ["sharded_worker.py", "sharded", "processes_worker.py"]  # programs, which tests start


def pytest_configure():
    # A shell tells what it starts in the background to ignore Ctrl-C, and children would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
    torch.set_num_threads(1)
