"""``weightdecay compare``: train what is missing, with a live view; then table, figures and page."""

from __future__ import annotations

from weightdecay.lab.cli.outcome import show
from weightdecay.lab.cli.say import DONE, fail, status_of
from weightdecay.lab.cli.view import live
from weightdecay.lab.run.interrupt import sigterm_raises
from weightdecay.lab.study.compare import Settings, question


def run_compare(settings: Settings) -> int:
    """Answer the question; what was trained before is kept."""
    asked = question(settings)  # raises before anything starts
    from weightdecay.lab.executors import executor
    from weightdecay.lab.run import Place
    from weightdecay.lab.run.store import Store
    from weightdecay.lab.sweeps.sweep import sweep

    store = Store(settings.out)
    try:
        with sigterm_raises(), live(asked, store) as view:
            on = executor("local", jobs=settings.jobs or None)
            results = sweep(asked.runs, store, on, Place(), on_result=view.add)
    except KeyboardInterrupt as stopped:
        kept = sum(store.result(run) is not None for run in asked.runs)
        return fail(
            f"stopped: {kept} of {len(asked.runs)} runs are kept in {settings.out}; the same command continues.",
            status_of(stopped),
            label="",
        )
    from weightdecay.lab.report import write
    from weightdecay.lab.study.statistics import compare

    comparison = compare(asked, results)
    show(comparison, write(comparison, settings.out))
    return DONE
