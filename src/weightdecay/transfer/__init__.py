"""Rules for λ and lr when batch, length, optimizer or width change: functions of floats, each with its source.

A rule computes numbers and changes nothing. ``advise`` shows the answers of the rules to one change side by side. The
rules are listed in :mod:`weightdecay.transfer.rules`, whose public names are names of this package too.
"""

from __future__ import annotations

from weightdecay.transfer import rules
from weightdecay.transfer.advice import Advice, Disagreement, Recommendation, advise
from weightdecay.transfer.conversion import Conversion, adam_gain, convert, convert_along, heavy_ball_gain, sgd_gain
from weightdecay.transfer.rule import Change, Kept, Rule
from weightdecay.transfer.rules import *  # noqa: F403 - a rule is listed once
from weightdecay.transfer.setting import MissingError, Setting, Wanted

__all__ = ["Rule", "Change"]
__all__ += rules.__all__
__all__ += [
    "convert",
    "convert_along",
    "Conversion",
    "sgd_gain",
    "heavy_ball_gain",
    "adam_gain",
    "Setting",
    "Wanted",
    "advise",
    "Advice",
    "Recommendation",
    "Kept",
    "Disagreement",
    "MissingError",
]
