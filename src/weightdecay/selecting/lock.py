"""``decay.lock``: which tensors decay and how, as a file that a person reviews and a test compares."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightdecay.whole import write_whole

if TYPE_CHECKING:
    from weightdecay.selecting.survey import Held

VERSION = 1
Lines = dict[str, dict[str, Any]]
"""By tensor: its role, λ and decay."""


def lines_of(tensors: Iterable[Held]) -> Lines:
    """Return what the file holds of every tensor that is trained, sorted by name, layer 2 before layer 10."""
    lines = {
        held.entry.name: {
            "role": held.role,
            "weight_decay": held.strength,
            "decay": held.meaning.decay if held.meaning is not None and held.strength else None,  # at λ = 0 none acts
        }
        for held in tensors
        if held.groups or held.entry.param.requires_grad
    }
    return {name: lines[name] for name in sorted(lines, key=_natural)}


def write(path: Path, lines: Lines) -> None:
    """Write JSON, one line per tensor, so that a diff shows the tensors that changed and no others."""
    body = ",\n".join(
        f"  {json.dumps(name, ensure_ascii=False)}: {json.dumps(line, ensure_ascii=False)}"
        for name, line in lines.items()
    )
    write_whole(path, f'{{"weightdecay": {VERSION}, "tensors": {{\n{body}\n}}}}\n')


def read(path: Path) -> Lines:
    """Return what was written. Raises: OSError; ValueError, for a file that is none of ours."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        version, tensors = found["weightdecay"], found["tensors"]
        if version == VERSION and all({"weight_decay", "decay"} <= set(line) for line in tensors.values()):
            return dict(tensors)
        reason = f"it is of version {version!r}, and this one reads {VERSION}" if version != VERSION else "lines lack λ"
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
    raise ValueError(f"{path} is not a file of audit().save() ({reason}). Write it anew with weightdecay audit --save.")


def differences(before: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return one line for each kind of change, with the tensors; none where λ and decay of all are as they were."""
    changed: dict[str, list[str]] = {}
    for name in sorted({*before, *now}, key=_natural):
        said = _change(before.get(name), now.get(name))
        if said:
            changed.setdefault(said, []).append(name)
    return [f"{said}: {_listed(names)}" for said, names in changed.items()]


def _change(before: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> str:
    if before is None:
        return f"new, {_how(now)}"
    if now is None:
        return f"gone, had {_how(before)}"
    old, new = before["weight_decay"], now["weight_decay"]
    if bool(old) != bool(new):
        return f"{'now decays' if new else 'no longer decays'}, {_how(before)} → {_how(now)}"
    changes = [f"{_strength(old)} → {_strength(new)}"] if old != new else []
    if new and before["decay"] != now["decay"]:
        changes.append(f"decay {before['decay']} → {now['decay']}")
    return ", ".join(changes)


def _strength(value: float | None) -> str:
    return "no λ" if value is None else f"λ {value:.6g}"


def _how(line: Mapping[str, Any] | None) -> str:
    assert line is not None
    strength = line["weight_decay"]
    return f"{_strength(strength)} {line['decay']}" if strength else _strength(strength)


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return f"{len(names)} tensor{'s' * (len(names) > 1)}: {shown}"


def _natural(name: str) -> tuple[Any, ...]:
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name))
