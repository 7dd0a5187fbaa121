"""The loop: equal to a naive one, a function of its run, and the same bits wherever it was interrupted."""

import contextlib
import dataclasses
import math
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from forked import Forked
from lab import COMMAND, EVERY_STEP, SMALL, numbers, small
from small_data import photos

from weightdecay.lab import data, models
from weightdecay.lab.run import PERPLEXITY, Place, Run, options
from weightdecay.lab.run.interrupt import Stop, Stopped, on_signals
from weightdecay.lab.run.store import Store, StoreError
from weightdecay.lab.training import train as training
from weightdecay.lab.training.schedule import lr_at
from weightdecay.lab.training.train import check, train

HERE = Place(download=False, workers=0)

TEXT = Run(
    "adam",
    lr=1e-2,
    weight_decay=1e-6,
    seed=1,
    epochs=2,
    batch_size=20,
    schedule="constant",
    max_grad_norm=0.5,
    data="pydoc",
    train_size=2500,
    network="lstm",
    network_options=options(embedding=8, hidden=8, layers=2, dropout=0.5),
)


def of_text(**changes):
    return dataclasses.replace(TEXT, data_digest=data.digest("pydoc", HERE), **changes)


class After(Stop):
    """The wish to stop, from the step after so many looks on."""

    def __init__(self, looks):
        super().__init__()
        self.looks = looks

    def __bool__(self):
        self.looks -= 1
        self.by = signal.SIGTERM
        return self.looks < 0


# ---------------------------------------------------------------- runs


def test_a_runs_address_names_everything_that_decides_it():
    addresses = {SMALL.address}
    for field in dataclasses.fields(Run):
        value = getattr(SMALL, field.name)
        if field.name == "start":
            other = SMALL
        elif isinstance(value, tuple):
            other = options(other=1) if "options" in field.name else (0.5,)
        else:
            other = value + "x" if isinstance(value, str) else (not value) if isinstance(value, bool) else value + 1
        addresses.add(small(**{field.name: other}).address)
    assert len(addresses) == len(dataclasses.fields(Run)) + 1
    assert small().address == SMALL.address


def test_a_run_comes_back_from_json_with_its_address():
    import json

    run = of_text(milestones=(0.1, 0.2))
    assert Run.from_json(json.loads(json.dumps(dataclasses.asdict(run)))) == run


# ---------------------------------------------------------------- the naive loop


@pytest.mark.parametrize(("clip", "strengths"), [(0.0, ""), (0.7, "follow(2)")])
def test_the_loop_is_the_naive_one(clip, strengths):
    """torch.optim.SGD, float64, an epoch whose last batch is smaller, a cosine with warm-up, L2, momentum, clipping."""
    run = small(
        optimizer="sgd",
        lr=0.05,
        weight_decay=1e-2,
        epochs=3,
        train_size=150,
        validation_size=40,
        optimizer_options=options(momentum=0.9),
        schedule="cosine",
        warmup=1.0,
        dtype="float64",
        max_grad_norm=clip,
        weight_decay_schedule=strengths,
    )
    result = train(run, place=HERE)
    read = data.load(run, HERE)
    model = models.build(run.network, read.facts, run.seed, run.network_options).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9, weight_decay=1e-2)
    loss_of = torch.nn.functional.cross_entropy
    for epoch in (1, 2, 3):
        model.train()
        losses, count = 0.0, 0
        for step, batch in enumerate(read.train(epoch)):
            lr = lr_at(run, (epoch - 1) * read.steps + step, read.steps)
            strength = 1e-2 * (lr / 0.05) ** 2 if strengths else 1e-2
            optimizer.param_groups[0].update(lr=lr, weight_decay=strength)
            optimizer.zero_grad()
            loss = loss_of(model(batch.inputs), batch.targets)
            loss.backward()
            if clip:
                torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            losses, count = losses + loss.item() * len(batch.targets), count + len(batch.targets)
        model.eval()
        measured = result.epochs[epoch - 1]
        assert count == 150
        assert measured.train_loss == pytest.approx(losses / count, rel=1e-9)
        with torch.no_grad():
            for name, batches in (("test", read.test()), ("validation", read.validation())):
                outputs, targets = zip(*((model(b.inputs), b.targets) for b in batches), strict=True)
                outputs, targets = torch.cat(outputs), torch.cat(targets)
                wrong = 100 * (outputs.argmax(1) != targets).double().mean().item()
                assert getattr(measured, name) == pytest.approx(wrong, abs=1e-9)
                expected = loss_of(outputs, targets).item()
                assert getattr(measured, f"{name}_loss") == pytest.approx(expected, rel=1e-8)
    squares = sum(p.square().sum() for p in model.parameters())
    assert result.epochs[-1].weight_norm == pytest.approx(squares.sqrt().item(), rel=1e-9)
    chosen = min(result.epochs, key=lambda one: one.validation)
    assert result.selected == chosen.test


def test_a_text_is_judged_by_perplexity_and_the_state_is_carried_on():
    run = of_text(
        epochs=1, max_grad_norm=0.0, dtype="float64", network_options=options(embedding=8, hidden=8, dropout=0.0)
    )
    result = train(run, place=HERE)
    read = data.load(run, HERE)
    model = models.build(run.network, read.facts, run.seed, run.network_options).double()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, weight_decay=1e-6)
    loss_of = torch.nn.functional.cross_entropy
    carried, total, count = None, 0.0, 0
    for batch in read.train(1):
        optimizer.zero_grad()
        outputs, carried = model(batch.inputs, carried)
        carried = tuple(part.detach() for part in carried)
        loss = loss_of(outputs.flatten(0, 1), batch.targets.flatten())
        loss.backward()
        optimizer.step()
        total, count = total + loss.item() * batch.targets.numel(), count + batch.targets.numel()
    assert result.metric == PERPLEXITY
    assert result.epochs[0].train_loss == pytest.approx(total / count, rel=1e-9)
    model.eval()
    with torch.no_grad():  # the test text in one piece
        tokens = torch.cat([batch.inputs for batch in read.test()])
        targets = torch.cat([batch.targets for batch in read.test()])
        expected = loss_of(model(tokens, None)[0].flatten(0, 1), targets.flatten()).exp().item()
    assert result.last == pytest.approx(expected, rel=1e-7)


# ---------------------------------------------------------------- equal runs, equal results


@pytest.mark.parametrize("run", [small(optimizer="sgds"), small(optimizer="yogi", epochs=2)], ids=lambda r: r.optimizer)
def test_equal_runs_give_equal_results_whatever_the_global_generator(run):
    torch.manual_seed(1)
    first = train(run)
    torch.manual_seed(2)
    torch.rand(7)
    before = torch.get_rng_state()
    assert numbers(train(run)) == numbers(first)
    assert torch.equal(torch.get_rng_state(), before)
    assert train(dataclasses.replace(run, seed=1)).weights != first.weights


def test_a_run_learns_and_measures_what_it_says():
    result = train(small(epochs=12, train_size=512, label_noise=0.0, network_options=options(width=8)))
    assert result.status == "finished"
    assert [epoch.epoch for epoch in result.epochs] == list(range(1, 13))
    assert result.last < 10 < result.epochs[0].test  # chance is 90
    assert (result.skipped_steps, result.clamped_steps) == (0, 0)
    assert len(result.weights) == 64


def test_the_effective_lr_is_the_lr_times_the_mean_gain():
    result = train(small(optimizer="sgds", lr=0.05, optimizer_options=options(momentum=0.9)))
    for epoch in result.epochs:
        assert epoch.effective_lr == pytest.approx(epoch.lr / (1 - 0.9), rel=1e-6)
        assert epoch.grad_norm > 0


@pytest.mark.parametrize("able", [True, False])
def test_an_lstm_in_bfloat16_is_trained_or_refused_in_one_line(able, monkeypatch):
    """Where the CPU has no such primitive: before anything is trained, with the way out."""
    monkeypatch.setattr(training, "lstm_in_bfloat16", lambda: able)
    run, cpu = of_text(dtype="bfloat16"), torch.device("cpu")
    recurrent, other = torch.nn.Sequential(torch.nn.LSTM(2, 2)), torch.nn.GRU(2, 2)
    with contextlib.nullcontext() if able else pytest.raises(ValueError, match="Use dtype='float32'"):
        training.can_be_computed(run, recurrent, cpu)
    training.can_be_computed(run, other, cpu)
    training.can_be_computed(run, recurrent, torch.device("cuda"))
    training.can_be_computed(dataclasses.replace(run, dtype="float32"), recurrent, cpu)


def test_whether_an_lstm_can_be_computed_in_bfloat16_is_true_of_this_cpu():
    before = torch.get_rng_state()
    able = training.lstm_in_bfloat16.__wrapped__()
    assert torch.equal(before, torch.get_rng_state())
    if able:
        assert train(of_text(dtype="bfloat16", epochs=1)).status == "finished"
    else:
        with pytest.raises(ValueError, match="torch cannot compute an LSTM in bfloat16 on this CPU"):
            train(of_text(dtype="bfloat16", epochs=1))


def test_bfloat16_keeps_weights_in_float32_and_learns_the_same_within_its_rounding():
    plain, half = (train(small(epochs=6, train_size=512, dtype=dtype)) for dtype in ("float32", "bfloat16"))
    assert half.epochs[-1].train_loss == pytest.approx(plain.epochs[-1].train_loss, rel=0.05)
    assert half.weights != plain.weights


@pytest.mark.slow
def test_a_compiled_network_learns_the_same():
    """Without batch norm and in two batches of one size: every operation and every size takes seconds to compile."""
    network = {"network": "smallcnn", "network_options": options(width=8, norm=False)}
    run = small(epochs=2, **network, optimizer="sgd", dtype="float64", train_size=128)
    plain, compiled = (train(dataclasses.replace(run, compile=compile)) for compile in (False, True))
    for a, b in zip(plain.epochs, compiled.epochs, strict=True):
        assert b.train_loss == pytest.approx(a.train_loss, rel=1e-9)
        assert b.test == pytest.approx(a.test)


def test_a_diverged_run_is_a_result(tmp_path):
    store, run = Store(tmp_path), small(optimizer="sgd", lr=1e30, epochs=5)
    result = train(run, store)
    assert result.status == "diverged"
    assert result.epochs[-1].train_loss is None
    assert result.last > 50
    assert len(result.epochs) < 5
    assert store.result(run) == result
    text = train(of_text(optimizer="sgd", lr=1e30, max_grad_norm=0.0), place=HERE)
    assert text.status == "diverged"
    assert text.last == math.inf


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"optimizer": "adms"}, "no optimizer is called 'adms'. Did you mean 'adams'"),
        ({"network": "resnet9"}, "no network is called 'resnet9'. Did you mean 'resnet8'"),
        ({"dtype": "float16"}, "dtype='float16': use one of float32"),
        ({"strategy": "dpp"}, "no strategy is called 'dpp'. Did you mean 'ddp'"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"lr": -1.0}, "lr=-1"),
        ({"optimizer_options": options(momentun=0.9)}, "momentun"),
        ({"processes": 2}, r"the run is one of 2 processes, and 1 came. Start it with torchrun --nproc-per-node 2"),
        ({"data": "ptbb"}, "no data set is called 'ptbb'. Did you mean 'ptb'"),
        ({"data": "pydoc"}, "'resnet8' is for images, and the data are tokens"),
    ],
)
def test_what_cannot_be_trained_is_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        train(small(**{**wrong, "label_noise": 0.0, "train_size": 0}), place=HERE)


def test_a_grid_is_checked_before_anything_is_trained():
    check(SMALL)
    with pytest.raises(ValueError, match="schedule"):
        check(small(schedule="x"))


# ---------------------------------------------------------------- interrupted


@pytest.mark.parametrize("kind", ["images", "text", "photos"])
def test_a_run_stopped_after_any_step_continues_bit_for_bit(kind, tmp_path):
    """By a wish to stop: also in the middle of an epoch, of a text whose state is carried, with dropout."""
    if kind == "photos":
        root = photos(tmp_path / "photos")
        network = {"network": "smallcnn", "network_options": options(width=8)}
        run = small(data=f"images:{root}", **network, batch_size=3, train_size=0, epochs=2)
        run = dataclasses.replace(run, data_digest=data.digest(run.data, HERE))
    else:
        run = of_text() if kind == "text" else small(epochs=2, train_size=150, weight_decay_schedule="rise")
    whole = train(run, place=HERE)
    steps = data.load(run, HERE).steps * run.epochs
    assert steps > 3
    for looks in range(steps - 1):
        store = Store(tmp_path / f"after {looks}")
        with pytest.raises(Stopped):
            train(run, store, HERE, stop=After(looks))
        assert store.result(run) is None
        assert numbers(train(run, store, HERE)) == numbers(whole)
        assert store.of(run).epochs() == list(whole.epochs)


def test_without_a_checkpoint_nothing_is_lost_but_time(tmp_path):
    store, run = Store(tmp_path), small(epochs=3)
    seen = []

    def die(epoch):
        seen.append(epoch.epoch)
        if len(seen) == 2:
            raise RuntimeError("the power went")

    with pytest.raises(RuntimeError):
        train(run, store, Place(checkpoint_seconds=1e9), on_epoch=die)
    assert numbers(train(run, store)) == numbers(train(run))
    assert [epoch.epoch for epoch in store.of(run).epochs()] == [1, 2, 3]


def test_a_finished_run_is_not_trained_again(tmp_path):
    store = Store(tmp_path)
    first = train(SMALL, store)
    assert train(SMALL, store, on_epoch=lambda _: pytest.fail("it was")) == first


def test_a_changed_optimizer_is_refused(tmp_path, monkeypatch):
    """The same run, after an update of the library has changed what its optimizer does."""
    store = Store(tmp_path)
    with pytest.raises(Stopped):
        train(SMALL, store, EVERY_STEP, stop=After(3))
    original = training.optimizer_of

    def changed(run, model, fresh=()):
        optimizer = original(run, model, fresh)
        optimizer.param_groups[0]["eps"] = 1e-6
        return optimizer

    monkeypatch.setattr(training, "optimizer_of", changed)
    with pytest.raises(
        StoreError, match=r"made by another optimizer: eps was 1e-08 and is 1e-06. .*move that folder away"
    ):
        train(SMALL, store)


@pytest.mark.parametrize("decay", ["hyperball", "radialbrake(0.5)", "cautious(hyperball)"])
def test_a_constraint_on_norms_acts_on_the_matrices_of_a_network_and_leaves_its_vectors(decay):
    run = dataclasses.replace(SMALL, optimizer="adam", weight_decay=1.0, optimizer_options=options(decay=decay))
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    matrices, rest = training.optimizer_of(run, model).param_groups
    assert [p.ndim for p in matrices["params"]] == [2]
    assert [p.ndim for p in rest["params"]] == [1, 1, 1]
    assert (matrices["weight_decay"], rest["weight_decay"]) == (1.0, 0.0)
    assert train(run).status == "finished"


KILLED = """
import json, sys
from pathlib import Path
import torch
from weightdecay.lab.run import Place, Run
from weightdecay.lab.run.store import Store
from weightdecay.lab.training.train import train
if __name__ == "__main__":
    torch.set_num_threads(1)
    run = Run.from_json(json.loads(sys.argv[1]))
    place = Place(checkpoint_seconds=0, workers=int(sys.argv[3]), download=False)
    print(train(run, Store(sys.argv[2]), place, on_epoch=lambda e: print(e.epoch, flush=True)).weights)
"""


def written(path):
    """When the file was written; 0 where there is none, as between the two renames of a checkpoint."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["text", "photos with workers"])
def test_killed_again_and_again_the_weights_are_those_of_an_uninterrupted_run(kind, tmp_path):
    """SIGKILL at moments that nobody chose, to the process alone: its workers must not keep the run locked."""
    import json

    if kind == "photos with workers":
        root = photos(tmp_path / "photos", each=12)
        network = {"network": "smallcnn", "network_options": options(width=8)}
        run = small(data=f"images:{root}", **network, batch_size=2, train_size=0, epochs=3)
        run = dataclasses.replace(run, data_digest=data.digest(run.data, HERE))
    else:
        run = of_text(epochs=6) if kind == "text" else small(epochs=20, train_size=500, batch_size=16)
    store = Store(tmp_path / "store")

    def start():
        workers = "2" if "workers" in kind else "0"
        arguments = (json.dumps(dataclasses.asdict(run)), store.folder, workers)
        return Forked(KILLED, *arguments, stdout=subprocess.PIPE, text=True)

    kills = 0
    for wait in (0.0, 0.3):
        process = start()
        marks = (store.of(run).newest, store.of(run).path / "result.json")
        seen = [written(mark) for mark in marks]
        while [written(mark) for mark in marks] == seen and process.poll() is None:
            time.sleep(0.005)
        time.sleep(wait)
        process.kill()
        kills += process.wait(60) == -signal.SIGKILL
        process.stdout.close()
    assert kills
    last = start()
    said = last.communicate(timeout=300)[0].split()
    assert last.returncode == 0
    assert said[-1] == train(run, place=HERE).weights


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status", "name"), [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")]
)
def test_the_command_finishes_the_step_keeps_a_checkpoint_and_says_so(number, status, name, tmp_path):
    words = ["--train-size", "1500", "--epochs", "200", "--batch-size", "8", "--device", "cpu", "--threads", "1"]
    words = ["train", "--out", tmp_path, *words]
    process = Forked(COMMAND, *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline().startswith("epoch 1/200  lr 0.001")
    process.send_signal(number)
    err = process.communicate(timeout=60)[1]
    assert process.returncode == status
    (folder,) = (tmp_path / "runs").iterdir()
    assert err == f"stopped by {name}: the trained part is kept in {folder}; the same command continues.\n"
    assert (folder / "checkpoint.pt").exists()


def test_a_second_signal_acts_unless_it_is_the_first_one_passed_on():
    with on_signals() as stop:
        assert not stop
        signal.raise_signal(signal.SIGINT)
        assert stop
        assert (stop.stopped.status, stop.stopped.name) == (130, "Ctrl-C")
        signal.raise_signal(signal.SIGINT)  # passed on by somebody: the same wish
        stop.since -= 2
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_paths_of_data_are_found_in_the_folder_of_the_data_sets(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    place = Place(data=tmp_path)
    assert place.find("mine") == tmp_path / "mine"
    assert place.find(str(tmp_path / "mine")) == tmp_path / "mine"
    assert place.find("nowhere") == Path("nowhere")
