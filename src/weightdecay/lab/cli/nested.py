"""Runs and places on the command line: the fields that they have anyway, and what stands below each, as options."""

from __future__ import annotations

import ast
import inspect
import math
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import cache
from typing import Annotated, Any, get_type_hints

from weightdecay.lab.cli.words import read_options, written_options
from weightdecay.lab.run import Place, Run
from weightdecay.lab.run.run import ITS_OWN
from weightdecay.lab.run.settings import OPTION, SettingsError, flag

NOT_ASKED: Mapping[type, tuple[str, ...]] = {
    Run: ("optimizer_digest", "data_digest", "processes", "start"),
    Place: ("rank", "world"),
}
"""Fields that no person sets: they follow from the code, the data and torchrun."""

OPTIONS = ("optimizer_options", "network_options")

EXAMPLES = {
    "optimizer_options": "written NAME=VALUE, as in momentum=0.9 nesterov=true",
    "network_options": "written NAME=VALUE, as in width=16 dropout=0.5",
}


class _MistakenError(Exception):
    """A mistake on its way through the parser, which would put words of its own before a ValueError's."""


@contextmanager
def nested() -> Iterator[None]:
    """Let the parser read a :class:`Run` and a :class:`Place` inside of a command's settings, each field an option.

    Raises: SettingsError, for a value that the field refuses.
    """
    from tyro.constructors import ConstructorRegistry, StructConstructorSpec

    registry = ConstructorRegistry()

    @registry.struct_rule
    def rule(found: Any) -> StructConstructorSpec | None:
        if found.type not in NOT_ASKED or not isinstance(found.default, found.type):
            return None
        default = found.default

        def made(**values: Any) -> Any:
            names = {field.metadata.get(OPTION, field.name): field.name for field in fields(found.type)}
            values = {names[name]: value for name, value in values.items()}
            try:
                if found.type is Run:
                    values["lr"] = _lr(values["lr"])
                for name in OPTIONS:
                    if name in values:
                        values[name] = read_options("--" + name.replace("_", "-"), values[name])
                return replace(default, **values)
            except SettingsError as error:
                raise _MistakenError(str(error)) from None

        return StructConstructorSpec(instantiate=made, fields=tuple(_fields(found.type, default)))

    try:
        with registry:
            yield
    except _MistakenError as mistaken:
        raise SettingsError(str(mistaken)) from None


def _fields(kind: type, default: Any) -> Iterator[Any]:
    import tyro
    from tyro.constructors import StructFieldSpec

    said, types = described(kind), get_type_hints(kind)
    for field in fields(kind):
        if field.name in NOT_ASKED[kind]:
            continue
        name, value, asked, hint = field.name, getattr(default, field.name), types[field.name], None
        help_ = said[name]
        if name in OPTIONS:
            value, asked, hint = written_options(value), tuple[str, ...], "(default: none)"
            help_ = f"{help_.removesuffix('.')}, {EXAMPLES[name]}."
        elif kind is Run and name == "lr":
            value, asked, hint = (None if math.isnan(value) else value), float | None, "(default: the optimizer's own)"
        elif value is None or value == "":
            hint = "(default: none)"
        if asked is bool:
            asked = Annotated[bool, flag()]
        elif hint:
            asked = Annotated[asked, tyro.conf.arg(help_behavior_hint=hint)]
        yield StructFieldSpec(name=field.metadata.get(OPTION, name), type=asked, default=value, helptext=help_)


def _lr(given: float | None) -> float:
    if given is None:
        return ITS_OWN
    if math.isnan(given):  # it would be taken for what was not given
        raise SettingsError("--lr nan: a learning rate is a number of at least 0.")
    return given


@cache
def described(kind: type) -> Mapping[str, str]:
    """Return the text below each field of a dataclass, in one line."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            assert isinstance(field.target, ast.Name)
            found[field.target.id] = " ".join(str(below.value.value).split())
    return found
