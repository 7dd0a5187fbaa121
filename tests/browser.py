"""Headless Chromium, driven over a pipe: JSON messages that end in NUL, on file descriptors 3 and 4 of its process."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator

NAMES = ("chromium", "chromium-browser", "google-chrome")

MISSING = f"no Chromium on the PATH ({', '.join(NAMES)})"

LIMIT = 120.0
"""Seconds after which a silent browser is given up. No test depends on how fast it is."""


def program() -> str | None:
    """Return the path of a Chromium, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """A tab. Every event is kept, so that a test can say what must not have happened."""

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write, self._rest, self._count = read, write, b"", 0
        self.session: str | None = None
        self.events: list[dict] = []

    def call(self, method: str, **parameters) -> dict:
        """Send a command and return its result."""
        number = self._send(method, parameters)
        while True:
            answer = self._receive()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    def run(self, script: str):
        """Return the value of an expression in the page."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def open(self, address: str) -> None:
        """Go to an address and wait until it has loaded."""
        self.events.clear()
        self.call("Page.navigate", url=address)
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self._receive()

    def press(self, key: str) -> None:
        """Press and release a key."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def point(self, x: float, y: float) -> None:
        """Move the mouse."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, x: float, y: float) -> None:
        """Press and release the left button."""
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def named(self, *methods: str) -> list[dict]:
        """Return the parameters of all events of these names."""
        return [event["params"] for event in self.events if event["method"] in methods]

    def complaints(self) -> list[dict]:
        """Return errors and warnings of the console, exceptions, refusals of the page's policy, and dialogs."""
        said = [one for one in self.named("Runtime.consoleAPICalled") if one["type"] in ("error", "warning", "assert")]
        logged = [one for one in self.named("Log.entryAdded") if one["entry"]["level"] in ("error", "warning")]
        return said + logged + self.named("Runtime.exceptionThrown", "Page.javascriptDialogOpening")

    def requests(self) -> list[str]:
        """Return the address of everything that was asked for."""
        return [one["request"]["url"] for one in self.named("Network.requestWillBeSent")]

    def _send(self, method: str, parameters: dict) -> int:
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        return self._count

    def _receive(self) -> dict:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], LIMIT)
            assert ready, f"the browser said nothing for {LIMIT:g} s"
            part = os.read(self._read, 1 << 20)
            assert part, "the browser ended"
            self._rest += part
        message, self._rest = self._rest.split(b"\0", 1)
        found = json.loads(message)
        if "method" in found:
            self.events.append(found)
            if found["method"] == "Page.javascriptDialogOpening":
                self._send("Page.handleJavaScriptDialog", {"accept": True})
        return found


@contextlib.contextmanager
def browsing(width: int = 1200, height: int = 1000) -> Iterator[Page]:
    """Start a browser with one tab, and end it."""
    path = program()
    assert path, MISSING
    ours_read, theirs_write = map(_high, os.pipe())
    theirs_read, ours_write = map(_high, os.pipe())
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, open(os.devnull, "r+b") as nothing:
        arguments = [
            path, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run",
            "--disable-background-networking", "--disable-dev-shm-usage", f"--user-data-dir={profile}",
            f"--window-size={width},{height}", "about:blank",
        ]  # fmt: skip
        quiet = [(os.POSIX_SPAWN_DUP2, nothing.fileno(), target) for target in (0, 1, 2)]
        pipes = [(os.POSIX_SPAWN_DUP2, theirs_read, 3), (os.POSIX_SPAWN_DUP2, theirs_write, 4)]
        child = os.posix_spawn(path, arguments, os.environ, file_actions=quiet + pipes, setpgroup=0)
        try:
            os.close(theirs_read)
            os.close(theirs_write)
            page = Page(ours_read, ours_write)
            targets = page.call("Target.getTargets")["targetInfos"]
            tab = next(one["targetId"] for one in targets if one["type"] == "page")
            page.session = page.call("Target.attachToTarget", targetId=tab, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                page.call(f"{domain}.enable")
            yield page
            page.session = None
            page.call("Browser.close")
        finally:
            _end(child)
            os.close(ours_read)
            os.close(ours_write)


def _high(descriptor: int) -> int:
    """Return a copy above those that the browser's own are put on, closed in every child."""
    copy = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return copy


def _end(child: int) -> None:
    """Wait for the browser, and end its group if it stays."""
    give_up = time.monotonic() + 20
    while time.monotonic() < give_up:
        if os.waitpid(child, os.WNOHANG)[0]:
            return
        time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
