"""What every test stands on: a fixed seed, one thread, and where the cases are."""

import pytest
import torch

collect_ignore = ["sharded_worker.py", "sharded", "processes_worker.py"]  # programs, which tests start


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
    torch.set_num_threads(1)
