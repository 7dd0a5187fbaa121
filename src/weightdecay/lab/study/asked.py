"""Runs that a file, a folder or a program made, as questions: one for each data set and network."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Container, Iterable, Mapping
from dataclasses import asdict, replace

from weightdecay.lab.run import Run
from weightdecay.lab.run.product import OF_DATA_AND_NETWORK, TABLES
from weightdecay.lab.study.question import Point, Question

AXES = ("optimizer", "lr", "weight_decay", "seed")


def questions(runs: Iterable[Run], command: str, title: str = "") -> dict[str, Question]:
    """Return a question for each data and network, by a name that a folder can have.

    Numbers of different ones are not compared, nor those of one whose content or code has changed (``data_digest``).
    Runs that differ by seed only are a point; those that differ in lr and λ a curve; what else differs names the curve.
    """
    groups: dict[tuple[str, str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.data, run.network, run.data_digest), []).append(run)
    versions = Counter((data, network) for data, network, _ in groups)
    found: dict[str, Question] = {}
    for (data, network, digest), members in groups.items():
        version = digest[:8] if versions[data, network] > 1 else ""
        name = _folder(f"{_short(data)}-{network}", f"-{version}" if version else "", found)
        found[name] = _question(members, command, title, f" (version {version})" if version else "")
    return found


def together(asked: Mapping[str, Question]) -> Question:
    """Return the runs of all questions as one, to be trained and watched: every run under the first that asks for it.

    Points of several questions bear the name of theirs.
    """
    if len(asked) == 1:
        return next(iter(asked.values()))
    points: dict[Point, tuple[Run, ...]] = {}
    seen: set[Run] = set()
    for name, question in asked.items():
        for point, runs in question.points.items():
            if new := tuple(run for run in runs if run not in seen):
                seen.update(new)
                points[replace(point, variant=", ".join(filter(None, (name, point.variant))))] = new
    first = next(iter(asked.values()))
    return Question(points, first.setting, first.command, name=first.name)


def _short(data: str) -> str:
    return data.rstrip("/").rpartition("/")[2].replace(":", "-")


def _folder(name: str, ending: str, taken: Container[str]) -> str:
    """Return a name of letters, digits, "-", "_" and ".", of 80 characters at most, that is not taken.

    A file system counts bytes, 255 of them: so rare letters are fewer.
    """
    plain = re.sub(r"[^\w.-]+", "-", name).lstrip(".")
    tails = itertools.chain([ending], (f"{ending}-{number}" for number in itertools.count(2)))
    cut = (plain[: 80 - len(tail)].encode()[: 240 - len(tail)].decode(errors="ignore") + tail for tail in tails)
    return next(made for made in cut if made not in taken)


def _question(runs: list[Run], command: str, title: str, version: str) -> Question:
    described = _described(runs)
    names = {name: None for one in described.values() for name in one}
    varied = [name for name in names if len({one.get(name) for one in described.values()}) > 1]
    # What an optimizer always has (its own options) does not set its curves apart.
    own = {
        name
        for name in varied
        if all(
            len({described[run].get(name) for run in runs if run.optimizer == optimizer}) == 1
            for optimizer in {run.optimizer for run in runs}
        )
    }
    points: dict[Point, list[Run]] = {}
    for run in runs:
        variant = ", ".join(
            f"{name}={described[run][name]}" for name in varied if name not in own and name in described[run]
        )
        points.setdefault(Point(run.optimizer, run.lr, run.weight_decay, variant), []).append(run)
    first = runs[0]
    noise = {run.label_noise for run in runs}
    rows = [("Sweep", title)] if title else []
    own_task = first.data == first.network  # of Own, where one name is that of both
    rows += (
        [("Task", first.data + version)] if own_task else [("Data", first.data + version), ("Network", first.network)]
    )
    rows += [("The same for all", ", ".join(f"{k} {v}" for k, v in described[first].items() if k not in varied))]
    return Question(
        points={point: tuple(sorted(members, key=lambda run: run.seed)) for point, members in points.items()},
        setting=f"{_short(first.data)}{version}" + ("" if own_task else f" with {first.network}"),
        command=command,
        rows=tuple(rows),
        label_noise=max(noise),
        name="sweep",
    )


def _described(runs: list[Run]) -> dict[Run, dict[str, str]]:
    """Return everything but the axes of a comparison, each as text, options one by one.

    Code of a user's own is told by its digest only where runs differ by nothing else.
    """
    described = {run: _texts(run) for run in runs}
    versions: dict[tuple[object, ...], set[str]] = {}
    for run, texts in described.items():
        versions.setdefault((run.optimizer, *texts.items()), set()).add(run.optimizer_digest)
    if any(len(digests) > 1 for digests in versions.values()):
        for run, texts in described.items():
            texts["code"] = run.optimizer_digest[:8]
    decays = {texts["decay"] for texts in described.values() if "decay" in texts}
    if len({without_module(decay) for decay in decays}) == len(decays):
        for texts in described.values():
            if "decay" in texts:
                texts["decay"] = without_module(texts["decay"])
    return described


def without_module(decay: str) -> str:
    """Return a decay as it is read: without the module of a user's own.

    >>> without_module("toward(1.0, decay=my_rules:Mine(0.3))")
    'toward(1.0, decay=Mine(0.3))'
    """
    return re.sub(r"[\w.]+:", "", decay)


def _start(run: Run, start: Run) -> str:
    """Return a name of the start that is the same for all seeds, where each seed has a start of its own."""
    return replace(start, seed=0).address if start.seed == run.seed else start.address


def _texts(run: Run) -> dict[str, str]:
    found: dict[str, str] = {}
    left_out = (*AXES, "data", "network", "data_digest", "optimizer_digest")
    for name, value in asdict(run).items():
        if name in TABLES:
            found |= {key: f"{one:g}" if isinstance(one, float) else str(one) for key, one in getattr(run, name)}
        elif name in ("classes", "start", "frozen"):  # which few runs have
            if value:
                found[name] = _start(run, run.start) if run.start and name == "start" else str(value)
        elif name not in left_out and not (run.data == run.network and name in OF_DATA_AND_NETWORK):
            found[name] = f"{value:g}" if isinstance(value, float) else str(value)
    return found
