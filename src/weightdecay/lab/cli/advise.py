"""``weightdecay advise``: which λ to try next, from what there is to what is wanted."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from weightdecay.lab.cli.outcome import wide_enough
from weightdecay.lab.cli.say import DONE, say
from weightdecay.lab.run.settings import SettingsError, flag, left_out

if TYPE_CHECKING:
    from rich.table import Table

    from weightdecay.transfer import Advice


@dataclass(frozen=True)
class AdviseSettings:
    """Which λ to try next: what the known rules make of another batch, length, optimizer, data or width.

    Every rule that applies says its lr and λ, the quantity that it keeps, three λ's to try, and where it was measured.
    Where rules disagree, all answers stand, with the reason. Nothing is trained and nothing is read.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "weightdecay advise --optimizer adamw --lr 1e-3 --weight-decay 0.1 --batch-size 128 --new-batch-size 1024 "
        "--epochs 90 --samples 1281167",
        "weightdecay advise --optimizer sgd --momentum 0.9 --lr 0.1 --weight-decay 5e-4 --new-optimizer sgdw",
        "weightdecay advise --optimizer adamw --lr 1e-2 --weight-decay 0.1 --width-factor 4",
        "weightdecay advise --optimizer adamw --lr 1e-3 --weight-decay 0.1 --new-optimizer lion",
    )
    optimizer: Annotated[str | None, left_out()] = None
    """The optimizer you have: a name, as in weightdecay.available(), or lion. Required."""
    lr: Annotated[float | None, left_out()] = None
    """The learning rate you have, at its peak. Required."""
    weight_decay: Annotated[float | None, left_out()] = None
    """The λ you have, in the optimizer's own meaning. Required."""
    batch_size: Annotated[float | None, left_out()] = None
    """Examples (or tokens) per step, over all processes."""
    epochs: Annotated[float | None, left_out()] = None
    """Passes over the data."""
    samples: Annotated[float | None, left_out()] = None
    """Number of examples (or tokens) in the training data."""
    momentum: Annotated[float | None, left_out()] = None
    """Momentum of SGD and its relatives, which need it here."""
    dampening: float = 0.0
    """Dampening of SGD, as in torch: at least 0 and below 1."""
    betas: tuple[float, float] = (0.9, 0.999)
    """β₁ and β₂ of Adam and its relatives."""
    decay: str = ""
    """The decay you have: l2, decoupled, stable, vanilla, independent or corrected. Empty: the optimizer's own."""
    mean_square: Annotated[float | None, left_out()] = None
    """v̄, the mean of v̂ over the model, for Adam, AMSGrad, Yogi (gain v̄^(−1/2)) and Padam (v̄^(−1/4))."""
    gain: Annotated[float | None, left_out()] = None
    """The gain, in place of --mean-square: effective_lr/lr, both in each line of a run's epochs.jsonl."""
    parameters: Annotated[float | None, left_out()] = None
    """Number of parameters of the model: needed by Power Lines, where batch size and samples are in tokens."""
    new_batch_size: Annotated[float | None, left_out()] = None
    """The batch size you want, in the unit of --batch-size."""
    new_epochs: Annotated[float | None, left_out()] = None
    """The number of epochs you want."""
    new_samples: Annotated[float | None, left_out()] = None
    """The number of training examples (or tokens) you want."""
    new_parameters: Annotated[float | None, left_out()] = None
    """The number of parameters you want."""
    width_factor: float = 1.0
    """How many times as wide the model becomes. 1: as wide as it is."""
    new_optimizer: Annotated[str | None, left_out()] = None
    """The optimizer you want."""
    new_decay: Annotated[str | None, left_out()] = None
    """The decay you want. Default: the new optimizer's own."""
    new_lr: Annotated[float | None, left_out()] = None
    """The lr you want. Needed for another algorithm (SGD to Adam, Adam to Padam): only for Lion a rule finds it."""
    new_momentum: Annotated[float | None, left_out()] = None
    """The momentum you want. Needed for an optimizer of SGD's family, coming from another family."""
    json: Annotated[bool, flag()] = False
    """Print JSON instead of the table."""


SAME_NAME = ("optimizer", "lr", "weight_decay", "batch_size", "epochs", "samples", "momentum", "dampening", "betas")
FLAGS = {"width": "--width-factor", "beta1": "--betas", "beta2": "--betas", "measured_gain": "--gain"}


def run_advise(settings: AdviseSettings) -> int:
    """Print what the rules say."""
    advice = advice_of(settings)
    if settings.json:
        say(json.dumps(advice.to_json(), indent=1, ensure_ascii=False, allow_nan=False))
        return DONE
    table = _table(advice)
    console = wide_enough(table)
    console.print(table)
    for line in _lines(advice):
        console.print(line, markup=False, highlight=False)
    return DONE


def advice_of(settings: AdviseSettings) -> Advice:
    """Return the rules' answers. Raises: SettingsError, which names the flag that is missing or wrong."""
    from weightdecay.transfer import MissingError, Setting, Wanted, advise

    values: dict[str, Any] = {name: getattr(settings, name) for name in SAME_NAME}
    try:
        for name, what in (("optimizer", "adamw"), ("lr", "1e-3"), ("weight_decay", "0.1")):
            if values[name] is None:
                raise MissingError(name, f"advice starts from what you have, as in {_flag(name)} {what}.")
        have = Setting(
            **values,
            decay=settings.decay,
            mean_square=settings.mean_square,
            measured_gain=settings.gain,
            parameters=settings.parameters,
        )
        wanted = Wanted(
            batch_size=settings.new_batch_size,
            epochs=settings.new_epochs,
            samples=settings.new_samples,
            parameters=settings.new_parameters,
            width=settings.width_factor,
            optimizer=settings.new_optimizer,
            decay=settings.new_decay,
            lr=settings.new_lr,
            momentum=settings.new_momentum,
        )
        return advise(have, wanted)
    except MissingError as error:
        raise SettingsError(f"{_flag(error.quantity)} is missing: {error.reason}") from None
    except ValueError as error:
        raise SettingsError(_in_flags(str(error))) from None


def _flag(name: str) -> str:
    return FLAGS.get(name, "--" + name.replace("_", "-"))


def _in_flags(text: str) -> str:
    """Return the message of a rule in the words of the command line."""
    if text.startswith("nothing changes"):
        return (
            "nothing changes: give at least one of --new-batch-size, --new-epochs, --new-samples, --new-parameters, "
            "--new-optimizer, --new-decay and --width-factor, with another value than you have."
        )
    names = "|".join((*AdviseSettings.__dataclass_fields__, *FLAGS))
    text = re.sub(rf"\b({names})=", lambda found: f"{_flag(found[1])} ", text)
    return text.replace("measured_gain", _flag("measured_gain"))


def _number(value: float) -> str:
    """Return three digits, rounded from twelve: the last bits of a float are no reason to print another one."""
    return f"{float(f'{value:.12g}'):.3g}"


def _beta(value: float) -> str:
    """Return a β with as many places as 1 − β needs for three digits."""
    return f"{value:.{2 - math.floor(math.log10(1 - value))}f}".rstrip("0").rstrip(".")


def _table(advice: Advice) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    old = advice.old
    table = Table(
        title=f"{old.name}, lr {old.lr:g}, λ {old.weight_decay:g} → {_what(advice)}",
        box=box.SIMPLE_HEAD,
        title_justify="left",
        title_style="bold",
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("rule")
    for heading in ("lr", "λ", "try λ"):
        table.add_column(Text(heading), justify="right", no_wrap=True)
    table.add_column("keeps")
    table.add_column("see", justify="right")
    notes = _notes(advice)
    for each in advice.recommendations:
        kept = "; ".join(f"{k.name} {_number(k.before)} → {_number(k.after)}" for k in each.kept)
        numbers = " ".join(str(notes[warning]) for warning in each.warnings)
        lr = _number(each.lr) + (f", β {' '.join(map(_beta, each.betas))}" if each.betas else "")
        tries = "  ".join(f"{float(f'{value:.12g}'):.2g}" for value in each.grid)
        table.add_row(*map(Text, (each.name, lr, _number(each.weight_decay), tries, kept, numbers)))
    return table


def _what(advice: Advice) -> str:
    """Return what changes, in words."""
    old, new = advice.old, advice.new
    words = [] if old.name == new.name else [new.name]
    for name, word in (("batch_size", "batch"), ("epochs", "epochs"), ("samples", "samples"), ("parameters",) * 2):
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            words.append(f"{word} {before:.6g} → {after:.6g}")
    if advice.width != 1:
        words.append(f"width × {advice.width:g}")
    return ", ".join(words)


def _notes(advice: Advice) -> dict[str, int]:
    """Return every warning with its number: the same one stands once."""
    said = dict.fromkeys(warning for each in advice.recommendations for warning in each.warnings)
    return {warning: number for number, warning in enumerate(said, 1)}


def _lines(advice: Advice) -> Iterator[str]:
    for warning, number in _notes(advice).items():
        yield f"{number:>2}  {warning}."
    for each in advice.disagreements:
        yield f" ≠  {each.one} against {each.other}: {each.why}."
    sources = dict.fromkeys(source for each in advice.recommendations for source in each.sources)
    yield f"sources: {', '.join(sources)}; docs/transfer.md"
