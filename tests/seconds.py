"""How long each test took when it last ran here, kept in pytest's cache; and no test begins after ``--limit``."""

import json
import time
from collections import Counter
from pathlib import Path

import pytest

TABLE = "weightdecay/seconds"
"""{file: {test: seconds, its fixtures included}}: where `make.py test --fast` reads what fits into its minutes."""
BEGAN = time.monotonic()


def table(root):
    """Return the table of a checkout; without one, an empty one."""
    try:
        return json.loads((Path(root) / ".pytest_cache" / "v" / TABLE).read_text("utf-8"))
    except (OSError, ValueError):
        return {}


def pytest_addoption(parser):
    said = "begin no test after this many seconds; the files whose tests were not all begun are named at the end"
    parser.addoption("--limit", type=float, metavar="SECONDS", help=said)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item):
    limit = item.config.getoption("limit", None)
    return True if limit is not None and time.monotonic() - BEGAN > limit else None


class Seconds:
    """What the process that prints the summary knows of all tests, whoever runs them."""

    def __init__(self, config):
        self.config, self.asked, self.took = config, Counter(), {}

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids):
        self.asked = Counter(name.split("::")[0] for name in ids)

    def pytest_collection_finish(self, session):
        self.pytest_xdist_node_collection_finished([item.nodeid for item in session.items])

    def pytest_runtest_logreport(self, report):
        file, _, name = report.nodeid.partition("::")
        of_file = self.took.setdefault(file, {})
        of_file[name] = of_file.get(name, 0.0) + report.duration

    def pytest_sessionfinish(self):
        if self.took and hasattr(self.config, "cache"):
            root = self.config.rootpath
            known = {file: tests for file, tests in table(root).items() if (root / file).exists()}
            for file, tests in self.took.items():
                known[file] = known.get(file, {}) | {name: round(seconds, 3) for name, seconds in tests.items()}
            self.config.cache.set(TABLE, known)

    def pytest_terminal_summary(self, terminalreporter):
        left = {file: count - len(self.took.get(file, ())) for file, count in self.asked.items()}
        left = {file: count for file, count in left.items() if count > 0}
        if self.config.getoption("limit") is not None and left:
            terminalreporter.section(f"not begun within {self.config.getoption('limit'):g} s")
            for file, count in left.items():
                terminalreporter.line(f"{file}: {count} of {self.asked[file]} tests")


def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Seconds(config), "seconds of tests")
