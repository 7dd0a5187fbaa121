"""torchtitan's container with our optimizers, through its flat checkpoints; where torchtitan is installed."""

import warnings

import pytest
import torch
from test_docs import run_block

STEPS, STOP = 6, 3


@pytest.fixture(scope="module")
def config():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of packages that it imports
        pytest.importorskip("torchtitan.components.optimizer", reason="torchtitan is installed by hand")
        return run_block("docs/frameworks.md", "OptimizersContainer.Config")["config"]


def build(config):
    torch.manual_seed(0)
    parts = {"up": torch.nn.Linear(3, 4), "norm": torch.nn.LayerNorm(4), "down": torch.nn.Linear(4, 1)}
    model = torch.nn.Sequential()
    for name, part in parts.items():
        model.add_module(name, part)
    return model, config.build(model_parts=[model])


def train(model, container, steps):
    for step in steps:
        container.zero_grad()
        model(torch.randn(8, 3, generator=torch.Generator().manual_seed(step))).square().mean().backward()
        container.step()


@pytest.mark.filterwarnings("ignore:torch.distributed is")
def test_a_run_that_is_stopped_goes_on_bit_for_bit(config, tmp_path):
    import torch.distributed.checkpoint as dcp

    whole, container = build(config)
    train(whole, container, range(STEPS))
    assert [group["weight_decay"] for group in container.optimizers[0].param_groups] == [0.0, 5e-4]
    first, container = build(config)
    train(first, container, range(STOP))
    dcp.save({"model": first.state_dict(), "optim": container.state_dict()}, checkpoint_id=tmp_path, no_dist=True)
    again, container = build(config)
    state = {"model": again.state_dict(), "optim": container.state_dict()}
    dcp.load(state, checkpoint_id=tmp_path, no_dist=True)
    again.load_state_dict(state["model"])
    container.load_state_dict(state["optim"])
    train(again, container, range(STOP, STEPS))
    assert all(torch.equal(p, q) for p, q in zip(whole.parameters(), again.parameters(), strict=True))
