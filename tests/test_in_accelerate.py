"""Accelerate's checkpoints with our optimizers and a schedule of λ."""

import warnings

import pytest
import torch
from test_docs import run_block

import weightdecay as wd

STEPS, STOP = 6, 3


@pytest.fixture(scope="module", autouse=True)
def _packages():
    """Imported here and not above: every worker of the suite reads this file, and one of them runs it."""
    global accelerate
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of packages that it imports
        accelerate = pytest.importorskip("accelerate", reason="accelerate comes with weightdecay[peers]")


def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))


@pytest.mark.parametrize("decay", ["ours", "attached"])
def test_accelerates_checkpoints_go_on_bit_for_bit(decay, tmp_path):
    def build():
        model = net()
        if decay == "ours":
            optimizer = wd.AdamS(wd.select(model, 0.1), lr=1e-2)
        else:
            optimizer = torch.optim.AdamW(wd.select(model, 0.1), lr=1e-2)
            wd.attach(optimizer, "stable")
        accelerator = accelerate.Accelerator(cpu=True)
        model, optimizer = accelerator.prepare(model, optimizer)
        scheduler = wd.schedule.Scheduler(optimizer, "cosine", total_steps=STEPS)
        accelerator.register_for_checkpointing(scheduler)
        return accelerator, model, optimizer, scheduler

    def train(accelerator, model, optimizer, scheduler, steps):
        for step in steps:
            batch = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
            optimizer.zero_grad()
            accelerator.backward(model(batch).square().mean())
            optimizer.step()
            scheduler.step()

    whole, first, again = build(), build(), build()
    train(*whole, range(STEPS))
    train(*first, range(STOP))
    first[0].save_state(tmp_path / "stopped")
    again[0].load_state(tmp_path / "stopped")
    train(*again, range(STOP, STEPS))
    assert all(torch.equal(p, q) for p, q in zip(whole[1].parameters(), again[1].parameters(), strict=True))


def test_the_page_on_accelerate():
    names = run_block("docs/frameworks.md", "accelerate.Accelerator(", model=torch.nn.Linear(2, 2))
    assert names["optimizer"].param_groups[0]["weight_decay"] == 5e-4
