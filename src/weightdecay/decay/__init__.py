"""How λ becomes a pull: one idea a file, each opens with its formula."""

from weightdecay.decay.base import Decay, Number, Step
from weightdecay.decay.brake import RadialBrake
from weightdecay.decay.cautious import Cautious
from weightdecay.decay.corrected import Corrected
from weightdecay.decay.decoupled import Decoupled
from weightdecay.decay.elementwise import Elementwise
from weightdecay.decay.hyperball import Hyperball
from weightdecay.decay.independent import Independent
from weightdecay.decay.l2 import L2
from weightdecay.decay.logtime import LogTime
from weightdecay.decay.normtarget import NormTarget
from weightdecay.decay.parse import decay_of, parse, spelled
from weightdecay.decay.stable import Stable
from weightdecay.decay.touched import TouchedRows
from weightdecay.decay.toward import Toward
from weightdecay.decay.vanilla import Vanilla

__all__ = [
    "L2",
    "Cautious",
    "Corrected",
    "Hyperball",
    "LogTime",
    "NormTarget",
    "RadialBrake",
    "TouchedRows",
    "Toward",
    "Decay",
    "Decoupled",
    "Elementwise",
    "Independent",
    "Number",
    "Stable",
    "Step",
    "Vanilla",
    "decay_of",
    "parse",
    "spelled",
]
