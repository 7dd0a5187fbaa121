"""``weightdecay spectrum``: whose weights are measured, and what is predicted from a spectrum."""

from __future__ import annotations

import csv
import signal
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import torch
from browser import browsing, program
from forked import Forked
from lab import COMMAND
from legible import assert_legible
from PIL import Image
from small_data import photos
from torch import nn

from weightdecay.lab.cli import main
from weightdecay.lab.cli.spectrum import SpectrumSettings, check_memory
from weightdecay.lab.pages.spectrum.explain import as_l2, budget_of, total_lr
from weightdecay.lab.pages.spectrum.run import Trained, trained
from weightdecay.lab.run import Epoch, Place, Run, options
from weightdecay.lab.run.interrupt import Stop, Stopped
from weightdecay.lab.run.settings import SettingsError
from weightdecay.lab.run.store import Store
from weightdecay.lab.training.task import Named
from weightdecay.lab.training.train import train
from weightdecay.spectrum import Hessian

RUN = Run(
    "sgd", 0.5, 3e-3, 0, epochs=2, train_size=60, network="smallcnn", network_options=options(width=1, norm=False)
)  # fmt: skip
SMALL = ["--top", "3", "--samples", "50", "--probes", "2", "--points", "6", "--device", "cpu"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A store with one finished run."""
    store = Store(tmp_path_factory.mktemp("store"))
    torch.set_num_threads(1)
    train(RUN, store)
    return store


def values(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))[1:]


def test_a_finished_run_without_weights_is_trained_again_and_then_keeps_them(finished, tmp_path, capsys):
    words = ["spectrum", RUN.address[:6], "--store", str(finished.folder), "--out", str(tmp_path), *SMALL]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "its weights were not kept" in said
    assert "--train-again" in said
    assert said.count("\n") == 1

    assert main([*words, "--train-again"]) == 0
    first = capsys.readouterr().out
    assert "their hash is that of the result" in first
    assert "trace" in first
    assert "predicted best λ" in first
    for name in ("spectrum.html", "spectrum.csv", "spectrum.png", "prediction.svg"):
        assert (tmp_path / name).stat().st_size > 0
    rows = values(tmp_path / "spectrum.csv")
    if program():  # the page once more, in a browser: it takes half a minute to measure
        with browsing() as tab:
            assert_legible(tab, tmp_path / "spectrum.html")

    assert main(words) == 0
    assert "weights.pt" in capsys.readouterr().out
    assert values(tmp_path / "spectrum.csv") == rows
    assert sum(float(weight) for what, _, weight in rows if what == "density") == pytest.approx(
        156
    )  # weights of the network
    assert [what for what, *_ in rows].count("eigenvalue") == 3

    # Weights that are not the run's are not taken for them.
    kept = finished.of(RUN).kept
    torch.save({name: value + 1e-6 for name, value in finished.of(RUN).weights().items()}, kept)
    assert main(words) == 1
    assert "does not hold the weights of the run" in capsys.readouterr().err
    kept.unlink()


def test_a_run_that_was_stopped_is_measured_at_its_checkpoint(tmp_path, capsys):
    class After(Stop):
        asked = 0

        def __bool__(self):
            self.asked += 1
            return self.asked > 0

    store = Store(tmp_path / "store")
    run = replace(RUN, seed=1)
    with pytest.raises(Stopped):
        train(run, store, stop=After())
    words = ["spectrum", str(store.of(run).path), "--out", str(tmp_path / "out"), "--kind", "ggn", *SMALL]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "the run's checkpoint, in epoch 2 of 2; the run has not finished" in out
    nodes = [float(value) for what, value, _ in values(tmp_path / "out" / "spectrum.csv") if what == "density"]
    assert min(nodes) > -1e-5 * max(nodes)  # a GGN


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "is 'nowhere'. An address is"),
        ([RUN.address[:-1] + "0g"], f"Did you mean {RUN.address}?"),
        ([""], "RUN is empty. Give an address"),
        ([RUN.address[0]], "is the beginning of 2 runs"),
        ([RUN.address, "--device", "cuda:99"], "device='cuda:99': torch finds no such device. Here are cpu"),
        ([RUN.address, "--device", "foo"], "device='foo' is not a device"),
        ([RUN.address, "--seed", "99999999999999999999"], "--seed 99999999999999999999: it must fit"),
        (["abc", "--store", "no-such-folder"], "contains no runs"),
        ([RUN.address, "--top", "0"], "--top 0: must be an integer of at least 1"),
        ([RUN.address, "--kind", "fisher"], "--kind"),
    ],
)
def test_a_mistake_is_one_line(words, message, finished, capsys):
    others = (finished.of(replace(RUN, seed=seed)) for seed in range(1, 1000))
    other = next(each for each in others if each.path.name[0] == RUN.address[0])
    other.path.mkdir(exist_ok=True)
    other.clear_up()
    store = [] if "--store" in words else ["--store", str(finished.folder)]
    assert main(["spectrum", *words, *store]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_what_no_machine_holds_is_refused_before_it_is_measured(capsys):
    for name, asked in (("points", {"points": 10**6, "top": 1}), ("top", {"top": 10**6})):
        with pytest.raises(SettingsError, match=rf"--{name} 1000000: vectors of 1,000,000,000 numbers would .* GiB"):
            check_memory(SpectrumSettings("address", **asked), 10**9)
    check_memory(SpectrumSettings("address", top=500), 156)
    assert "155 eigenvalues are looked for" in capsys.readouterr().out


def test_a_run_without_anything_kept_is_refused(tmp_path, capsys):
    folder = Store(tmp_path).of(replace(RUN, seed=2))
    folder.path.mkdir()
    folder.clear_up()
    assert main(["spectrum", str(folder.path), *SMALL]) == 2
    assert "neither a result nor a checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("network", "given"),
    [("lstm", {"embedding": 4, "hidden": 4, "layers": 1}), ("transformer", {"embedding": 4, "heads": 2, "layers": 1})],
)
def test_a_text_is_measured_by_the_token_a_whole_step_at_a_time(network, given, tmp_path, capsys):
    run = Run(
        "adams", 1e-2, 1e-4, 0, epochs=1, data="pydoc", network=network, network_options=options(**given),
        batch_size=10, sequence=5, train_size=153, test_size=30,
    )  # fmt: skip
    store = Store(tmp_path / "store")
    place = Place(device="cpu", keep_weights=True)
    train(run, store, place)
    folder = store.of(run)
    found = trained(folder, place, samples=60)
    # 153 tokens are 10 columns of 15, read 5 at a time: 14 predictions a column in steps of 5, 5 and 4.
    assert [tuple(inputs.shape) for inputs, _ in found.data] == [(5, 10), (5, 10)]
    assert [tuple(targets.shape) for _, targets in found.data] == [(50,), (50,)]
    assert (found.examples, found.steps, found.unit) == (152, 3, "tokens")
    assert sum(len(y) for _, y in trained(folder, place, samples=0).data) == 140

    # What is differentiated is the mean over the tokens of the loss that training takes of a step on its own.
    task = Named()
    losses = [task.loss(task.forward(found.model.network.eval(), x, None)[0], y) for x, y in found.data]
    gradient = torch.autograd.grad(sum(losses) / 2, list(found.model.parameters()))
    ours = sum(share * g for g, share in Hessian(found.model, nn.CrossEntropyLoss(), found.data).gradients())
    assert torch.allclose(ours, torch.cat([g.flatten() for g in gradient]), rtol=1e-5, atol=1e-7)

    words = ["spectrum", str(folder.path), "--out", str(tmp_path / "out"), "--top", "2", "--samples", "60"]
    assert main([*words, "--probes", "1", "--points", "5", "--device", "cpu"]) == 0
    assert "100 of 152 training tokens" in (tmp_path / "out" / "spectrum.html").read_text()


def test_exactly_as_many_images_as_asked_for_are_measured_as_they_are_in_their_files(tmp_path):
    """Neither cropped nor mirrored, though the run was trained on images that are; none of them twice."""
    root = photos(tmp_path / "photos", each=10, size=(8, 8, 3), tests="test")
    run = Run(
        "sgd", 0.1, 1e-3, 0, epochs=1, data=f"images:{root}", batch_size=4, dtype="float64", network="smallcnn",
        network_options=options(width=1),
    )  # fmt: skip
    assert run.augment
    store = Store(tmp_path / "store")
    place = Place(device="cpu", data=tmp_path / "data", download=False, keep_weights=True)
    train(run, store, place)
    files = [
        (np.asarray(Image.open(root / "train" / name / f"{i}.png")), label)
        for label, name in enumerate("ab")
        for i in range(10)
    ]
    pixels = np.stack([image for image, _ in files]).astype(np.float64)
    scaled = torch.tensor((pixels - pixels.mean((0, 1, 2))) / pixels.std((0, 1, 2))).permute(0, 3, 1, 2)
    for samples, batch, sizes in (
        (13, 5, [5, 5, 3]), (10, 5, [5, 5]), (3, 5, [3]), (0, 8, [8, 8, 4]), (20, 20, [20]), (1000, 250, [20]),
    ):  # fmt: skip
        found = trained(store.of(run), place, samples=samples, batch=batch)
        assert [len(y) for _, y in found.data] == [len(x) for x, _ in found.data] == sizes
        assert (found.examples, found.steps, found.unit) == (20, 5, "images")
        inputs, targets = (torch.cat(part) for part in zip(*found.data, strict=True))
        apart = (inputs[:, None] - scaled).abs().amax((2, 3, 4))
        assert apart.amin(1).max() < 1e-12
        which = apart.argmin(1).tolist()
        assert len(set(which)) == len(which)
        assert [files[i][1] for i in which] == targets.tolist()


# ---------------------------------------------------------------------------------- λ and lr of a run


def of_run(run, gains):
    epochs = tuple(
        Epoch(i + 1, lr=lr, train_loss=1.0, test_loss=1.0, test=1.0, effective_lr=None if g is None else lr * g)
        for i, (lr, g) in enumerate(gains)
    )
    return Trained(run, epochs, nn.Linear(1, 1), torch.zeros(2), [], 60, 1, "")


def test_the_gain_turns_a_runs_lambda_into_l2s_and_its_lr_into_an_effective_one():
    heavy = [(0.1, 10.0), (0.1, 10.0)]
    schedule = {"epochs": 2, "schedule": "constant"}
    assert as_l2(of_run(Run("sgd", 0.1, 5e-4, 0, **schedule), heavy)) == (5e-4, 1.0)
    assert as_l2(of_run(Run("sgdw", 0.1, 5e-3, 0, **schedule), heavy)) == pytest.approx((5e-4, 10.0))
    assert as_l2(of_run(Run("adams", 1e-3, 5e-4, 0, **schedule), [(1e-3, 300.0)] * 2)) == (5e-4, 1.0)
    assert as_l2(of_run(Run("adamw", 1e-3, 0.3, 0, **schedule), [(1e-3, 200.0), (1e-3, 300.0)])) == (0.001, 300.0)
    assert total_lr(of_run(Run("sgd", 0.1, 0.0, 0, **schedule), heavy)) == pytest.approx(2.0)
    assert total_lr(of_run(Run("adamw", 0.1, 0.0, 0, **schedule), [(0.1, 1.0), (0.1, 3.0)])) == pytest.approx(0.4)
    assert budget_of(Run("sgd", 0.1, 0.0, 0, **schedule), 5, gain=10.0) == pytest.approx(10.0)


def test_another_decay_of_the_optimizer_is_another_meaning():
    def run(decay):
        return of_run(
            Run("sgd", 0.1, 5e-3, 0, epochs=1, schedule="constant", optimizer_options=options(decay=decay)),
            [(0.1, 10.0)],
        )

    assert as_l2(run("stable")) == (5e-3, 1.0)
    assert as_l2(run("decoupled")) == pytest.approx((5e-4, 10.0))
    assert as_l2(run("independent")) == pytest.approx((5e-3, 1.0))  # λ·η/η_peak of the weights a step
    with pytest.raises(SettingsError, match="under vanilla decay"):
        as_l2(run("vanilla"))


# ---------------------------------------------------------------------------------- stopped


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stop_is_one_line_and_leaves_no_half_of_a_file(number, status, finished, tmp_path):
    """Stopped while products are taken: what was there from before is whole."""
    words = ["spectrum", RUN.address, "--store", str(finished.folder), "--out", str(tmp_path), "--device", "cpu"]
    assert main([*words, "--train-again", *SMALL]) == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    words += ["--samples", "0", "--probes", "100", "--points", "150"]
    process = Forked(COMMAND, *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout.readline().startswith("measuring on")
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    assert process.returncode == status
    assert said.startswith("stopped: the spectrum is not kept")
    assert said.count("\n") == 1
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
