"""``weightdecay measure WHAT``: what an optimizer's ``weight_decay`` does, found by experiment."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from weightdecay.lab.cli.say import DONE, FAILED, fail, say
from weightdecay.lab.run.settings import SettingsError, left_out


@dataclass(frozen=True)
class MeasureSettings:
    """Find what the weight_decay of an optimizer does, by moving a small weight through given gradients.

    Prints the kind of decay, its exponents in the lr, the schedule and the scale of the gradients, and whether it
    reaches vectors and bfloat16 weights. For a library: a Markdown table of its optimizers. --expect KIND exits with
    status 1 if another kind is found.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "weightdecay measure torch.optim:SGD --options momentum=0.9",
        "weightdecay measure torch timm",
        "weightdecay measure all",
    )
    what: tuple[str, ...]
    """Paths as "torch.optim:AdamW", names as in weightdecay.available(), or libraries; all: every known library."""
    options: tuple[str, ...] = ()
    """Options of the optimizer's constructor, as NAME=VALUE: momentum=0.9."""
    key: str = "weight_decay"
    """The name that the optimizer has for λ."""
    expect: Annotated[str | None, left_out()] = None
    """The kind of decay that must be found; any other is exit status 1:
    l2, decoupled, independent, vanilla, stable, cautious(decoupled), …, none."""


def run_measure(settings: MeasureSettings) -> int:
    """Measure and print."""
    from weightdecay.lab.pages.keyword import libraries, table

    if not settings.what:
        raise SettingsError('name an optimizer, as "torch.optim:AdamW", or a library, or all.')
    options = _options(settings.options)
    known = libraries()
    chosen = known if settings.what == ("all",) else [name for name in settings.what if name in known]
    optimizers = [name for name in settings.what if name not in known and name != "all"]
    if chosen and (options or settings.expect or optimizers):
        raise SettingsError(f"{chosen[0]} is a library: --options, --expect and other optimizers do not go with it.")
    for line in table(chosen) if chosen else ():
        say(line)
    return max((_one(name, settings, options) for name in optimizers), default=DONE)


def _one(name: str, settings: MeasureSettings, options: dict[str, Any]) -> int:
    from weightdecay.measuring import assert_decays, measure

    try:
        got = measure(name, key=settings.key, **options)
        say(str(got))
        if settings.expect is not None:
            assert_decays(got, settings.expect)
    except ValueError as error:  # a name, an option or an optimizer that cannot be measured
        raise SettingsError(str(error)) from None
    except AssertionError as error:
        return fail(str(error), FAILED)
    return DONE


def _options(texts: tuple[str, ...]) -> dict[str, Any]:
    """Return options as Python values; what is no literal is a text. Raises: SettingsError."""
    options = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise SettingsError(f"--options {text}: write name=value, as in momentum=0.9.")
        try:
            options[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            options[name] = value
    return options
