"""The effect of an optimizer's ``weight_decay``, by experiment: :func:`measure` and :func:`assert_decays`.

============  =====================================================================================================
walk          a small weight through prescribed gradients, under somebody's optimizer
experiment    pairs of such paths, and the exponents of the pull that they show
kinds         from exponents to a name
reach         vectors, groups, a λ that is written later or is a tensor, bfloat16
measured      the answer, in a record, in words and in a row
question      the two functions
============  =====================================================================================================

The package is not called ``measure``: importing it would put a module in the place of the function.
"""

from weightdecay.measuring.measured import HEADINGS, Measured
from weightdecay.measuring.question import assert_decays, measure, measured
from weightdecay.measuring.reach import Reach
from weightdecay.measuring.walk import MeasureError, TorchWalk, Walk

__all__ = ["HEADINGS", "MeasureError", "Measured", "Reach", "TorchWalk", "Walk", "assert_decays", "measure", "measured"]
