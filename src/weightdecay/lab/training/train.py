"""One loop: a Run in, a Result out, the same bits every time, wherever it was interrupted."""

from __future__ import annotations

import contextlib
import functools
import math
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import torch
from torch import nn

import weightdecay
from weightdecay import monitor
from weightdecay.lab.data import layout
from weightdecay.lab.data.base import Batch, Carried, DataError
from weightdecay.lab.data.scores import Scorer
from weightdecay.lab.run import Epoch, Place, Result, Run
from weightdecay.lab.run.interrupt import Stop
from weightdecay.lab.run.lock import Busy
from weightdecay.lab.run.randomness import of_our_own, reseed
from weightdecay.lab.run.store import RunFolder, Store, StoreError
from weightdecay.lab.run.weights import Weights, digest
from weightdecay.lab.training import processes, schedule, sound
from weightdecay.lab.training.optimizer import WITHOUT_DECAY, optimizer_of
from weightdecay.lab.training.progress import Progress
from weightdecay.lab.training.start import freeze, put_back, take
from weightdecay.lab.training.task import Named, Task

LOOK_EVERY = 100
"""Steps between two looks at the loss where that means to wait, for a GPU or for other processes."""

LOOK_SECONDS = 0.2
"""Between two looks at a start that another process trains."""

OnEpoch = Callable[[Epoch], None]


def train(
    run: Run,
    store: Store | None = None,
    place: Place | None = None,
    task: Task | None = None,
    stop: Stop | None = None,
    on_epoch: OnEpoch | None = None,
) -> Result:
    """Train and measure. With a store, continue where an earlier process stopped, bit for bit.

    Equal runs give equal results on one machine with one version of torch: initial weights, order, augmentation and
    dropout are functions of the seed, and the caller's random state is left as it was. A loss that is no longer finite
    ends the run as "diverged", which is a result. Under ``torchrun`` every process calls this, and the first one keeps
    the store.

    Raises: Stopped, when ``stop`` became true, after the step and with a checkpoint; Busy, where another process is on
    this run; StoreError and DataError, for files; ValueError, for settings that cannot be run.
    """
    task = task or Named()
    with processes.joined(place or Place()) as here, contextlib.ExitStack() as stack:
        folder = kept = None
        with processes.together(here):
            check(run)
            task.check(run)
            if run.processes != here.world:
                raise ValueError(
                    f"the run is one of {run.processes} processes, and {here.world} came. Start it with "
                    f"torchrun --nproc-per-node {run.processes}, or set processes={here.world}."
                )
            if store and here.rank == 0:
                folder = stack.enter_context(store.open(run))
                kept = store.result(run)
        kept = processes.from_first(kept, here)
        if kept is not None:
            return kept  # type: ignore[no-any-return]
        stop = Stop() if stop is None else stop
        weights = None if run.start is None else weights_of(run.start, store, here, task, stop)
        stack.enter_context(of_our_own(torch.device(here.device)))
        return Training(run, here, task, folder, stop, on_epoch, weights).result()


def weights_of(run: Run, store: Store | None, place: Place, task: Task, stop: Stop) -> Weights:
    """Return the weights that a run ends with. Where the store has none it is trained, in ``starts`` of the store.

    A run that another process trains there is waited for. Without a store nothing of it is kept.
    Raises: as :func:`train`; ValueError, for a run that diverged.
    """
    with processes.together(place):
        kept = store.result(run) if store and place.rank == 0 else None
        found = store.of(run).weights() if store and kept and kept.status == "finished" else None
    found = processes.from_first(found, place)
    if found is not None:
        return found  # type: ignore[no-any-return]
    with contextlib.ExitStack() as stack:
        with processes.together(place):
            folder = store.folder / "starts" if store else Path(stack.enter_context(tempfile.TemporaryDirectory()))
            apart = Store(folder)
        result = _awaited(run, apart, replace(place, keep_weights=True), task, stop)
        with processes.together(place):
            if result.status != "finished":
                raise ValueError(
                    f"start: the run {run} diverged, and nothing can start from it. Use a smaller lr there."
                )
            found = apart.of(run).weights() if place.rank == 0 else None
            if place.rank == 0 and found is None:
                raise StoreError(f"{apart.of(run).kept} is gone. Move its folder away, and it is trained again.")
        return processes.from_first(found, place)  # type: ignore[no-any-return]


def _awaited(run: Run, store: Store, place: Place, task: Task, stop: Stop) -> Result:
    while True:
        try:
            return train(run, store, place, task, stop)
        except Busy:
            if place.world > 1:  # of which some may have heard a signal, and others not
                raise
            if stop:
                raise stop.stopped from None
            time.sleep(LOOK_SECONDS)


def check(run: Run) -> None:
    """Refuse a run that cannot be computed anywhere. Raises: ValueError, which names the field."""
    sound.check(run)
    optimizer_of(run, nn.ParameterList([torch.eye(2), torch.zeros(1)]))  # a matrix, and what is none


def can_be_computed(run: Run, model: nn.Module, device: torch.device) -> None:
    """Refuse arithmetic that the device has not. Raises: ValueError, which names the way out."""
    recurrent = any(isinstance(module, nn.LSTM) for module in model.modules())
    if run.dtype == "bfloat16" and device.type == "cpu" and recurrent and not lstm_in_bfloat16():
        raise ValueError(
            "dtype='bfloat16': torch cannot compute an LSTM in bfloat16 on this CPU, which lacks AVX-512. "
            "Use dtype='float32', which is faster here, or a GPU."
        )


@functools.cache
def lstm_in_bfloat16() -> bool:
    """Whether this CPU can: by trying, since torch names no such ability."""
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            nn.LSTM(1, 1)(torch.zeros(1, 1, 1))
    except RuntimeError:
        return False
    return True


@dataclass
class Training:
    """A run being trained."""

    run: Run
    place: Place
    task: Task
    folder: RunFolder | None  # of the first process, where there is a store
    stop: Stop
    on_epoch: OnEpoch | None
    start: Weights | None = None  # of the run that it starts from

    def __post_init__(self) -> None:
        run, self.device = self.run, torch.device(self.place.device)
        self.dtype = torch.float64 if run.dtype == "float64" else torch.float32
        with processes.together(self.place):
            self.data = self.task.load(run, self.place)
            model = self.task.build(run, self.data.facts)
            model = model.to(self.device, self.dtype)
            can_be_computed(run, model, self.device)
            self.fresh = take(model, self.start, run) if self.start else ()
            self.still = freeze(model, self.fresh) if run.frozen else []
            self.scorer = self.task.scorer(self.data, model)
        self.model = processes.spread(layout.laid_out(model, run, self.place), run.strategy, self.place)
        if run.compile:
            layout.compiled(self.model, self.place)
        loss = torch.zeros((), dtype=torch.float64, device=self.device)
        self.progress = Progress(run, self.place, self.model, optimizer_of(run, self.model, self.fresh), loss=loss)
        self.agree = processes.Agreement(self.place)
        self.begun = self.kept = time.perf_counter()
        self.cost = 0.0  # seconds that the last checkpoint took

    def result(self) -> Result:
        """Train to the end."""
        run, progress = self.run, self.progress
        with processes.together(self.place):
            saved = self.folder.load_checkpoint() if self.folder else None
        saved = processes.from_first(saved, self.place)
        if saved is not None:
            progress.restore(saved, str(self.folder.path) if self.folder else "the store")
        status = "finished"
        while progress.epoch <= run.epochs and status == "finished":
            finite = self.train_epoch()
            self.end_epoch(finite)
            status = "finished" if finite else "diverged"
            if finite and progress.epoch <= run.epochs:
                self.pause()
        self.agree.close()
        weights = processes.whole(dict(processes.bare(self.model).state_dict()))
        start_test, start_validated = self.left_of_start(weights)
        result = Result(
            run=run,
            status=status,
            epochs=tuple(progress.epochs),
            seconds=self.seconds(),
            metric=self.scorer.metric,
            where=where(self.place),
            versions=versions(),
            weights=digest(weights),
            skipped_steps=progress.optimizer.skipped_steps,
            clamped_steps=progress.optimizer.clamped_steps,
            fresh=self.fresh,
            start_test=start_test,
            start_validated=start_validated,
        )
        with processes.together(self.place):
            if self.folder:
                if self.place.keep_weights:
                    self.folder.save_weights(weights)
                self.folder.save(result)
        return result

    def train_epoch(self) -> bool:
        """Take the steps that are left of the epoch; return whether the loss is still finite."""
        run, progress, steps = self.run, self.progress, self.data.steps
        self.model.train()
        for module in self.still:
            module.eval()
        batches = self.data.train(progress.epoch, progress.step)
        look = 1 if self.device.type == "cpu" and self.place.world == 1 else LOOK_EVERY
        while progress.step < steps:
            reseed(self.device, run.seed, progress.epoch, progress.step, self.place.rank)
            if (batch := next(batches, None)) is None:
                raise DataError(
                    f"the data says that an epoch has {steps} steps, and ended after {progress.step}: "
                    "its length is wrong."
                )
            now = (progress.epoch - 1) * steps + progress.step
            for group in progress.optimizer.param_groups:
                group["lr"] = schedule.lr_at(run, now, steps)
                if run.weight_decay_schedule and group.get("name") not in WITHOUT_DECAY:
                    group["weight_decay"] = schedule.weight_decay_at(run, now, steps)
            self.step(batch)
            progress.step += 1
            if progress.step % look == 0 and not self.finite():
                return False
            if progress.step < steps:  # at the end of an epoch there is first something to measure
                self.pause()
        return self.finite()

    def step(self, batch: Batch) -> None:
        """Learn from one batch."""
        run, progress, size = self.run, self.progress, batch.targets.numel()
        if min(batch.count, run.batch_size) < self.place.world:  # known to all, also to those who have one
            raise ValueError(
                f"batch_size={run.batch_size}: the last batch of the epoch has fewer examples than there are "
                f"processes ({self.place.world}), and a process without any cannot learn. Use another batch size."
            )
        progress.optimizer.zero_grad()
        with self.autocast():
            outputs, carried = self.task.forward(self.model, batch.inputs, None if batch.first else progress.carried)
            loss = self.task.loss(outputs, batch.targets)
        # DDP and FSDP average over processes, whose parts of the last batch may differ in size.
        weighted = loss if self.place.world == 1 else loss * (size * self.place.world / batch.count)
        torch.autograd.backward(weighted)
        progress.optimizer.step()
        progress.loss += loss.detach().double() * size
        progress.seen += batch.count
        progress.carried = tuple(part.detach() for part in carried) if carried is not None else None

    def finite(self) -> bool:
        """Whether every loss of this epoch was, in every process."""
        return bool(processes.total(self.progress.loss.clone(), self.place).isfinite())

    def end_epoch(self, finite: bool) -> None:
        """Judge the network, and keep what was measured."""
        progress = self.progress
        reading = monitor.read(progress.optimizer)
        processes.share_buffers(self.model, self.place)
        train_loss = processes.total(progress.loss.clone(), self.place).item() / max(progress.seen, 1)
        test_loss, test = self.measure(self.data.test(), self.model, self.scorer)
        held_out = self.data.validation()
        validation_loss, validation = (
            self.measure(held_out, self.model, self.scorer) if held_out is not None else (None, None)
        )
        epoch = Epoch(
            epoch=progress.epoch,
            lr=progress.optimizer.param_groups[0]["lr"],
            train_loss=known(train_loss) if finite else None,
            test_loss=test_loss,
            test=test,
            validation_loss=validation_loss,
            validation=validation,
            effective_lr=known(reading.effective_lr),
            grad_norm=known(reading.grad_norm),
            weight_norm=known(reading.weight_norm),
        )
        progress.epochs.append(epoch)
        progress.epoch, progress.step, progress.seen, progress.carried = progress.epoch + 1, 0, 0, None
        progress.loss.zero_()
        with processes.together(self.place):
            if self.folder:
                self.folder.log(epoch)
            if self.on_epoch and self.place.rank == 0:
                self.on_epoch(epoch)

    @torch.no_grad()
    def measure(self, batches: Iterator[Batch], model: nn.Module, scorer: Scorer) -> tuple[float | None, float | None]:
        """Return the mean loss and the metric over a whole set; None for what is not finite."""
        model.eval()
        sums = torch.zeros(3, dtype=torch.float64, device=self.device)
        carried: Carried = None
        for batch in batches:
            size = batch.targets.numel()
            if size == 0:
                continue
            with self.autocast():
                outputs, carried = self.task.forward(model, batch.inputs, None if batch.first else carried)
                loss = self.task.loss(outputs, batch.targets).double()
            judged = scorer.each(outputs, batch.targets) if scorer.each else loss
            sums += torch.stack([loss, torch.as_tensor(judged).to(loss), torch.ones_like(loss)]) * size
        loss, judged, count = processes.total(sums, self.place).tolist()
        return known(loss / count), known(scorer.finish(loss / count, judged / count))

    def left_of_start(self, weights: Weights) -> tuple[float | None, float | None]:
        """Return the metric on the start's own test and validation sets, the weights that were not taken put back."""
        start = self.run.start
        if start is None or self.start is None:
            return None, None
        with processes.together(self.place):
            data = self.task.load(start, self.place)
            model = self.task.build(start, data.facts)
            model.load_state_dict(put_back(weights, self.start, self.fresh))
            model = model.to(self.device, self.dtype)
            scorer = self.task.scorer(data, model)
        model, held_out = layout.laid_out(model, start, self.place), data.validation()
        validated = None if held_out is None else self.measure(held_out, model, scorer)[1]
        return self.measure(data.test(), model, scorer)[1], validated

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """The arithmetic of the run."""
        if self.run.dtype != "bfloat16":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def pause(self) -> None:
        """After a step: keep a checkpoint where one is due; leave where somebody asked."""
        every = self.place.checkpoint_seconds
        # A checkpoint costs what it costs: never more than a hundredth of the time goes into them.
        due = self.folder is not None and time.perf_counter() - self.kept >= (
            max(every, 100 * self.cost) if every else 0
        )
        stop, keep = self.agree(bool(self.stop), due)
        if not (stop or keep):
            return
        before = time.perf_counter()
        self.progress.seconds, self.begun = self.seconds(), before
        content = self.progress.content()
        with processes.together(self.place):
            if self.folder:
                self.folder.save_checkpoint(content)
        self.kept = time.perf_counter()
        self.cost = self.kept - before
        if stop:
            self.agree.close()
            raise self.stop.stopped

    def seconds(self) -> float:
        """Seconds spent on this run so far, by this process and by those before it."""
        return self.progress.seconds + time.perf_counter() - self.begun


def known(value: float) -> float | None:
    """Return the number, or None for what JSON cannot hold."""
    return value if math.isfinite(value) else None


def where(place: Place) -> str:
    """Return on what a run is computed."""
    device = torch.device(place.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    return name if place.world == 1 else f"{place.world} × {name}"


def versions() -> dict[str, str]:
    """Return the versions that may decide the last bits."""
    return {
        "weightdecay": weightdecay.__version__,
        "torch": version("torch"),
        "python": platform.python_version(),
    }
