#!/usr/bin/env python3
"""The project's commands. Needs Python 3.11 or newer and nothing else: it builds its own environment in .venv.

    python3.11 make.py demo    install, then run `weightdecay compare` (about three minutes on two cores)
    python3.11 make.py test    install, then lint, type-check, build the docs and test
    python3.11 make.py docs    install, then build the documentation into docs/_build

What stands behind the command goes to the program it runs:  python3.11 make.py demo --seeds 5
"""

import os
import signal
import subprocess
import sys
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
EXTRAS = {"demo": "lab", "test": "lab,spectrum,ray,slurm,peers,trackers,test,docs", "docs": "lab,docs"}


def run(*command):
    """Run a program of the environment; stop with its exit status if it fails."""
    print("+", *command, flush=True)
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(CACHE), "PYTHONDONTWRITEBYTECODE": ""}
    status = subprocess.run([str(BIN / command[0]), *command[1:]], cwd=ROOT, env=environment, check=False).returncode
    if status:
        sys.exit(status if status > 0 else 128 - status)


def install(extras):
    """Create the environment if it is not there, and bring it up to date with pyproject.toml."""
    if not (BIN / ("python.exe" if os.name == "nt" else "python")).exists():
        print(f"+ creating {VENV}", flush=True)
        venv.create(VENV, with_pip=True)
    run("python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv")
    run("uv", "pip", "install", "--python", str(BIN / "python"), "--editable", f".[{extras}]")


def main(arguments):
    """Dispatch the command."""
    if sys.version_info < (3, 11):  # noqa: UP036 - the one file that an older Python may meet
        sys.exit(f"weightdecay needs Python 3.11 or newer; this is {sys.version.split()[0]}.")
    command, *rest = arguments or ["help"]
    if command not in EXTRAS:
        sys.exit(__doc__)
    install(EXTRAS[command])
    if command == "demo":
        signal.signal(signal.SIGINT, lambda *_: None)  # the program answers Ctrl-C itself, and we wait for it
        run("weightdecay", "compare", *rest)
    elif command == "test":
        run("ruff", "check", ".")
        run("ruff", "format", "--check", ".")
        run("mypy")
        run("sphinx-build", *DOCS)
        run("pytest", *PYTEST, *rest)
    else:
        run("sphinx-build", *DOCS, *rest)


if __name__ == "__main__":
    main(sys.argv[1:])
