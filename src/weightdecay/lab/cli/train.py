"""``weightdecay train``: one run, in this process or in those that ``torchrun`` started."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from weightdecay.lab.cli.say import DONE, fail, say
from weightdecay.lab.run import Option, Options, Place, Run, options
from weightdecay.lab.run.settings import SettingsError

if TYPE_CHECKING:
    from weightdecay.lab.run import Epoch, Result
    from weightdecay.lab.run.store import Store


@dataclass(frozen=True)
class TrainSettings:
    """Train one network and measure it once an epoch. The same command continues a run that was stopped.

    Ctrl-C and SIGTERM finish the step, keep a checkpoint, and exit with 130 and 143.

    Some runs:

        weightdecay train --data cifar10 --network resnet18 --optimizer adams --weight-decay 5e-4
        weightdecay train --data ptb --network lstm --optimizer adam --batch-size 20 --max-grad-norm 1
        torchrun --nproc-per-node 8 -m weightdecay train --data imagenet --network resnet50 --epochs 90 --batch-size 256
    """

    optimizer: str = "adams"
    """Name, as in weightdecay.available()."""
    lr: float | None = None
    """Learning rate at its peak. Default: 0.1 for SGD and its relatives, 0.001 for Adam's."""
    weight_decay: float = 5e-4
    """λ, in the optimizer's own meaning."""
    optimizer_options: tuple[str, ...] = ()
    """NAME=VALUE for the optimizer's constructor, as in momentum=0.9 nesterov=true."""
    max_grad_norm: float = 0.0
    """Clip gradients to this norm over the whole model. 0: do not."""
    seed: int = 0
    """Decides initial weights, order, augmentation, dropout and wrong labels."""
    epochs: int = 200
    """Passes over the training data."""
    batch_size: int = 128
    """Examples in a step, over all processes; of a text, columns read side by side."""
    data: str = "digits"
    """digits, cifar10, cifar100, mnist, imagenet, ptb, pydoc, images:FOLDER or text:PATH."""
    train_size: int = 0
    """Examples to train on. 0: all."""
    validation_size: int = 0
    """Examples held out of the training set, to choose an epoch by."""
    test_size: int = 0
    """Examples of the test set to be judged on; of a text, tokens of the test and of the validation part. 0: all."""
    image_size: int = 0
    """Pixels a side that small images are averaged down to. 0: as they are."""
    label_noise: float = 0.0
    """Fraction of the training labels that are replaced by a wrong one."""
    augment: bool = True
    """Random crops and flips, where the data has them."""
    sequence: int = 35
    """Tokens in a step of a text."""
    network: str = "resnet8"
    """smallcnn, resnet8, resnet20, resnet18, resnet34, resnet50, vgg16, vgg16plain, densenet121, googlenet, lstm or
    transformer."""
    network_options: tuple[str, ...] = ()
    """NAME=VALUE for the network, as in width=16 or dropout=0.5."""
    schedule: Literal["step", "cosine", "restarts", "constant"] = "step"
    """The learning rate over time."""
    milestones: tuple[float, ...] = (0.4, 0.8)
    """step: fractions of the epochs after which the lr is multiplied by lr-factor."""
    lr_factor: float = 0.1
    """step: see milestones."""
    warmup: float = 0.0
    """Epochs in which the lr grows linearly from 0."""
    restart_period: float = 14.0
    """restarts: epochs of the first cosine."""
    restart_factor: float = 2.0
    """restarts: how much longer each is than the one before."""
    weight_decay_schedule: str = ""
    """λ over time, as in cosine, rise(0.1, 1), follow or hold_drop(0.4, 0.65). Empty: constant."""
    dtype: Literal["float32", "float64", "bfloat16"] = "float32"
    """Arithmetic. bfloat16: autocast, weights stay float32."""
    channels_last: bool = True
    """Memory layout of images."""
    compile: bool = False
    """Compile the network with torch.compile."""
    strategy: Literal["ddp", "fsdp"] = "ddp"
    """Of several processes: replicated or sharded."""
    device: str = "auto"
    """auto: the GPU if there is one. cpu, cuda, cuda:1."""
    threads: int = 0
    """Threads of the CPU. 0: as many as PyTorch takes; they decide the last bits."""
    data_folder: Path | None = None
    """Where data sets are, and are downloaded to. Default: $WEIGHTDECAY_DATA, else a folder of the user's cache."""
    download: bool = True
    """Download data that is not there."""
    workers: int = 2
    """Processes that decode large photos."""
    checkpoint_seconds: float = 20.0
    """Between two checkpoints."""
    keep_weights: bool = True
    """Keep the weights at the end, weights.pt, beside the result."""
    out: Path = Path("weightdecay-runs")
    """Folder of the runs."""


def run_of(settings: TrainSettings, data_digest: str, processes: int) -> Run:
    """Return the run that is asked for."""
    from weightdecay.lab.run.methods import method, portable, with_code

    same = {field.name for field in fields(Run)} & {field.name for field in fields(TrainSettings)}
    values = {name: getattr(settings, name) for name in same}
    values["optimizer"] = portable(settings.optimizer)
    values["lr"] = method(values["optimizer"]).lr if settings.lr is None else settings.lr
    for name in ("optimizer_options", "network_options"):
        values[name] = read_options("--" + name.replace("_", "-"), getattr(settings, name))
    return with_code(Run(**values, data_digest=data_digest, processes=processes))


def read_options(option: str, words: tuple[str, ...]) -> Options:
    """Return ``NAME=VALUE`` words as options: true and false, whole numbers, numbers, several of them, else text.

    >>> read_options("--optimizer-options", ("momentum=0.9", "nesterov=true", "betas=0.9,0.95"))
    (('betas', (0.9, 0.95)), ('momentum', 0.9), ('nesterov', True))
    """
    found: dict[str, Option] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise SettingsError(f"{option} {word}: write NAME=VALUE, as in momentum=0.9.")
        values = [_value(part) for part in text.split(",")]
        several = len(values) > 1 and not any(isinstance(value, str) for value in values)
        found[name.replace("-", "_")] = tuple(values) if several else _value(text)  # type: ignore[assignment]
    return options(found)


def _value(text: str) -> Option:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def run_train(settings: TrainSettings) -> int:
    """Train, with a line an epoch; of several processes the first one speaks."""
    from weightdecay.lab.run.store import Store

    if settings.threads < 0:
        raise SettingsError(f"--threads {settings.threads}: a number of threads, 1 or more; 0 leaves it to PyTorch.")
    place = Place(
        device=settings.device,
        data=settings.data_folder,
        download=settings.download,
        workers=settings.workers,
        checkpoint_seconds=settings.checkpoint_seconds,
        keep_weights=settings.keep_weights,
    )
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
        with processes.joined(place) as here, on_signals() as stop:
            with processes.together(here):
                store = Store(settings.out)
                run = run_of(settings, data.digest(settings.data, here), here.world)
            try:
                result = train.train(run, store, here, stop=stop, on_epoch=told)
            except Stopped as stopped:
                return fail(
                    f"stopped by {stopped.name}: what was trained is kept in {store.of(run).path}; "
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
    return Store(settings.out).result(run) if alone and run.data in FIXED else None


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
    return (
        f"{text}; {result.seconds:.0f} s on {result.where}\nweights {result.weights}\n"
        f"kept in {store.of(result.run).path}"
    )
