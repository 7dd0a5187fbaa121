#!/usr/bin/env python3
"""The project's commands. Needs Python 3.11 or newer and nothing else: it builds its own environment in .venv.

    python3.11 make.py demo           install, then run `weightdecay compare` (under 90 seconds on two idle cores)
    python3.11 make.py test           install, then lint, type-check, build the docs and test (20 minutes on two cores)
    python3.11 make.py test --fast    the same for what differs from main, without the docs (under three minutes)
    python3.11 make.py docs           install, then build the documentation into docs/_build

Extra arguments are passed on to the program:  python3.11 make.py demo --seeds 5
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
DOCS = ("-q", "-W", "-b", "html", "docs", "docs/_build")
PYTEST = ("-n", "3", "--dist", "loadfile", "--no-loadscope-reorder", "--max-worker-restart", "0")
"""Three workers for two cores: many a test waits for a process. The files in the order of tests/conftest.py.

A worker that dies fails its test and ends the run: pytest-xdist may wait for ever for one that it replaces."""
CACHE = VENV / "pycache"
"""Where Python keeps what it has compiled, whatever PYTHONDONTWRITEBYTECODE says, which container images like to set:
without it every one of the suite's hundreds of processes would compile torch anew, 3 s and more each."""
FAST = ("-n", "2", *PYTEST[2:], "--limit", "130")
"""No test begins later than that many seconds. A third worker would only slow down mypy, which runs beside them."""
FAST_SECONDS = "200"
"""Of all tests together, as they last took here; two workers begin with importing torch, and one of them ends first."""
CHOSEN = VENV / "fast.txt"
"""What of the tests, as arguments: a change may have hundreds of them."""
TOOK = VENV / "took.json"
"""{command: {step: seconds}}, of the last time that the command succeeded here."""
EXTRAS = {"demo": "lab", "test": "lab,spectrum,ray,slurm,peers,trackers,test,docs", "docs": "lab,docs"}


def run(*command):
    """Run a program of the environment; stop with its exit status if it fails."""
    print("+", *command, flush=True)
    status = subprocess.run(**how(command), check=False).returncode
    if status:
        sys.exit(status if status > 0 else 128 - status)


def how(command):
    """Return what subprocess needs to run a program of the environment."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(CACHE), "PYTHONDONTWRITEBYTECODE": ""}
    return {"args": [str(BIN / command[0]), *command[1:]], "cwd": ROOT, "env": environment}


def install(extras):
    """Create the environment if it is not there, and bring it up to date with pyproject.toml."""
    if not (BIN / ("python.exe" if os.name == "nt" else "python")).exists():
        print(f"+ creating {VENV}", flush=True)
        venv.create(VENV, with_pip=True)
    run("python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv")
    run("uv", "pip", "install", "--python", str(BIN / "python"), "--editable", f".[{extras}]")


class Steps:
    """The steps of a test: announced, timed, and compared with the last time on this machine."""

    def __init__(self, name, plan):
        self.name, self.began, self.took, self.failed, self.threads = name, time.monotonic(), {}, [], []
        self.kept = json.loads(TOOK.read_text("utf-8")) if TOOK.exists() else {}
        last = self.kept.get(name, {})
        said = [f"{step} {duration(last[step])}" if step in last else step for step in plan]
        print(f"{name}: {', '.join(said)}.", flush=True)
        print(f"Last time here: {duration(last['all'])}." if last else "Not timed on this machine yet.", flush=True)

    def do(self, step, work, *given):
        """Do a step here and say how long it took; if it fails, stop."""
        start = time.monotonic()
        work(*given)
        self.end(step, start)

    def beside(self, step, *command):
        """Run a program beside what follows; print what it says when it ends."""
        print("+", *command, "(beside what follows)", flush=True)

        def work():
            start = time.monotonic()
            done = subprocess.run(
                **how(command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
            )
            self.end(step, start, f"\n+ {' '.join(command)}\n{done.stdout}", done.returncode)

        self.threads.append(threading.Thread(target=work))
        self.threads[-1].start()

    def end(self, step, start, said="", status=0):
        """Say how long a step took, and whether it failed."""
        self.took[step] = round(time.monotonic() - start, 1)
        if status:
            self.failed.append(step)
        print(f"{said}= {step}: {'FAILED after ' if status else ''}{duration(self.took[step])}", flush=True)

    def test(self, *command):
        """Run the tests, wait for what runs beside them, and stop if anything failed."""
        start = time.monotonic()
        print("+", *command, flush=True)
        status = subprocess.run(**how(command), check=False).returncode
        self.end("pytest", start, status=status)
        for thread in self.threads:
            thread.join()
        self.took["all"] = round(time.monotonic() - self.began, 1)
        print(f"= all: {duration(self.took['all'])}", flush=True)
        if self.failed:
            sys.exit(f"failed: {', '.join(self.failed)}")
        TOOK.write_text(json.dumps({**self.kept, self.name: self.took}, indent=1), "utf-8")


def duration(seconds):
    """Return seconds as a person says them."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


def test(rest):
    """Install, then test everything, or with --fast what a change needs."""
    fast = "--fast" in rest
    rest = [word for word in rest if word != "--fast"]
    steps = Steps(
        *(
            ("test --fast", ("install", "ruff", "mypy", "pytest"))
            if fast
            else ("test", ("install", "ruff", "mypy", "sphinx", "pytest"))
        )
    )
    steps.do("install", install, EXTRAS["test"])
    steps.do("ruff", lambda: [run("ruff", *words) for words in (("check", "."), ("format", "--check", "."))])
    steps.beside("mypy", "mypy")
    if fast:
        touched = ("python", "tests/touched.py", "--seconds", FAST_SECONDS)
        print("+", *touched, flush=True)
        found = subprocess.run(**how(touched), stdout=subprocess.PIPE, check=True).stdout
        CHOSEN.write_bytes(found)
        steps.test("pytest", *FAST, f"@{CHOSEN.relative_to(ROOT)}", *rest)
    else:
        steps.beside("sphinx", "sphinx-build", *DOCS)
        steps.test("pytest", *PYTEST, *rest)


def main(arguments):
    """Dispatch the command."""
    if sys.version_info < (3, 11):  # noqa: UP036 - the one file that an older Python may meet
        sys.exit(f"weightdecay needs Python 3.11 or newer; this is {sys.version.split()[0]}.")
    command, *rest = arguments or ["help"]
    if command not in EXTRAS:
        sys.exit(__doc__)
    if command != "test":
        install(EXTRAS[command])
    if command == "demo":
        signal.signal(signal.SIGINT, lambda *_: None)  # the program answers Ctrl-C itself, and we wait for it
        run("weightdecay", "compare", *rest)
    elif command == "test":
        test(rest)
    else:
        run("sphinx-build", *DOCS, *rest)


if __name__ == "__main__":
    main(sys.argv[1:])
