"""TCP ports for servers that tests start."""

import random
import socket


def free_ports(count):
    """Return ``count`` ports of this machine that are free, and stay so until somebody asks for them by number.

    From below those that a system hands to connections of its own choice (32768 and up on Linux), and above those that
    Ray gives its workers (10002 to 19999).
    """
    found = []
    for port in random.SystemRandom().sample(range(20_000, 32_000), 12_000):
        with socket.socket() as candidate:
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise OSError(f"no {count} free ports from 20000 to 31999")
