"""``weightdecay train``: one run, in this process or in those that ``torchrun`` started."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from weightdecay.checks import nearest, whole_at_least
from weightdecay.lab.cli.say import DONE, fail, modules_from_here, say
from weightdecay.lab.run import Place, Run
from weightdecay.lab.run.run import ITS_OWN
from weightdecay.lab.run.settings import SettingsError, as_settings, left_out

if TYPE_CHECKING:
    from weightdecay.lab.run import Epoch, Result
    from weightdecay.lab.run.store import Store


@dataclass(frozen=True)
class TrainSettings:
    """Train one network and measure it once per epoch. The same command continues a run that was stopped.

    Ctrl-C and SIGTERM finish the step, keep a checkpoint, and exit with 130 and 143.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "weightdecay train --data cifar10 --network resnet18 --optimizer adams --epochs 200 --batch-size 128",
        "weightdecay train --data ptb --network lstm --optimizer adam --batch-size 20 --max-grad-norm 1",
        "weightdecay train --classes 5-9 --train-size 200 --start 0123456789abcdef --decay 'toward(start)'",
        "torchrun --nproc-per-node 8 -m weightdecay train --data imagenet --network resnet50 --batch-size 256",
    )
    run: Run = Run("adams", lr=ITS_OWN, weight_decay=5e-4, seed=0)
    """Everything that decides the result."""
    decay: Annotated[str, left_out("the optimizer's own")] = ""
    """Decay: a name, a call as "cautious(stable)", or the path of your own, package.module:Rule(0.3)."""
    start: Annotated[str, left_out("fresh weights")] = ""
    """Start from the weights of this run in --out: its address, as the folder under runs is called."""
    place: Place = Place(device="auto", keep_weights=True)
    """Device, data and checkpoints; they do not change the result."""
    threads: int = 0
    """Threads of the CPU, which decide the last bits; 0 leaves their number to PyTorch."""
    out: Path = Path("weightdecay-runs")
    """Folder in which the run is kept."""


def run_of(settings: TrainSettings, data_digest: str, processes: int) -> Run:
    """Return the run that is asked for."""
    from weightdecay.lab.run.product import settled

    run = replace(settings.run, data_digest=data_digest, processes=processes, start=start_of(settings))
    return settled(run, settings.decay)


def start_of(settings: TrainSettings) -> Run | None:
    """Return the run that --start names. Raises: SettingsError, where there is none."""
    if not settings.start:
        return None
    runs = settings.out / "runs"
    try:
        return Run.from_json(json.loads((runs / settings.start / "run.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, AttributeError):
        known = sorted(path.parent.name for path in runs.glob("*/run.json"))
        raise SettingsError(
            f"--start {settings.start}: {runs} has no such run.{nearest(settings.start, known)} Train it first, with "
            "the same --out; its address is the name of its folder."
        ) from None


def run_train(settings: TrainSettings) -> int:
    """Train, with a line an epoch; of several processes the first one speaks."""
    from weightdecay.lab.run.store import Store

    modules_from_here()
    with as_settings():
        whole_at_least("--threads", settings.threads, 0, "0 leaves the number of threads to PyTorch.")
    if (known := finished(settings)) is not None:
        say("this run has finished before; nothing was trained.")
        say(_summary(known, Store(settings.out)))
        return DONE
    import torch

    from weightdecay.lab import data
    from weightdecay.lab.run.interrupt import Stopped, on_signals
    from weightdecay.lab.training import processes, train

    if settings.threads:
        torch.set_num_threads(settings.threads)
    trained: list[int] = []

    def told(epoch: Epoch) -> None:
        if not trained and epoch.epoch > 1:
            say(f"continued in epoch {epoch.epoch}")
        trained.append(epoch.epoch)
        say(_line(epoch, run))

    try:
        with processes.joined(settings.place) as here, on_signals() as stop:
            with processes.together(here):
                train.check(run_of(settings, "", here.world))  # before any folder is made
                store = Store(settings.out)
                run = run_of(settings, data.digest(settings.run.data, here), here.world)
            try:
                result = train.train(run, store, here, stop=stop, on_epoch=told)
            except Stopped as stopped:
                return fail(
                    f"stopped by {stopped.name}: the trained part is kept in {store.of(run).path}; "
                    "the same command continues.",
                    stopped.status,
                    label="",
                )
    except ValueError as error:
        raise SettingsError(str(error)) from error
    if here.rank == 0:
        if not trained:
            say("this run has finished before; nothing was trained.")
        say(_summary(result, store))
    return DONE


def finished(settings: TrainSettings) -> Result | None:
    """Return the result of a run that has finished before, without torch; None where more is needed to tell.

    Raises: SettingsError, for a run that cannot be meant, before torch is imported and any folder is made.
    """
    from weightdecay.lab.data import FIXED
    from weightdecay.lab.run.store import Store
    from weightdecay.lab.training import sound

    run = run_of(settings, "", 1)
    try:
        sound.check(run)
        sound.check_names(run)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    alone = os.environ.get("WORLD_SIZE", "1") == "1"
    known = alone and run.data in FIXED and (settings.out / "runs").is_dir()  # a store makes its folder
    return Store(settings.out).result(run) if known else None


def _line(epoch: Epoch, run: Run) -> str:
    def number(value: float | None) -> str:
        return "not finite" if value is None else f"{value:.4g}"

    text = f"epoch {epoch.epoch}/{run.epochs}  lr {epoch.lr:.3g}  training loss {number(epoch.train_loss)}"
    if epoch.validation_loss is not None:
        text += f"  validation {number(epoch.validation)}"
    return text + f"  test {number(epoch.test)}"


def _summary(result: Result, store: Store) -> str:
    unit = f" {result.metric.unit}" if result.metric.unit else ""
    text = f"{result.status}: {result.metric.name} {result.last:.4g}{unit} at the last epoch"
    text += f", {result.best:.4g}{unit} at the best"
    if result.selected is not None:
        text += f", {result.selected:.4g}{unit} at the epoch that validation selects"
    if result.start_test is not None:
        text += f"; {result.start_test:.4g}{unit} on the test set of the start"
    return (
        f"{text}; {result.seconds:.0f} s on {result.where}\nweights {result.weights}\n"
        f"kept in {store.of(result.run).path}"
    )
