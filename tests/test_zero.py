"""A process that holds a part of the tensors is right, or refuses and names the way out; it never hangs."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from drive import assert_close
from zero_worker import CASES, PARTITIONS, WORLD, steps, weights

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the processes meet through the loopback of Linux"),
]

WORKER = Path(__file__).with_name("zero_worker.py")
TIMEOUT = 400  # seconds for all partitions; one that hangs gives up on its own


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Where every process has written what it measured."""
    directory = tmp_path_factory.mktemp("zero")
    command = [sys.executable, str(WORKER), str(directory)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            process.wait(TIMEOUT)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    return directory


@pytest.fixture(scope="module", params=PARTITIONS)
def measured(request, written):
    """Return (partition, what each process wrote)."""
    files = [written / f"{request.param}-{rank}.json" for rank in range(WORLD)]
    return request.param, [json.loads(file.read_text()) if file.exists() else {} for file in files]


def alone(case, partition):
    """One process that holds everything."""
    cls, options = CASES[case]
    params = weights()
    if partition == "zero_groups":
        groups = [{"params": params[:3]}, {"params": params[3:], "lr": 0.5 * options["lr"]}]
        steps(cls(groups, **options), params)
    else:
        steps(cls(params, **options), params)
    return [p.detach().flatten() for p in params]


@pytest.mark.parametrize("case", CASES)
def test_a_partition_is_right_or_refused(measured, case):
    partition, results = measured
    for rank, result in enumerate(results):
        assert case in result, f"process {rank} hangs"
        outcome = result[case]
        if "error" in outcome:
            assert partition != "by_hand_said", outcome  # the way out has been taken
            assert outcome["error"] in ("ValueError", "TypeError"), outcome
            assert "process_group=" in outcome["message"], outcome
        else:
            assert_close([torch.tensor(w, dtype=torch.float64) for w in outcome["weights"]], alone(case, partition))


@pytest.mark.parametrize("case", ["AdamW", "SGDS"])
def test_what_reads_nothing_of_the_others_is_not_refused(measured, case):
    """AdamW's and SGDS's step of a tensor depends on no other tensor: every partition of it is right."""
    _, results = measured
    assert all("weights" in result[case] for result in results)


@pytest.mark.parametrize("case", ["AdamS", "AdamS-clipped", "AMSGradS", "AdaiS", "attached"])
def test_zero_with_nothing_else_passed_works_or_says_how(measured, case):
    """Both processes the same: one that goes on while the other has refused would wait for it."""
    _, results = measured
    assert len({"error" in result[case] for result in results}) == 1
