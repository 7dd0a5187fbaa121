"""Checkpoints of an optimizer with a decay attached: a run goes on, from its own or from another's."""

import copy
import io

import pytest
import torch
from drive import assert_close, drive, flat, gradients, joined, weights
from twins import ADAM, STABLE, STEPS, TWINS, Rounded, build, groups_of, pair

import weightdecay as wd
from weightdecay import attach


def through_a_file(state_dict):
    file = io.BytesIO()
    torch.save(state_dict, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def clone_of(params):
    return [[torch.nn.Parameter(p.detach().clone()) for p in group] for group in params]


@pytest.mark.parametrize("name", TWINS)
def test_a_checkpoint_in_mid_run_resumes_bit_exactly(name):
    (a, theirs, handle), _ = pair(name, STABLE)
    run = gradients(STEPS)
    drive(theirs, a, run[: STEPS // 2])
    _, _, options, implementation = TWINS[name]
    b = clone_of(a)
    again = type(theirs)(groups_of(b, options, 7.0), weight_decay=7.0, **options, **implementation)
    resumed = attach(again, STABLE.decay)
    again.load_state_dict(through_a_file(theirs.state_dict()))
    assert [g["weight_decay"] for g in again.param_groups] == [g["weight_decay"] for g in theirs.param_groups]
    drive(theirs, a, run[STEPS // 2 :])
    drive(again, b, run[STEPS // 2 :])
    assert all(torch.equal(x, y) for x, y in zip(flat(a), flat(b), strict=True))
    assert resumed.mean_square == handle.mean_square
    assert "attached" not in again.param_groups[0]


def test_an_8_bit_optimizer_resumes_too_however_it_loads():
    """As bitsandbytes does: a load_state_dict of its own, which runs no hooks."""

    class Adam8bit(Rounded):
        def load_state_dict(self, state_dict):
            saved = copy.deepcopy(state_dict)
            for group, new in zip(self.param_groups, saved["param_groups"], strict=True):
                new["params"] = group["params"]
            params = [p for group in self.param_groups for p in group["params"]]
            state = {params[i]: values for i, values in saved["state"].items()}
            self.__setstate__({"state": state, "param_groups": saved["param_groups"]})

    a = weights()
    first = Adam8bit(joined(a), weight_decay=0.1)
    handle = attach(first, wd.Stable())
    run = gradients(STEPS)
    drive(first, a, run[: STEPS // 2])
    b = clone_of(a)
    second = Adam8bit(joined(b), weight_decay=0.3)
    resumed = attach(second, wd.Stable())
    second.load_state_dict(through_a_file(first.state_dict()))
    drive(first, a, run[STEPS // 2 :])
    drive(second, b, run[STEPS // 2 :])
    assert resumed.mean_square == handle.mean_square
    assert all(torch.equal(x, y) for x, y in zip(flat(a), flat(b), strict=True))


@pytest.mark.parametrize("late", ["attached in mid-run", "loaded into an attached one", "copied"])
def test_goes_on_from_the_moments_of_a_plain_optimizer(late):
    a, b = weights(), weights()
    theirs, mine = torch.optim.AdamW(joined(a), weight_decay=0.0, **ADAM), wd.AdamS(joined(b), weight_decay=0.0, **ADAM)
    run = gradients(STEPS)
    drive(theirs, a, run[: STEPS // 2])
    drive(mine, b, run[: STEPS // 2])
    if late == "attached in mid-run":
        attach(theirs, wd.Stable(), weight_decay=0.3)
    elif late == "copied":
        attach(theirs, wd.Stable(), weight_decay=0.3)
        params, theirs = copy.deepcopy((joined(a), theirs))
        a = [params[:2], params[2:]]
    else:
        saved = theirs.state_dict()
        theirs = torch.optim.AdamW(joined(a), weight_decay=0.3, **ADAM)
        attach(theirs, wd.Stable())
        with pytest.warns(
            UserWarning, match=r"no decay was attached, weight_decay=0.0: .* keeps weight_decay=0.3"
        ) as said:
            theirs.load_state_dict(saved)
        assert len(said) == 1
    mine.param_groups[0]["weight_decay"] = 0.3
    drive(theirs, a, run[STEPS // 2 :])
    drive(mine, b, run[STEPS // 2 :])
    assert_close(flat(a), flat(b))


def test_the_account_of_a_checkpoint_is_not_believed_when_steps_have_passed_without_it():
    a = weights()
    attached, _ = build(a)
    run = gradients(STEPS)
    drive(attached, a, run[:5])
    plain = torch.optim.AdamW(joined(a), **ADAM)
    plain.load_state_dict(attached.state_dict())
    drive(plain, a, run[5:10])
    again, handle = build(a)
    again.load_state_dict(plain.state_dict())
    drive(again, a, run[10:11])
    live = [again.state[p] for p in joined(a) if p.grad is not None]
    v = torch.cat([(s["exp_avg_sq"] / (1 - 0.99 ** s["step"].double())).flatten() for s in live])
    assert handle.mean_square == pytest.approx(v.mean().item(), rel=1e-12)


def test_lambda_of_another_decay_is_not_taken():
    a, b = weights(), weights()
    one = torch.optim.AdamW(joined(a), weight_decay=0.5, **ADAM)
    attach(one, wd.Decoupled())
    two = torch.optim.AdamW(joined(b), weight_decay=0.1, **ADAM)
    attach(two, wd.Stable())
    drive(one, a, gradients(3))
    with pytest.warns(UserWarning, match=r"written with decay=Decoupled\(\), weight_decay=0.5.*keeps weight_decay=0.1"):
        two.load_state_dict(one.state_dict())
    assert two.param_groups[0]["weight_decay"] == 0.1


def test_our_own_checkpoint_goes_on_with_torchs_kernels():
    a, b = weights(), weights()
    mine, theirs = wd.AdamS(joined(a), weight_decay=0.3, **ADAM), torch.optim.AdamW(joined(b), weight_decay=0.1, **ADAM)
    attach(theirs, wd.Stable())
    run = gradients(STEPS)
    drive(mine, a, run[: STEPS // 2])
    with torch.no_grad():
        for p, q in zip(joined(a), joined(b), strict=True):
            q.copy_(p)
    theirs.load_state_dict(copy.deepcopy(mine.state_dict()))  # torch shares what it loads
    assert theirs.param_groups[0]["weight_decay"] == 0.3
    drive(mine, a, run[STEPS // 2 :])
    drive(theirs, b, run[STEPS // 2 :])
    assert_close(flat(a), flat(b))


def test_survives_the_round_trip_of_distributed_checkpoints():
    """There every entry of a checkpoint but the state and the groups is lost; ours is in the groups."""
    home = pytest.importorskip("torch.distributed.checkpoint.state_dict")
    run = []
    for strength in (0.1, 0.7):
        model = torch.nn.Linear(3, 2, dtype=torch.float64)
        optimizer = torch.optim.AdamW(model.parameters(), weight_decay=strength, **ADAM)
        run.append((model, optimizer, attach(optimizer, wd.Stable())))
    (model, optimizer, handle), (other, fresh, resumed) = run
    for t in range(3):
        optimizer.zero_grad()
        model(torch.full((3,), float(t), dtype=torch.float64)).square().sum().backward()
        optimizer.step()
    home.set_optimizer_state_dict(other, fresh, home.get_optimizer_state_dict(model, optimizer))
    assert list(resumed.squares().values()) == list(handle.squares().values())
    assert fresh.param_groups[0]["weight_decay"] == 0.1


def test_counters_travel():
    optimizer, handle = build(params := weights(), strength=1e9)
    drive(optimizer, params, gradients(3))
    other, resumed = build(weights(), strength=1.0)
    other.load_state_dict(through_a_file(optimizer.state_dict()))
    assert resumed.clamped_steps == handle.clamped_steps == 3


def test_removed_it_is_the_plain_optimizer():
    a, b = weights(), weights()
    (optimizer, handle), plain = build(a), torch.optim.AdamW(joined(b), weight_decay=0.1, **ADAM)
    run = gradients(STEPS)
    drive(optimizer, a, run[: STEPS // 2])
    handle.remove()
    with torch.no_grad():
        for p, q in zip(joined(a), joined(b), strict=True):
            q.copy_(p)
    plain.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    drive(optimizer, a, run[STEPS // 2 :])
    drive(plain, b, run[STEPS // 2 :])
    assert all(torch.equal(x, y) for x, y in zip(flat(a), flat(b), strict=True))
    attach(optimizer, wd.Stable())  # may be attached again
    handle.remove()  # twice does nothing
    with pytest.raises(ValueError, match="has a decay attached"):
        attach(optimizer, wd.Stable())
