"""The processes of test_processes.py, a program for ``torchrun``; the runs that it trains are here too.

Two ways to start it:

    processes_worker.py measured FOLDER STEP COMMAND…   every scenario, what came of it written to FOLDER; then as below
    processes_worker.py held FOLDER STEP COMMAND…       the command, which waits in that step until a signal has come

The first goes on to the second because every start takes many seconds of importing.
"""

import contextlib
import dataclasses
import functools
import hashlib
import io
import json
import os
import sys
import time
from pathlib import Path

import torch
from torch import nn

from weightdecay.lab import data as datasets
from weightdecay.lab.cli.command import main, parse
from weightdecay.lab.cli.train import run_of
from weightdecay.lab.data import DataError, digits
from weightdecay.lab.run import Place, Run, options
from weightdecay.lab.run.interrupt import Stop, Stopped
from weightdecay.lab.run.store import RunFolder, Store, StoreError
from weightdecay.lab.training import processes, sound
from weightdecay.lab.training.task import Named
from weightdecay.lab.training.train import Training, train

PLACE = Place(download=False, workers=0)
OFTEN = dataclasses.replace(PLACE, checkpoint_seconds=0)
RARELY = dataclasses.replace(PLACE, checkpoint_seconds=1e9)
RANK = int(os.environ.get("RANK", "0"))

# ---------------------------------------------------------------- what is trained

IMAGES = Run(
    "adams",
    lr=3e-3,
    weight_decay=0.05,
    seed=3,
    epochs=3,
    batch_size=64,
    train_size=149,  # the last batch has 21, of which the first process has 11
    validation_size=31,
    label_noise=0.1,
    schedule="cosine",
    warmup=1.0,
    max_grad_norm=0.7,
    dtype="float64",
    network="convolutions of the test",
)


START = dataclasses.replace(IMAGES, seed=4, epochs=1)


def write_text(folder):
    """Write the text that is read, before any process is started."""
    state, words = 1, []
    for _ in range(1600):
        state = state * 48271 % 2147483647
        words.append("abcdefghijklmnop"[min(state % 16, state // 16 % 16)])
    (folder / "text.txt").write_text("".join(" ".join(words[i : i + 8]) + "\n" for i in range(0, len(words), 8)))


def text(folder, **changes):
    """Seven columns, of which the first process has four; the last step of an epoch is shorter."""
    file = Path(folder) / "text.txt"
    run = dataclasses.replace(
        IMAGES,
        batch_size=7,
        train_size=430,
        validation_size=0,
        label_noise=0.0,
        sequence=10,
        epochs=2,
        data=f"text:{file}",
        data_digest=datasets.digest(f"text:{file}", PLACE),
        network="lstm",
        network_options=options(embedding=6, hidden=6, layers=2, dropout=0.0),
    )
    return dataclasses.replace(run, **changes)


def runs(folder):
    """Name → (a run, of one process, without batch norm and dropout; parameters from which on a child is sharded)."""
    dropout = options(embedding=6, hidden=6, dropout=0.5)
    return {
        "images/ddp": IMAGES,
        "images/fsdp": dataclasses.replace(IMAGES, strategy="fsdp"),
        "images/fsdp in units": dataclasses.replace(IMAGES, strategy="fsdp", optimizer="amsgrads", max_grad_norm=0.0),
        "start/ddp": dataclasses.replace(IMAGES, start=START),
        "start/fsdp": dataclasses.replace(IMAGES, strategy="fsdp", start=START),
        "text/ddp": text(folder, optimizer="adam", weight_decay=1e-5),
        "text/fsdp": text(folder, strategy="fsdp"),
        "text/fsdp in units": text(folder, strategy="fsdp", max_grad_norm=0.0),
        "dropout/ddp": text(folder, network_options=dropout, dtype="float32"),
        "dropout/fsdp": text(folder, network_options=dropout, dtype="float32", strategy="fsdp"),
    }


@functools.cache
def augmented():
    """The digits, cropped and flipped: no digits any more, but augmented images."""
    return dataclasses.replace(digits.pictures(180), margin=1)


def rows(inputs):
    """Return a short name for each image, or each column of a text, sorted."""
    each = inputs.flatten(1) if inputs.is_floating_point() else inputs.t()
    return sorted(hashlib.sha256(row.contiguous().numpy().tobytes()).hexdigest()[:12] for row in each)


class Tested(Named):
    """Builds a network without batch norm, and remembers it, what it saw, and a number drawn in every step."""

    def __init__(self, before_step=None):
        self.drawn, self.seen, self.before_step = [], [], before_step

    def check(self, run):
        if run.network != IMAGES.network:
            super().check(run)

    def load(self, run, place):
        return augmented().data(run, place) if run.data == "digits" else super().load(run, place)

    def build(self, run, facts):
        if run.network != IMAGES.network:
            self.model = super().build(run, facts)
            return self.model
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(run.seed)
            layers = (nn.Conv2d(facts.channels, 5, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten())
            self.model = nn.Sequential(*layers, nn.Linear(5 * (facts.size // 2) ** 2, facts.classes))
            return self.model

    def forward(self, model, inputs, carried):
        if model.training:
            self.drawn.append(torch.rand(()).item())
            self.seen.append(rows(inputs))
            if self.before_step:
                self.before_step(len(self.drawn))
        return super().forward(model, inputs, carried)


def trained(run, store=None, **more):
    """Train; return the result and the whole weights, while the processes are still joined."""
    task = Tested()
    result = train(run, store, OFTEN, task=task, **more)
    weights = processes.whole(dict(task.model.state_dict()))
    lists = {name: value.tolist() for name, value in weights.items()}
    return {"result": result.to_json(), "weights": lists, "drawn": task.drawn, "seen": task.seen}


def command(folder, *more):
    """Words of a run of the command, with carried state and dropout: 4 epochs of 6 steps."""
    network = ["--network", "lstm", "--network-options", "embedding=6", "hidden=6", "dropout=0.5"]
    sizes = ["--batch-size", "7", "--train-size", "430", "--sequence", "10", "--epochs", "4"]
    where = ["--data", text(folder).data, "--out", str(Path(folder) / "command"), "--device", "cpu", "--threads", "1"]
    return ["train", *network, *sizes, *where, "--lr", "0.01", *more]


def commanded(folder):
    """Return the run of two processes that the command trains."""
    return run_of(parse(command(folder)), text(folder).data_digest, 2)


# ---------------------------------------------------------------- what is measured


class After(Stop):
    """One process's wish to stop, from the step after so many looks on; the others have none."""

    def __init__(self, looks):
        super().__init__()
        self.looks = looks if RANK == 1 else 10**9

    def __bool__(self):
        self.looks -= 1
        return self.looks < 0


def raised(run, **more):
    """Return what each process got instead of a result."""
    try:
        train(run, place=OFTEN, **{"task": Tested(), **more})
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def equal_to_one_process(folder):
    found = {}
    with processes.joined(PLACE):  # train() is content with those who have been joined
        for name, run in runs(folder).items():
            processes.SHARD_FROM = 1 if "units" in name else 1_000_000
            start = run.start and dataclasses.replace(run.start, processes=2)
            found[name] = trained(dataclasses.replace(run, processes=2, start=start))
    return found


def stopped_by_one(folder):
    """Every process leaves at the same step, and comes back; each time they join and part."""
    found = {}
    for name in ("dropout/ddp", "dropout/fsdp"):
        run, store = dataclasses.replace(runs(folder)[name], processes=2), Store(folder / name.replace("/", "-"))
        times = 0
        for looks in (0, 2, 2):
            try:
                train(run, store, RARELY, task=Tested(), stop=After(looks))
            except Stopped:
                times += 1
        found[name] = {"times": times, "weights": train(run, store, RARELY, task=Tested()).weights}
    return found


def diverging(folder):
    run = dataclasses.replace(IMAGES, optimizer="sgd", lr=1e200, max_grad_norm=0.0, processes=2)
    return [
        train(dataclasses.replace(run, strategy=strategy), place=PLACE, task=Tested()).to_json()
        for strategy in sound.STRATEGIES
    ]


class WithoutData(Tested):
    def load(self, run, place):
        if place.rank == 1:
            raise DataError("the disk of this process is empty")
        return super().load(run, place)


class OddError(Exception):
    """One that cannot be sent: what is sent is what it says."""

    def __init__(self, one, other):
        super().__init__(f"{one} and {other}")


def failing(folder):
    """What all processes raise where one has failed, or all."""
    run = dataclasses.replace(IMAGES, processes=2)

    def odd(_epoch):
        raise OddError("one", "other")

    def fall(step):
        if RANK == 1 and step == 3:
            raise RuntimeError("one of the processes fell over")

    found = {
        "one too few": raised(dataclasses.replace(run, processes=1)),
        "unknown network": raised(dataclasses.replace(run, network="resnet9")),
        "no data in one": raised(run, task=WithoutData()),
        "busy": raised(run, store=Store(folder / "busy")),
        "damaged": raised(run, store=Store(folder / "damaged")),
        "small last batch": raised(dataclasses.replace(run, train_size=129)),
        "on_epoch": raised(run, on_epoch=odd),
        "alone": raised(run, task=Tested(fall)),
    }
    save = RunFolder.save_checkpoint

    def full(self, content):
        raise StoreError("the disk is full")

    RunFolder.save_checkpoint = full
    found["full disk"] = raised(run, store=Store(folder / "full"))
    RunFolder.save_checkpoint = save
    return found


def commands(folder):
    """Run the reference for the command that is killed, and commands that a person got wrong."""
    found = {"reference": train(commanded(folder), place=PLACE).weights}
    wrong = {"network": ["--network", "resnet9"], "option": ["--epochz", "3"], "busy": []}
    for name, more in wrong.items():
        more = ["--out", str(folder / "busy"), *more]
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(command(folder, *more))
        found[name] = {"status": status, "out": out.getvalue(), "err": err.getvalue()}
    return found


def measured(folder, *more):
    for scenario in (equal_to_one_process, stopped_by_one, diverging, failing, commands):
        begun = time.perf_counter()
        found = scenario(folder)
        (folder / f"{scenario.__name__}-{RANK}.json").write_text(json.dumps(found))
        print(f"{scenario.__name__} in process {RANK}: {time.perf_counter() - begun:.1f} s", flush=True)
    held(folder, *more)


def held(folder, step, *words):
    plain = Training.step

    def waiting(self, batch):
        if (self.progress.epoch - 1) * self.data.steps + self.progress.step == int(step):
            (folder / f"held-{RANK}").touch()
            while not self.stop:
                time.sleep(0.01)
        plain(self, batch)

    Training.step = waiting
    sys.exit(main(words))


if __name__ == "__main__":
    torch.set_num_threads(1)
    mode, where, *rest = sys.argv[1:]
    {"measured": measured, "held": held}[mode](Path(where), *rest)
