"""Where runs live: a folder each, in which nothing that was finished can be lost, whatever happens to a process.

::

    runs/<address>/run.json             what the run is, for a person
                   epochs.jsonl         a line per epoch, appended as it is measured
                   checkpoint.pt        how far it is, with its checksum; gone once it has finished
                   checkpoint.1.pt      the one before
                   result.json          what came of it, with its checksum
                   weights.pt           the weights at the end, where they were to be kept
                   lock                 held by the process that trains it
    starts/runs/…                       the same, of runs that others start from and nobody asked for
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from weightdecay.lab.run.lock import locked
from weightdecay.lab.run.place import broken_link
from weightdecay.lab.run.run import Epoch, Result, Run
from weightdecay.lab.run.weights import Weights, digest
from weightdecay.whole import ENDING, written


class StoreError(Exception):
    """Something about the files that a person must decide: one line that names the file, the reason, the way out."""


class DamagedCheckpointWarning(UserWarning):
    """A checkpoint that does not match its checksum was put aside, and the one before it is used."""


class Store:
    """A folder of runs.

    Several processes may use one store at once. A file is written aside, synced and renamed: after a crash it is whole,
    or what it was before. Nothing is ever deleted but the checkpoints of a run that has finished.

    Raises: StoreError, when the folder cannot be written, at once; when a file is damaged, on reading it.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.runs = self.folder / "runs"
        try:
            self.runs.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.runs):
                pass
        except OSError as error:
            if what := broken_link(self.folder):
                raise StoreError(f"{self.folder} {what}") from None
            raise StoreError(
                f"cannot write to the folder {self.folder} ({error.strerror}). Name another one."
            ) from None

    def of(self, run: Run) -> RunFolder:
        """Return the folder of a run, to read from; it need not exist."""
        return RunFolder(self.runs / run.address, run)

    @contextlib.contextmanager
    def open(self, run: Run) -> Iterator[RunFolder]:
        """Hold the folder of a run: nobody else can train it.

        Raises: Busy, where another process holds it.
        """
        folder = self.of(run)
        with contextlib.ExitStack() as stack:
            try:
                folder.path.mkdir(exist_ok=True)
                stack.enter_context(locked(folder.path / "lock", f"the run {run.address} in {self.folder}"))
                folder.clear_up()
            except OSError as error:
                raise _cannot_write(folder.path, error) from error
            yield folder

    def result(self, run: Run) -> Result | None:
        """Return the result of a finished run; None where it has not finished."""
        return self.of(run).result()

    def results(self) -> list[Result]:
        """Return every finished run, in the order of the addresses."""
        found = (RunFolder(path).result() for path in sorted(self.runs.iterdir()) if path.is_dir())
        return [result for result in found if result is not None]

    def save(self, result: Result) -> None:
        """Keep a result that was computed elsewhere. Raises as :meth:`open`."""
        with self.open(result.run) as folder:
            for epoch in result.epochs:
                folder.log(epoch)
            folder.save(result)


class RunFolder:
    """The files of one run."""

    def __init__(self, path: Path, run: Run | None = None) -> None:
        self.path, self.run = path, run
        self.newest, self.before = path / "checkpoint.pt", path / "checkpoint.1.pt"
        self.kept = path / "weights.pt"

    def clear_up(self) -> None:
        """Remove what a killed process left half written, and say what the run is."""
        for beside in self.path.glob(f"*{ENDING}"):
            beside.unlink(missing_ok=True)
        if self.run and not (self.path / "run.json").exists():
            _write(self.path / "run.json", (json.dumps(asdict(self.run), indent=1) + "\n").encode())

    # ---------------------------------------------------------------- what was measured

    def log(self, epoch: Epoch) -> None:
        """Append a line; a line that a killed process left unfinished is cut off first."""
        path = self.path / "epochs.jsonl"
        line = json.dumps(asdict(epoch), allow_nan=False) + "\n"
        try:
            with open(path, "ab+") as file:
                _cut_to_whole_lines(file)
                file.write(line.encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise _cannot_write(path, error) from None

    def epochs(self) -> list[Epoch]:
        """Return what was measured so far. An epoch that was taken twice, because a process was killed, counts once."""
        try:
            lines = (self.path / "epochs.jsonl").read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        found = {epoch.epoch: epoch for epoch in (Epoch(**json.loads(line)) for line in lines[:-1])}
        return [found[number] for number in sorted(found)]

    def result(self) -> Result | None:
        """Return the result; None where there is none. Raises: StoreError, for a damaged file."""
        path = self.path / "result.json"
        try:
            document = json.loads(path.read_text())
            content = document["result"]
            if document["sha256"] != _digest(content):
                raise ValueError("its checksum does not match: something in it has changed")
            result = Result.from_json(content)
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(
                f"{path} is not a whole result ({error}). Move it away to train that run again, or restore it; "
                "nothing has been changed."
            ) from None
        if result.run.address != self.path.name:
            raise StoreError(
                f"{path} holds the run {result.run.address}: the folder was renamed, or written by another version. "
                "Move it away; nothing has been changed."
            )
        return result

    def save(self, result: Result) -> None:
        """Keep the result, and forget the checkpoints."""
        content = result.to_json()
        document = {"sha256": _digest(content), "result": content}
        _write(self.path / "result.json", (json.dumps(document, indent=1, allow_nan=False) + "\n").encode())
        for checkpoint in (self.newest, self.before):
            checkpoint.unlink(missing_ok=True)

    def save_weights(self, weights: Weights) -> None:
        """Keep the weights at the end."""
        _write(self.kept, _saved(weights))

    def weights(self) -> Weights | None:
        """Return the weights of the finished run; None where they were not kept.

        Raises: StoreError, where they are not those whose hash the result holds.
        """
        import torch

        result = self.result()
        if result is None or not self.kept.exists():
            return None
        try:
            weights: Weights = torch.load(self.kept, map_location="cpu", weights_only=True)
            same = digest(weights) == result.weights
        except Exception:  # whatever a damaged file makes torch raise
            same = False
        if not same:
            raise StoreError(
                f"{self.kept} does not hold the weights of the run: their hash is not the one in result.json. "
                "Move it away; nothing has been changed."
            )
        return weights

    # ---------------------------------------------------------------- how far it is

    def save_checkpoint(self, content: dict[str, Any]) -> None:
        """Keep how far the run is; the one before is kept as well, until the next.

        Raises: StoreError, where it cannot be written: then both are what they were.
        """
        data = _saved(content)
        _write(self.newest, hashlib.sha256(data).digest(), data, previous=self.before)

    def load_checkpoint(self) -> dict[str, Any] | None:
        """Return how far the run was; None where there is nothing.

        A damaged one (a flipped bit would load without any error) is put aside, with a warning, and the one before it
        taken. Raises: StoreError, where none is whole.
        """
        damaged: list[Path] = []
        for path in (self.newest, self.before):
            try:
                content = _read_checkpoint(path)
            except FileNotFoundError:
                continue
            except _DamagedError:
                damaged.append(path)
                continue
            for bad in damaged:
                aside = bad.with_suffix(".damaged")
                bad.rename(aside)
                said = f"{bad} is damaged: its checksum does not match. It was moved to {aside.name}, and the run goes "
                warnings.warn(said + "on from the checkpoint before it.", DamagedCheckpointWarning, stacklevel=2)
            return content
        if not damaged:
            return None
        raise StoreError(
            f"the checkpoint {damaged[0]} is damaged, and there is no whole one before it. Move "
            f"{'both' if len(damaged) > 1 else 'it'} away to train that run from its start; finished ones are safe."
        )


class _DamagedError(Exception):
    """The content is not what its checksum says."""


def _read_checkpoint(path: Path) -> dict[str, Any]:
    import torch

    whole = path.read_bytes()
    digest, data = whole[:32], memoryview(whole)[32:]
    if hashlib.sha256(data).digest() != digest:
        raise _DamagedError
    content: dict[str, Any] = torch.load(io.BytesIO(data), weights_only=True)
    return content


def _saved(content: dict[str, Any]) -> memoryview:
    import torch

    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getbuffer()


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _cut_to_whole_lines(file: Any) -> None:
    end = file.seek(0, os.SEEK_END)
    start = max(0, end - (1 << 16))
    file.seek(start)
    tail = file.read()
    if tail and not tail.endswith(b"\n"):
        file.truncate(start + tail.rfind(b"\n") + 1)


def _write(path: Path, *pieces: Any, previous: Path | None = None) -> None:
    """Write aside, sync, rename: after a crash the old file is there (maybe as ``previous``), or the new one."""
    try:
        with written(path) as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
            if previous and path.exists():
                os.replace(path, previous)
        _sync_folder(path.parent)
    except OSError as error:
        raise _cannot_write(path, error) from None


def _sync_folder(folder: Path) -> None:
    """Make the new name as durable as the content."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cannot_write(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"cannot write {path} ({error.strerror}). What was there before is whole; make room, or use another folder, "
        "and run the same again to go on."
    )
