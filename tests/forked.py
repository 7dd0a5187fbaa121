"""Python programs that begin with torch imported: forked from this process, where starting one takes seconds.

For tests of what a program does, how it is killed and what it leaves. Tests of what it imports, of its streams or of
its environment start an interpreter.
"""

import atexit
import importlib
import inspect
import multiprocessing.util
import os
import signal
import subprocess
import sys
import traceback
import types
import warnings

import torch

torch.ones((), requires_grad=True).backward()
"""Autograd counts the devices once, at its first backward pass, and where it finds one no fork can go backwards. So the
first is made here, before a test's fake tensors register a GPU that is not there."""

HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGUSR1)


class Forked(subprocess.Popen):
    """``Popen([sys.executable, "-c", code, *arguments])``, but for what the program finds imported.

    What Python and libraries read of ``env`` when they are imported they have read before. Where torch sees an
    accelerator it is an interpreter of its own: after a backward pass here, no forked process could make one.
    """

    def __init__(self, code, *arguments, **how):
        self.code, self.forks, words = code, not torch.accelerator.is_available(), ["-c", *map(str, arguments)]
        if not self.forks:
            words = [sys.executable, "-c", code, *words[1:]]
            how["env"] = {**(how.get("env") or os.environ), "PYTHONPATH": os.pathsep.join(sys.path)}
        super().__init__(words, **how)

    def _execute_child(self, *given):
        if not self.forks:
            super()._execute_child(*given)
            return
        asked = inspect.signature(subprocess.Popen._execute_child).bind(self, *given).arguments
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                begin(asked)
                status = program(self.code, asked["args"])
            finally:
                os._exit(status)
        self._child_created = True
        self._close_pipe_fds(*(asked[name] for name in PIPES))


def finished(code, *arguments, timeout=600, **how):
    """Run a program to its end, or kill it with what it started; return its status and what it said."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with Forked(code, *arguments, start_new_session=True, **pipes, **how) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def output(code):
    """Return what a program prints that imports the package as if nobody had."""
    done = finished(ANEW + code, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


SCRIPT = """
import runpy, sys
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs the file that its first argument names, with the arguments behind it."""
MODULE = """
import runpy, sys
del sys.argv[0]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
"""The same of a module: ``python -m``."""
ANEW = """
import sys
for name in [name for name in sys.modules if name.split(".")[0] == "weightdecay"]:
    del sys.modules[name]
"""
PIPES = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")


def begin(asked):
    """Have the place, the streams, the signals and the warnings of a program that has just begun."""
    if asked["start_new_session"]:
        os.setsid()
    if asked["cwd"] is not None:
        os.chdir(asked["cwd"])
    if asked["env"] is not None:
        os.environ.clear()
        os.environ.update(asked["env"])
    for place, name in enumerate(("p2cread", "c2pwrite", "errwrite")):
        if asked[name] != -1:
            os.dup2(asked[name], place)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    sys.stdin, sys.stdout, sys.stderr = (
        open(place, mode, encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115 - they are the process's
        for place, mode in enumerate(("r", "w", "w"))
    )
    for number in HANDLED:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    importlib.reload(warnings)  # pytest collects them, and makes errors of them
    atexit._clear()
    atexit.register(multiprocessing.util._exit_function)


def program(code, words):
    """Run the code as ``__main__``; return its status."""
    main = types.ModuleType("__main__")
    sys.modules["__main__"], sys.argv, status = main, words, 0
    try:
        exec(compile(code, "<string>", "exec"), main.__dict__)
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else int(left.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return status
