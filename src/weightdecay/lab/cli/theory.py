"""``weightdecay theory``: what the theory predicts beside what the optimizers do, on one page."""

from __future__ import annotations

from weightdecay.lab.cli.say import DONE, fail, say, status_of
from weightdecay.lab.pages.theory.settings import TheorySettings
from weightdecay.lab.run.interrupt import sigterm_raises


def run_theory(settings: TheorySettings) -> int:
    """Compute, draw, and say where the page is."""
    settings.check()
    try:
        with sigterm_raises():
            import weightdecay.lab.report.backend  # noqa: F401 - before matplotlib
            from weightdecay.lab.pages.theory.explain import explain

            page = explain(settings, say)
    except KeyboardInterrupt as stopped:
        return fail("stopped: the page was not written. The same command starts anew.", status_of(stopped), label="")
    say(f"page    {page}")
    for name in ("paths", "valleys", "parts", "best-decay", "minimum", "drift", "equilibrium"):
        say(f"figure  {settings.out / name}.png, {name}.svg")
    return DONE
