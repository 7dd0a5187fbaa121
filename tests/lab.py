"""What the tests of the lab share: the smallest run there is, and what of a result two computations must share."""

import contextlib
import dataclasses
import subprocess

from weightdecay.lab.run import Place, Run, options

SMALL = Run(
    "adams",
    lr=1e-3,
    weight_decay=0.1,
    seed=0,
    epochs=4,
    batch_size=64,
    train_size=128,
    label_noise=0.2,
    network_options=options(width=4),
)

COMMAND = """
import signal, sys
from weightdecay.lab.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have told its children to ignore it
sys.exit(main(sys.argv[1:]))
"""
"""The command as a program that a person can stop with Ctrl-C."""

EVERY_STEP = Place(checkpoint_seconds=0)
"""A checkpoint after every step."""


def small(**changes):
    return dataclasses.replace(SMALL, **changes)


@contextlib.contextmanager
def started(command, **how):
    """A process that does not outlive the block, however the block ends."""
    with subprocess.Popen(command, **how) as process:
        try:
            yield process
        finally:
            process.kill()


def numbers(result):
    """Everything of a result but how long it took."""
    return dataclasses.replace(result, seconds=0.0)
