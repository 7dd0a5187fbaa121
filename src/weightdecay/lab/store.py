"""Where results live: one file a finished run, written aside and renamed, so that it is whole or not there."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from weightdecay.lab.run import Result, Run


class StoreError(Exception):
    """Something about the files that a person must decide: one line that names the file, the reason, the way out."""


class Store:
    """A folder of results and checkpoints.

    ``runs/<address>.json`` is a finished run with the SHA-256 of its content; ``checkpoints/<address>.pt`` an
    unfinished one. Several processes may write at once: equal runs have equal content, and a rename is atomic.

    Raises: StoreError, when the folder cannot be used, at once; when a file is damaged, on reading it. Nothing is
    ever deleted but the checkpoint of a run that has finished.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.runs, self.checkpoints = self.folder / "runs", self.folder / "checkpoints"
        try:
            for each in (self.runs, self.checkpoints):
                each.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=each):
                    pass
        except OSError as error:
            raise StoreError(
                f"cannot write to the folder {self.folder} ({error.strerror}). Name another one with --out."
            ) from None

    def result(self, run: Run) -> Result | None:
        """Return the result of a finished run; None where it has not finished."""
        path = self.runs / f"{run.address}.json"
        return self._read(path) if path.exists() else None

    def results(self) -> list[Result]:
        """Return every finished run, in the order of the addresses."""
        return [self._read(path) for path in sorted(self.runs.glob("*.json"))]

    def save(self, result: Result) -> None:
        """Keep a finished run, and forget its checkpoint."""
        content = result.to_json()
        document = {"sha256": _digest(content), "result": content}
        text = json.dumps(document, indent=1, allow_nan=False) + "\n"
        _write(self.runs / f"{result.run.address}.json", text.encode())
        (self.checkpoints / f"{result.run.address}.pt").unlink(missing_ok=True)

    def _read(self, path: Path) -> Result:
        try:
            document = json.loads(path.read_text())
            content = document["result"]
            if document["sha256"] != _digest(content):
                raise ValueError("its checksum does not match: something in it has changed")
            result = Result.from_json(content)
        except (ValueError, KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
            raise StoreError(
                f"{path} is not a whole result ({error}). Move it away to train that run again, or restore it; "
                "nothing has been changed."
            ) from None
        if result.run.address != path.stem:
            raise StoreError(
                f"{path} holds the run {result.run.address}: it was renamed, or written by another version. "
                "Move it away; nothing has been changed."
            )
        return result

    def save_checkpoint(self, run: Run, content: dict[str, Any]) -> None:
        """Keep how far an unfinished run is; replaces the one before."""
        import torch

        buffer = io.BytesIO()
        torch.save(content, buffer)
        data = buffer.getvalue()
        _write(self.checkpoints / f"{run.address}.pt", hashlib.sha256(data).digest() + data)

    def load_checkpoint(self, run: Run) -> dict[str, Any] | None:
        """Return how far an unfinished run was; None where there is nothing.

        Raises: StoreError, for a damaged file: a flipped bit would load without any error.
        """
        import torch

        path = self.checkpoints / f"{run.address}.pt"
        try:
            whole = path.read_bytes()
        except FileNotFoundError:
            return None
        digest, data = whole[:32], whole[32:]
        if hashlib.sha256(data).digest() != digest:
            raise StoreError(
                f"the checkpoint {path} is damaged. Move it away to train that run from its start; "
                "finished runs are not touched."
            )
        content: dict[str, Any] = torch.load(io.BytesIO(data), weights_only=True)
        return content


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _write(path: Path, data: bytes) -> None:
    """Write beside, sync, rename: after a crash the old file is there, or the new one, never half of one."""
    handle, beside = tempfile.mkstemp(prefix=path.name, suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        Path(beside).unlink(missing_ok=True)
        raise StoreError(
            f"cannot write {path} ({error.strerror}). Finished runs are kept; make room, or use --out."
        ) from None
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
