"""The network of a run, its data and its loss: what a spectrum is measured of."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from weightdecay.lab.data import layout
from weightdecay.lab.data.base import Data
from weightdecay.lab.run import Epoch, Place, Result, Run
from weightdecay.lab.run.interrupt import Stop
from weightdecay.lab.run.randomness import of_our_own
from weightdecay.lab.run.settings import SettingsError
from weightdecay.lab.run.store import RunFolder
from weightdecay.lab.run.weights import Weights, digest
from weightdecay.lab.training import processes
from weightdecay.lab.training.task import Named
from weightdecay.lab.training.train import Training


@dataclass(frozen=True)
class Trained:
    """A run's network as it was after some epoch, and what it was trained on, without augmentation.

    An example is what has a loss of its own: an image, or a token of a text.
    """

    run: Run
    epochs: tuple[Epoch, ...]
    model: nn.Module
    start: Tensor  # the initial weights, as a vector in the order of the parameters
    data: list[tuple[Tensor, Tensor]]
    examples: int  # in the whole training set
    steps: int  # in an epoch
    note: str  # where the weights come from

    @property
    def unit(self) -> str:
        """What an example is."""
        return "images" if self.data[0][0].is_floating_point() else "tokens"


class Uncarried(nn.Module):
    """A network of texts as a function of one step's tokens: nothing is carried in from those before.

    Trained with a state that is carried on and not differentiated, its loss has no Hessian that is symmetric.
    Shapes: tokens (time, n) → logits (time·n, vocabulary).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits of every token."""
        logits: Tensor = self.network(tokens, None)[0]
        return logits.flatten(0, -2)


def find(name: str, store: Path) -> RunFolder:
    """Return the folder of a run: ``name`` is its path, its address, or the beginning of that which no other has.

    Raises: SettingsError, where there is none, or more than one.
    """
    if not name:
        raise SettingsError("RUN is empty. Give an address, or the beginning of one, or the folder of a run.")
    path = Path(name)
    if (path / "run.json").is_file():
        return RunFolder(path)
    runs = store / "runs"
    if not runs.is_dir():
        raise SettingsError(
            f"{name} is not the folder of a run, and {store} contains no runs in which to look for it. Name the folder "
            "runs/ADDRESS itself, or use --store to name the --out of weightdecay train, sweep or compare."
        )
    there = [each for each in sorted(runs.iterdir()) if (each / "run.json").is_file()]
    found = [each for each in there if each.name.startswith(name.lower())]
    if len(found) > 1:
        raise SettingsError(f"{name!r} is the beginning of {len(found)} runs in {store}. Write more of the address.")
    if not found:
        near = difflib.get_close_matches(name.lower(), [each.name for each in there], n=1)
        hint = f"Did you mean {near[0]}?" if near else "An address is the name of the folder that contains run.json."
        raise SettingsError(f"none of the {len(there)} runs in {store} is {name!r}. {hint}")
    return RunFolder(found[0])


def trained(
    folder: RunFolder,
    place: Place,
    again: bool = False,
    samples: int = 1000,
    batch: int = 250,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> Trained:
    """Return the network of a run with its weights, and ``samples`` of its training examples (0: all of them).

    Images come in batches of ``batch``; of a text, whole steps as it was trained in, from the beginning on.

    The weights are those that the run kept; or those of its checkpoint, where it has not finished; or, if ``again``,
    come from training the run again, which is a function of the run: the hash that the result holds says whether the
    same ones came out, and if so they are kept.

    Raises: SettingsError, where there are no weights, and for runs of a network of one's own; DataError and
    StoreError, for files.
    """
    run, result = run_of(folder), folder.result()
    task = Named()
    try:
        task.check(run)
    except ValueError as error:
        raise SettingsError(f"{error} For a network of your own, call weightdecay.spectrum in Python.") from None
    if result is not None and result.status == "diverged":
        raise SettingsError(f"{run}: it diverged. A network that is not finite has no spectrum.")
    plain = replace(run, augment=False, processes=1)
    data = task.load(plain, place)
    device = torch.device(place.device)
    model = task.build(run, data.facts).to(device, torch.float64 if run.dtype == "float64" else torch.float32)
    start = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
    model = layout.laid_out(model, run, place)
    state, epochs, note = _state(folder, run, result, place, again, on_epoch)
    model.load_state_dict(state)
    examples = task.load(replace(plain, batch_size=1, sequence=1), place).steps  # one per step
    if data.facts.channels:
        shown = task.load(replace(plain, batch_size=batch), place)
    else:
        model, shown = Uncarried(model), data
    chosen = _first(shown, samples or examples)
    return Trained(run, epochs, model, start, chosen, examples, data.steps, note)


def _first(data: Data, samples: int) -> list[tuple[Tensor, Tensor]]:
    """Return the first batches until as many examples are seen, or all; images are cut to the number, steps are not."""
    chosen: list[tuple[Tensor, Tensor]] = []
    for one in data.train(1):
        part = slice(samples if data.facts.channels else None)
        chosen.append((one.inputs[part], one.targets.flatten()[part]))
        samples -= one.targets.numel()
        if samples <= 0:
            break
    return chosen


def run_of(folder: RunFolder) -> Run:
    """Return the run that a folder is of. Raises: SettingsError, for a file that describes none."""
    import json

    try:
        return Run.from_json(json.loads((folder.path / "run.json").read_text()))
    except (ValueError, TypeError, KeyError) as error:
        raise SettingsError(f"{folder.path / 'run.json'} does not describe a run ({error}).") from None


def _state(
    folder: RunFolder,
    run: Run,
    result: Result | None,
    place: Place,
    again: bool,
    on_epoch: Callable[[Epoch], None] | None,
) -> tuple[Weights, tuple[Epoch, ...], str]:
    """Return weights and running statistics, the epochs that led to them, and where they come from."""
    if result is None:
        content = folder.load_checkpoint()
        if content is None:
            raise SettingsError(
                f"{folder.path} has neither a result nor a checkpoint: the run was stopped before it wrote one. "
                "Train it first; the command that started it continues it."
            )
        epochs = tuple(Epoch(**epoch) for epoch in content["epochs"])
        where = f"the run's checkpoint, in epoch {content['epoch']} of {run.epochs}; the run has not finished"
        return content["model"], epochs, where
    weights = folder.weights()
    if weights is not None:
        return weights, result.epochs, f"{folder.kept}; their hash is that of the finished run"
    if not again:
        raise SettingsError(
            f"{run} has finished, and its weights were not kept; sweeps do not keep them. Add --train-again to "
            f"train it once more, which took {result.seconds:.0f} s. Equal runs give equal weights, and the hash in "
            "its result shows whether they are the same."
        )
    weights = _again(run, place, on_epoch)
    if digest(weights) == result.weights:
        folder.save_weights(weights)
        return weights, result.epochs, f"trained again; their hash is that of the result; kept in {folder.kept}"
    return weights, result.epochs, (
        "trained again, but the weights differ from those of the result, because another machine, another number of "
        "threads or another version changes the last bits. The spectrum is that of a similar run; these weights are "
        "not kept"
    )  # fmt: skip


def _again(run: Run, place: Place, on_epoch: Callable[[Epoch], None] | None) -> Weights:
    """Return the weights of a run, trained without a store."""
    if run.processes != 1:
        raise SettingsError(f"{run}: it was trained by {run.processes} processes, and cannot be trained again by one.")
    with processes.joined(place) as here, of_our_own(torch.device(here.device)):
        training = Training(run, here, Named(), None, Stop(), on_epoch)
        training.result()
        return {
            name: value.cpu()
            for name, value in processes.whole(dict(processes.bare(training.model).state_dict())).items()
        }
