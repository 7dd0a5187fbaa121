"""A network and data of your own: two factories and a loss, and the lab does the rest."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from weightdecay import catalog
from weightdecay.decay import Decay, spelled
from weightdecay.lab.data.base import Carried, Data, DataError, Facts
from weightdecay.lab.data.scores import ERRORS, Mean, Scorer
from weightdecay.lab.own.loaders import Loaded, kind_of
from weightdecay.lab.run import Metric, Place, Run
from weightdecay.lab.run.product import OF_DATA_AND_NETWORK, TABLES, product
from weightdecay.lab.run.settings import SettingsError
from weightdecay.lab.run.source import digest

if TYPE_CHECKING:
    from weightdecay.lab.executors import Executor
    from weightdecay.lab.study.statistics import Comparison

LOSS = Scorer(Metric("test loss", ""), None, lambda loss, judged: loss)

Weights = Sequence[float] | Mapping[str, Sequence[float]]

FEW = 16
"""Examples that are looked at, to see what outputs and targets are."""

Loaders = tuple[Any, ...]
"""Iterables of (inputs, targets) that have a length."""

FACTORIES = {
    "model": "give a function that returns a new network, as every run begins with fresh weights: lambda: Net()",
    "data": "give a function of the batch size that returns the loaders: lambda batch_size: (training, test)",
    "loss": "give a function of outputs and targets, as torch.nn.functional.cross_entropy",
}


@dataclass(frozen=True)
class Own:
    """What is trained: your model, your data, your loss.

    ``model()`` returns the network with fresh weights; ``data(batch_size)`` returns the loaders of training and of
    test data, and of validation data if there are any, each giving batches (inputs, targets); ``loss(outputs,
    targets)`` returns the mean over a batch. ``judge(outputs, targets)`` returns the number of a batch that ``metric``
    names, lower being better; without it the test error in percent is taken where outputs are scores of classes that
    targets name, else the test loss.

    Initial weights, dropout and the order of a shuffling loader follow from the run's seed: torch's generators are set
    before each is drawn. NumPy's and Python's generators are yours to seed. One process only.

    The address of a run holds ``version`` and the code of factories, loss and judge, but not of what those call by a
    name of their module: raise ``version`` when that changes, lest results of the old code are taken for the new.

    >>> import torch
    >>> from torch.utils.data import DataLoader, TensorDataset
    >>> x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    >>> points = TensorDataset(x, (x.sum(1) > 0).long())
    >>> task = Own(
    ...     model=lambda: torch.nn.Linear(3, 2),
    ...     data=lambda batch_size: (DataLoader(points, batch_size, shuffle=True), DataLoader(points, 64)),
    ...     loss=torch.nn.functional.cross_entropy,
    ... )
    >>> from weightdecay.lab.training.train import train
    >>> result = train(task.run("adams", lr=0.1, weight_decay=1e-3, seed=0, epochs=5, batch_size=8), task=task)
    >>> result.status, result.metric.name
    ('finished', 'test error')

    Raises: DataError, in training, for loaders without a length or batches of another form.
    """

    model: Callable[[], nn.Module]
    data: Callable[[int], Loaders]
    loss: Mean
    judge: Mean | None = None
    metric: Metric = LOSS.metric
    name: str = "own"
    version: int = 1
    digest: str = field(init=False, repr=False)
    """What stands for the code in a run's address. It travels with the task; a worker has the code in another form."""

    def __post_init__(self) -> None:
        for name in ("model", "data", "loss"):
            given = getattr(self, name)
            if not callable(given) or (name == "model" and isinstance(given, nn.Module)):
                raise SettingsError(f"{self.name}: {name} is {type(given).__name__}: {FACTORIES[name]}.")
            self._takes(name, given)
        if self.judge is not None:
            if not callable(self.judge):
                raise SettingsError(f"{self.name}: judge is {type(self.judge).__name__}: {FACTORIES['loss']}.")
            self._takes("judge", self.judge)
        if not isinstance(self.metric, Metric):
            raise SettingsError(
                f'{self.name}: metric={self.metric!r}: give Metric(name, unit), as Metric("MAE", "mm").'
            )
        judged = (self.judge, self.metric.name, self.metric.unit) if self.judge is not None else ()
        parts = (self.version, self.model, self.data, self.loss, judged)
        object.__setattr__(self, "digest", digest(*parts))

    def _takes(self, name: str, given: Callable[..., Any]) -> None:
        """Refuse a function of other arguments, and the class of a loss in place of an object of it."""
        if name in ("loss", "judge") and isinstance(given, type) and issubclass(given, nn.Module):
            raise SettingsError(f"{self.name}: {name} is the class {given.__name__}. Call it: {given.__name__}().")
        count = {"model": 0, "data": 1}.get(name, 2)
        try:
            inspect.signature(given).bind(*range(count))
        except TypeError as error:
            what = FACTORIES.get(name, FACTORIES["loss"])
            raise SettingsError(f"{self.name}: {name} cannot be called ({error}): {what}.") from None
        except ValueError:  # some functions written in C tell no signature
            return

    def run(self, optimizer: str, **settings: Any) -> Run:
        """Return a run of this task; ``settings`` are the fields of a Run. Raises: SettingsError."""
        found = self._product({**settings, "optimizer": optimizer})
        if len(found) > 1:
            raise SettingsError(f"{self.name}: run() is one run, and these lists make {len(found)}. Use runs().")
        return found[0]

    def runs(self, optimizers: Sequence[str], weight_decays: Weights, seeds: int = 3, **settings: Any) -> list[Run]:
        """Return the runs of a grid. ``weight_decays`` are λ's for all optimizers, or for each by name.

        ``settings`` are the fields of a Run, each one value or a list of them, and ``decay``: a name, a path as
        ``"my_rules:Mine(0.3)"``, or an object. An optimizer of your own is a class or its path. Raises: SettingsError.
        """
        if isinstance(optimizers, str) or not optimizers:
            raise SettingsError(f'{self.name}: optimizers={optimizers!r}: give a list of names, as ["adamw", "adams"].')
        for name in ("optimizer", "weight_decay", "seed"):
            if name in settings:
                raise SettingsError(f"{self.name}: {name}={settings[name]!r} belongs into {name}s, of which it is one.")
        if isinstance(weight_decays, Mapping) and set(weight_decays) != set(optimizers):
            raise SettingsError(
                f"{self.name}: weight_decays are of {', '.join(weight_decays) or 'no optimizer'}, and the optimizers "
                f"are {', '.join(optimizers)}. Give λ's to each of them, or one list for all."
            )
        found = []
        for optimizer in optimizers:
            chosen = weight_decays[optimizer] if isinstance(weight_decays, Mapping) else weight_decays
            found += self._product({**settings, "optimizer": optimizer, "weight_decay": chosen, "seeds": seeds})
        return list(dict.fromkeys(found))

    def _product(self, settings: Mapping[str, Any]) -> list[Run]:
        for name in OF_DATA_AND_NETWORK:
            if name in settings:
                raise SettingsError(
                    f"{self.name}: {name}={settings[name]!r} is of the lab's own data and networks. Here your data() "
                    "and model() decide it: let them, and give each variant a name of its own."
                )
        of_python = {name: _as_written(name, value) for name, value in settings.items()}
        runs = product({**of_python, "data": self.name, "network": self.name}, self.name)
        return [replace(run, data_digest=self.digest) for run in runs]

    def compare(
        self,
        optimizers: Sequence[str],
        weight_decays: Weights,
        seeds: int = 3,
        out: str | Path = "weightdecay-own",
        on: Executor | None = None,
        **settings: Any,
    ) -> Comparison:
        """Train the grid, write page, figures and results.csv into ``out``, and return the comparison.

        What was trained before is kept; Ctrl-C stops, and the same call continues. ``settings`` are the fields of a
        Run, each one value or a list; without ``lr`` each optimizer has its own. ``on``: an executor, as
        ``executor("gpus", per_gpu=4)``. Raises: SettingsError; RunError, where runs raised; as ``train``.
        """
        from weightdecay.lab.report import write
        from weightdecay.lab.study.asked import questions
        from weightdecay.lab.study.conduct import Study, conduct
        from weightdecay.lab.study.statistics import compare

        runs, out = self.runs(optimizers, weight_decays, seeds, **settings), Path(out).absolute()
        asked = questions(runs, f"{self.name}.compare(...)")
        (question,) = asked.values()
        study = Study(
            title=self.name,
            questions=asked,
            out=out,
            judge=lambda results: compare(question, results),
            report=lambda comparison: write(comparison, out),
            on=on,
            task=self,
        )
        answered = conduct(study)
        assert answered is not None
        return answered.verdicts

    # ---------------------------------------------------------------- what the loop asks

    def check(self, run: Run) -> None:
        """Refuse a run that was named before the code changed. Raises: DataError."""
        if run.data_digest != self.digest:
            raise DataError(
                f"{self.name}: the code has changed since the run {run.address} was named. Make it again with run()."
            )

    def load(self, run: Run, place: Place) -> Data:
        """Make the loaders."""
        if place.world > 1:
            raise DataError(f"{self.name}: a task of your own runs in one process, and {place.world} came.")
        return Loaded(self.data(run.batch_size), self.name, run, torch.device(place.device))

    def build(self, run: Run, facts: Facts) -> nn.Module:
        """Make the network."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(run.seed)
            network = self.model()
        if not isinstance(network, nn.Module):
            raise DataError(
                f"{self.name}: model() must return a torch.nn.Module; it returned {type(network).__name__}."
            )
        return network

    def forward(self, model: nn.Module, inputs: Tensor, carried: Carried) -> tuple[Tensor, Carried]:
        """Nothing is carried from batch to batch."""
        return model(inputs), None

    def scorer(self, data: Data, model: nn.Module) -> Scorer:
        """By the user's judge; by errors, where outputs are scores of classes and targets classes; else by the loss.

        A few examples of the test data are looked at. Raises: DataError, for a loss or a judge that gives no number.
        """
        batch = next(iter(data.test()))
        inputs, targets = batch.inputs[:FEW], batch.targets[:FEW]
        outputs = model.eval()(inputs)
        loss: Any = self.loss(outputs, targets)
        if not isinstance(loss, Tensor) or loss.ndim or not loss.requires_grad:
            raise DataError(
                f"{self.name}: loss() must return the mean over a batch, a tensor of shape () that depends on the "
                f"weights; it returned {kind_of(loss)}."
            )
        if self.judge is not None:
            with torch.no_grad():
                judged: Any = self.judge(model(inputs), targets)
            if not isinstance(judged, (int, float)) and getattr(judged, "shape", None) != ():
                raise DataError(
                    f"{self.name}: judge() must return a number for a batch; it returned {kind_of(judged)}."
                )
            return Scorer(self.metric, self.judge, lambda loss, judged: judged)
        return ERRORS if _are_classes(outputs, targets) else LOSS


def _as_written(name: str, value: Any) -> Any:
    """Return a setting as a file would hold it: several values as a list, options as a table, code as a path."""
    if name in TABLES and isinstance(value, tuple):
        return dict(value)
    if isinstance(value, Decay):
        return spelled(value)
    if isinstance(value, type) and name in ("optimizer", "decay", ""):
        return catalog.path_of(value)
    if callable(plain := getattr(value, "tolist", None)):  # of a tensor or an array
        value = plain()
    if isinstance(value, (str, dict)) or not isinstance(value, Iterable):
        return value
    return [_as_written("", one) for one in value]


def _are_classes(outputs: Any, targets: Tensor) -> bool:
    """Whether outputs are scores (n, classes) of two classes or more, and targets (n,) name some of them."""
    whole = targets.ndim == 1 and not (
        targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool
    )
    if not whole or not isinstance(outputs, Tensor) or outputs.ndim != 2 or len(outputs) != len(targets):
        return False
    return outputs.shape[1] > 1 and bool(((targets >= 0) & (targets < outputs.shape[1])).all())
