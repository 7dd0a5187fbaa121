"""timm's factory, its training script's arguments and its checkpoints with our optimizers."""

import argparse
import copy
import doctest

import pytest
import torch
from test_docs import run_block

import weightdecay as wd

STEPS = 7


@pytest.fixture(scope="module", autouse=True)
def _packages():
    """Imported here and not above: every worker of the suite reads this file, and one of them runs it."""
    global timm, ours, building, OF_TIMM, NAMES
    timm = pytest.importorskip("timm", reason="timm comes with weightdecay[peers]")
    pytest.importorskip("timm.utils")
    from weightdecay.integrations import building
    from weightdecay.integrations import timm as ours

    OF_TIMM = {name: timm.optim.get_optimizer_info(name) for name in timm.optim.list_optimizers()}
    NAMES = ours.register()


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.norm, self.head = torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1)

    def forward(self, x):
        return self.head(self.norm(self.body(x)).tanh())


def train(model, optimizer, steps):
    for step in steps:
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()


BUILT = [name for name in wd.available() if wd.catalog.optimizer(name).family != "orthogonal"]  # matrices only


@pytest.mark.parametrize("name", BUILT)
def test_every_name_is_in_the_registry_and_builds_what_the_catalog_says(name):
    row = wd.catalog.optimizer(name)
    for said in [f"wd-{name}", *({name} - set(OF_TIMM))]:
        model = Net()
        optimizer = timm.optim.create_optimizer_v2(model, opt=said, weight_decay=0.1)
        assert type(optimizer) is row.cls
        assert {p: g["weight_decay"] for g in optimizer.param_groups for p in g["params"]} == {
            p: 0.1 if p.ndim > 1 else 0.0 for p in model.parameters()
        }
        assert all(group["lr"] == row.default_lr for group in optimizer.param_groups)
        assert all(group.get("momentum", 0.9) == 0.9 for group in optimizer.param_groups)
        ahead = timm.optim.create_optimizer_v2(Net(), opt=f"lookahead_{said}", weight_decay=0.1)
        assert type(ahead._base_optimizer) is row.cls


def test_a_name_that_timm_has_stays_timms_unless_it_is_asked_for():
    assert {name: timm.optim.get_optimizer_info(name) for name in OF_TIMM} == OF_TIMM
    registry = copy.deepcopy(ours.default_registry)
    assert set(ours.register(registry=registry)) == set(NAMES)
    assert {"sgd", "adamw"} & set(NAMES) == set()
    assert {"sgd", "adamw"} <= set(ours.register(replace=True, registry=registry))
    assert registry.get_optimizer_class("adamw") is wd.AdamW


def test_an_optimizer_of_ones_own_is_there_too():
    class InTimm_S(wd.AdamS):  # noqa: N801 - timm splits names at "_"
        pass

    wd.register(InTimm_S)
    try:
        ours.register()
        assert type(timm.optim.create_optimizer_v2(Net(), opt="lookahead_intimm-s")._base_optimizer) is InTimm_S
    finally:
        wd.unregister(InTimm_S.__name__)


def arguments(*line):
    """The options of timm's train.py that reach the optimizer, as it declares them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--opt", default="sgd")
    parser.add_argument("--opt-eps", type=float)
    parser.add_argument("--opt-betas", type=float, nargs="+")
    parser.add_argument("--momentum", type=float, default=0.9)
    parser.add_argument("--weight-decay", type=float, default=2e-5)
    parser.add_argument("--opt-kwargs", nargs="*", default={}, action=timm.utils.ParseKwargs)
    parser.add_argument("--lr", type=float)
    parser.add_argument("--layer-decay", type=float)
    return parser.parse_args(line)


LINES = {
    "adams": "--opt adams --lr 0.01 --weight-decay 0.1 --opt-betas 0.9 0.95 --opt-eps 1e-7",
    "lookahead": "--opt lookahead_adams --lr 0.01 --weight-decay 0.1",
    "decay": "--opt wd-adam --lr 0.01 --weight-decay 0.1 --opt-kwargs decay=cautious(stable) engine=foreach",
    "sgds": "--opt sgds --lr 0.03 --weight-decay 0.1 --momentum 0.8",
}


def build(line):
    cfg, model = arguments(*line.split()), Net()
    return model, timm.optim.create_optimizer_v2(model, **timm.optim.optimizer_kwargs(cfg=cfg), **cfg.opt_kwargs)


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_a_run_of_the_script_that_is_stopped_goes_on_bit_for_bit(line, tmp_path):
    whole, optimizer = build(line)
    train(whole, optimizer, range(STEPS))
    plain, no_decay = build(line.replace("--weight-decay 0.1", "--weight-decay 0"))
    train(plain, no_decay, range(STEPS))
    assert not torch.equal(whole.body.weight, plain.body.weight)

    first, optimizer = build(line)
    train(first, optimizer, range(4))
    saved = {"state_dict": first.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 1, "version": 2}
    torch.save(saved, tmp_path / "last.pth.tar")

    second, optimizer = build(line)
    timm.models.resume_checkpoint(second, str(tmp_path / "last.pth.tar"), optimizer=optimizer, log_info=False)
    train(second, optimizer, range(4, STEPS))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), second.parameters(), strict=True))


def test_muon_takes_the_model():
    whole = {"param_group_fn": lambda model: model}
    optimizer = timm.optim.create_optimizer_v2(Net(), opt="muonadamw", weight_decay=0.1, **whole)
    assert [group["method"] for group in optimizer.param_groups] == ["muon", "adam", "adam"]


def test_what_its_docstring_shows():
    assert doctest.testmod(ours).failed == doctest.testmod(building).failed == 0


def test_the_scripts_numbers_arrive():
    _, optimizer = build(LINES["adams"])
    group = optimizer.param_groups[-1]
    assert [group[name] for name in ("lr", "betas", "eps", "weight_decay")] == [0.01, (0.9, 0.95), 1e-7, 0.1]
    assert build(LINES["sgds"])[1].param_groups[0]["momentum"] == 0.8
    assert build(LINES["decay"])[1].param_groups[0]["decay"] == wd.Cautious(wd.Stable())
    _, layered = build(LINES["adams"] + " --layer-decay 0.5")
    assert all("lr_scale" in group for group in layered.param_groups)


def test_the_page():
    names = run_block("docs/frameworks.md", "timm.optim", model=Net())
    assert type(names["optimizer"]) is wd.AdamS
    assert names["ahead"]._base_optimizer.param_groups[0]["decay"] == wd.Cautious(wd.Stable())
