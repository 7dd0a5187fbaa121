"""``weightdecay spectrum RUN``: eigenvalues of the loss of a trained network, with λ drawn in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from weightdecay.checks import whole_at_least
from weightdecay.lab.cli.say import DONE, FAILED, fail, say, status_of
from weightdecay.lab.run import Place
from weightdecay.lab.run.interrupt import sigterm_raises
from weightdecay.lab.run.settings import SEEDS, SettingsError, as_settings, command_line, flag, left_out

if TYPE_CHECKING:
    from collections.abc import Callable

    from weightdecay.lab.pages.spectrum.explain import Measured
    from weightdecay.lab.run import Epoch


@dataclass(frozen=True)
class SpectrumSettings:
    """Measure the Hessian of a run's network on its training data: top eigenvalues, trace, density, with λ drawn in.

    A run of weightdecay train keeps its weights, a run of a sweep does not: --train-again trains it once more, checks
    the weights by their hash and keeps them. Ends with a table, two figures, spectrum.csv and one page, spectrum.html.
    """

    examples: ClassVar[tuple[str, ...]] = ("weightdecay spectrum weightdecay-runs/runs/969e60a52769d9bf",)
    run: str
    """Folder of a run, or its address in --store (the beginning is enough)."""
    store: Path = Path("weightdecay-runs")
    """Folder of runs, where RUN is an address."""
    train_again: Annotated[bool, flag()] = False
    """Train a finished run that kept no weights once more, to have them."""
    kind: Literal["hessian", "ggn"] = "hessian"
    """The Hessian, or the generalised Gauss-Newton matrix, which is never negative."""
    top: int = 20
    """Number of the largest eigenvalues that are computed: the most positive ones."""
    samples: int = 1000
    """Training images to measure on, or tokens of a text, in whole steps. 0: all."""
    probes: int = 4
    """Number of random vectors that the density is estimated with."""
    points: int = 80
    """Points of the density per random vector: steps of Lanczos. More of them resolve smaller eigenvalues."""
    seed: int = 0
    """Seed of the random vectors."""
    device: str = "auto"
    """Device: auto (the GPU if there is one), cpu, cuda or cuda:1."""
    data_folder: Annotated[Path | None, left_out("$WEIGHTDECAY_DATA, else a folder of the cache")] = None
    """Folder of the data sets."""
    out: Annotated[Path | None, left_out("spectrum in the folder of the run")] = None
    """Folder for page, figures and CSV."""


LEAST = {"top": 1, "samples": 0, "probes": 1, "points": 2}


def run_spectrum(settings: SpectrumSettings) -> int:
    """Measure, print, draw."""
    with as_settings():
        for name, least in LEAST.items():
            usual = getattr(SpectrumSettings, name)
            whole_at_least(f"--{name}", getattr(settings, name), least, f"The default is {usual}.")
    if not -SEEDS <= settings.seed < SEEDS:
        raise SettingsError(f"--seed {settings.seed}: it must fit into 64 bits.")
    place = Place(device=settings.device, data=settings.data_folder)
    try:
        with sigterm_raises():
            return _run(settings, place)
    except KeyboardInterrupt as stopped:
        return fail(
            "stopped: the spectrum is not kept, weights that were trained again to the end are. The same command "
            "starts anew.",
            status_of(stopped),
            label="",
        )


def _run(settings: SpectrumSettings, place: Place) -> int:
    import weightdecay.lab.report.backend  # noqa: F401 - before matplotlib
    from weightdecay.lab.pages.spectrum.explain import meaning, measured
    from weightdecay.lab.pages.spectrum.page import page
    from weightdecay.lab.pages.spectrum.run import find, run_of, trained
    from weightdecay.spectrum import NotConvergedError

    folder = find(settings.run, settings.store)
    meaning(run_of(folder))  # before it is trained again: of vanilla decay there is nothing to draw
    out = settings.out or folder.path / "spectrum"
    out.mkdir(parents=True, exist_ok=True)  # before anything is measured: it may be no folder
    place = replace(place, device=device_of(place.device))

    def told(epoch: Epoch) -> None:
        say(f"epoch {epoch.epoch}, training loss {epoch.train_loss or float('nan'):.4g}")

    try:
        of = trained(folder, place, settings.train_again, settings.samples, on_epoch=told)
        check_memory(settings, sum(p.numel() for p in of.model.parameters()))
        say(f"measuring on {sum(len(targets) for _, targets in of.data):,} {of.unit}")
        with progress() as on_product:
            found = measured(
                of, settings.kind, settings.top, settings.probes, settings.points, settings.seed, on_product
            )
    except ValueError as error:
        raise error if isinstance(error, SettingsError) else SettingsError(str(error)) from error
    except NotConvergedError as error:
        return fail(str(error), FAILED)
    written = page(found, of, out, command_line(settings, ["spectrum", settings.run]))
    show(found, str(of.run), of.note)
    say(f"page    {written}\nresults {out / 'spectrum.csv'}")
    for figure in ("spectrum", "prediction"):
        say(f"figure  {out / figure}.png")
    return DONE


def device_of(name: str) -> str:
    """Return the device. Raises: SettingsError, where torch has none of that name here."""
    import torch

    from weightdecay.lab.training.processes import present

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        present(name)
    except ValueError as error:
        raise SettingsError(str(error)) from None
    return name


def check_memory(settings: SpectrumSettings, size: int) -> None:
    """Refuse what this machine cannot hold. Raises: SettingsError.

    ARPACK holds 3·top vectors in float64, Lanczos ``points`` of them in the weights' own type.
    """
    import os

    if settings.top >= size:
        say(f"--top {settings.top}: the network has {size:,} weights, and {size - 1:,} eigenvalues are looked for.")
    if not hasattr(os, "sysconf"):
        return
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name, value, each in (("top", min(settings.top, size - 1), 24), ("points", min(settings.points, size), 4)):
        need = value * each * size
        if need > there:
            raise SettingsError(
                f"--{name} {getattr(settings, name)}: vectors of {size:,} numbers would take {need / 2**30:.0f} GiB, "
                f"and this machine has {there / 2**30:.0f}. Ask for fewer."
            )


@contextmanager
def progress() -> Iterator[Callable[[int], None]]:
    """Show how many products have been taken, on stderr, and on a terminal only."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    with Progress(
        SpinnerColumn(), TextColumn("{task.completed} products with the matrix"), TimeElapsedColumn(), console=console,
        transient=True, disable=not console.is_terminal,
    ) as bar:  # fmt: skip
        task = bar.add_task("", total=None)
        yield lambda done: bar.update(task, completed=done)


def show(found: Measured, name: str, note: str) -> None:
    """Print the table and the answers."""
    from rich import box
    from rich.table import Table

    from weightdecay.lab.cli.outcome import wide_enough
    from weightdecay.lab.pages.spectrum.page import LENGTHS, cells, percent, predictions, shown, wide
    from weightdecay.spectrum import QUESTIONS

    style = {"box": box.SIMPLE_HEAD, "title_justify": "left", "title_style": "bold", "pad_edge": False}
    table = Table(**style)  # type: ignore[arg-type]
    spectrum, lam = found.spectrum, found.weight_decay
    for heading in ("eigenvalue", "bias, of θ*", "time, Ση·gain"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in spectrum.directions(lam):
        table.add_row(*cells(one))
    lengths = Table(title="predicted best λ, in the run's meaning", **style)  # type: ignore[arg-type]
    lengths.add_column("length")
    for words in QUESTIONS.values():
        lengths.add_column(words, justify="right")
    every = predictions(found)
    for i, length in enumerate(LENGTHS):
        lengths.add_row(f"× {length}", *(shown(one, found) for one in every[3 * i : 3 * i + 3]))
    say(f"\n{name}\n")
    wide_enough(table).print(table)
    share = spectrum.share(lam)
    say(f"trace            {spectrum.trace.value:.4g} ± {spectrum.trace.error:.2g}")
    say(f"|H_i| below λ    {percent(share)} of {spectrum.density.size:,} directions, λ = {lam:.3g} as in L2")
    if wide(share):
        say("                 " + wide(share))
    say(f"weights          {note}")
    wide_enough(lengths).print(lengths)
