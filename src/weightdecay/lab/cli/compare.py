"""``weightdecay compare``: the question that its settings ask, put to networks that a CPU trains."""

from __future__ import annotations

from weightdecay.lab.cli.conducted import conducted, executor_of
from weightdecay.lab.cli.report import answering
from weightdecay.lab.cli.say import modules_from_here, say
from weightdecay.lab.run import Place
from weightdecay.lab.study.compare import Settings, question
from weightdecay.lab.study.members import remarks


def run_compare(settings: Settings) -> int:
    """Answer the question; what was trained before is kept."""
    modules_from_here()
    asked = {"compare": question(settings)}  # raises before anything starts
    for remark in remarks(settings.names, settings.decays):
        say(remark)
    on = executor_of("local", {"jobs": settings.jobs or None}, settings.out)
    return conducted(answering(asked, settings.out, title="compare", on=on, place=Place(device="cpu")))
