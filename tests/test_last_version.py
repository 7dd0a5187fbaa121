"""What version 0.1.0 wrote is read by this version, and means the same: checkpoints, addresses of runs, results."""

import json
import shutil
import warnings

import pytest
import torch
from drive import assert_close, flat, weights
from last_version import AFTER, BEFORE, FOLDER, SAVED, build, drive, state_of

from weightdecay.lab.run import Run
from weightdecay.lab.run.store import Store

TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-6}
CASES = [
    pytest.param(n, e, id=f"{n}-{e}", marks=[pytest.mark.slow] if e == "compiled" else [])
    for n, s in SAVED.items()
    for e in s.engines
]


def resumed(name, engine):
    """Return (weights, optimizer, content of the file), the weights and the optimizer as they were saved."""
    saved = SAVED[name]
    content = torch.load(FOLDER / f"{name}.pt", weights_only=True)
    params = weights(saved.dtype, seed=99)  # other weights: those of the file are what counts
    try:
        optimizer = build(saved, params, engine)
    except ValueError as refused:
        assert "Use engine=" in str(refused)  # noqa: PT017 - a combination that an engine refuses is not resumed
        return None
    with torch.no_grad():
        for p, value in zip((p for group in params for p in group), content["weights"], strict=True):
            p.copy_(value)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.load_state_dict(content["optimizer"])
    return params, optimizer, content


def whole(params, states):
    """The weights; those of 16 bits with what they could not hold."""
    return [
        w.double() + s["compensation"].double() if "compensation" in s else w
        for w, s in zip(params, states, strict=True)
    ]


@pytest.mark.parametrize(("name", "engine"), CASES)
def test_a_checkpoint_goes_on_where_it_went_on(name, engine):
    if (found := resumed(name, engine)) is None:
        return
    params, optimizer, content = found
    drive(optimizer, params, range(BEFORE, BEFORE + AFTER))
    states, expected = state_of(optimizer, params), content["after"]
    # A weight of 16 bits and its remainder hold 16 bits together, whatever an engine's order of operations is.
    tolerance = TOLERANCE.get(SAVED[name].dtype, 2**-16)
    assert_close(whole(flat(params), states), whole(expected["weights"], expected["state"]), tolerance)
    for ours, theirs in zip(states, expected["state"], strict=True):
        assert set(ours) == set(theirs)
        for slot in set(theirs) - {"compensation"}:
            assert ours[slot].dtype == theirs[slot].dtype
            assert_close([ours[slot]], [theirs[slot]], tolerance if slot != "step" else 0)


@pytest.mark.parametrize("name", SAVED)
def test_a_checkpoint_is_written_as_it_was(name):
    """Loaded and saved again it has the same keys, so that the last version could read what this one writes."""
    _, optimizer, content = resumed(name, SAVED[name].engine)
    again, before = optimizer.state_dict(), content["optimizer"]
    assert set(again) == set(before)
    assert again.get("weightdecay") == before.get("weightdecay")
    for ours, theirs in zip(again["param_groups"], before["param_groups"], strict=True):
        assert set(theirs) <= set(ours)
        assert all(ours[name] == value for name, value in theirs.items())
    for key, state in before["state"].items():
        assert set(again["state"][key]) == set(state)
        assert_close([again["state"][key][k] for k in state], list(state.values()), 0)


ADDRESSES = json.loads((FOLDER / "addresses.json").read_text())


@pytest.mark.parametrize("known", ADDRESSES, ids=[known["address"] for known in ADDRESSES])
def test_a_run_keeps_its_address(known):
    assert Run.from_json(known["run"]).address == known["address"]


def test_a_result_is_read(tmp_path):
    shutil.copytree(FOLDER / "runs", tmp_path / "runs")
    store = Store(tmp_path)
    (result,) = store.results()
    assert store.result(result.run) == result
    assert (result.status, len(result.epochs)) == ("finished", 2)
    assert result.run.address == next((tmp_path / "runs").iterdir()).name
    assert Run.from_json(json.loads((tmp_path / "runs" / result.run.address / "run.json").read_text())) == result.run
    assert store.of(result.run).epochs() == list(result.epochs)
