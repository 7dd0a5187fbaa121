"""attach() on everybody's optimizers: the promised pull, or a refusal by name; and the page that says which."""

from pathlib import Path

import pytest
from peers import PACKAGES, PULL, measured, table, version

PAGE = Path(__file__).parents[1] / "docs" / "attach-table.md"
AT_LEAST = {
    "torch.optim": 13,
    "pytorch_optimizer": 90,
    "timm.optim": 25,
    "optimi": 7,
    "schedulefree": 8,
    "dadaptation": 4,
    "torchao.optim": 7,
}
"""Classes of each package that are built and stepped here, attached or refused."""


@pytest.fixture(params=PACKAGES)
def module(request):
    reason = f"{PACKAGES[request.param]} is not installed; it comes with weightdecay[peers]"
    pytest.importorskip(request.param, reason=reason)
    return request.param


def test_other_peoples_optimizers_get_the_promised_pull_or_are_refused_by_name(module):
    wrong, right = [], 0
    for name, (verdict, pull) in measured(module).items():
        if verdict.startswith("not built"):
            continue
        kept = (
            pull == pytest.approx(PULL, rel=0.01) if verdict == "attached" else name in verdict or "MADGRAD" in verdict
        )
        right += kept
        wrong += [] if kept else [(name, verdict, pull)]
    assert not wrong
    assert right >= AT_LEAST.get(module, 1)


def test_the_page_is_what_is_measured(module):
    """Write it anew with `python tests/peers.py`."""
    heading = f"## {PACKAGES[module]} {version(module)}"
    page = PAGE.read_text()
    if heading not in page:
        assert f"## {PACKAGES[module]} " in page
        pytest.skip(f"the page was written with another version of {PACKAGES[module]}")
    rows = page.split(heading)[1].split("\n## ")[0].splitlines()
    assert [row for row in rows if row.startswith("| `")] == table(module)
