"""How a step is computed: the same numbers as the reference, in less time.

``engine=`` names it, on every optimizer:

============  ============================================================================================
"auto"        "fused" for the groups that it can move, "foreach" for the others; asked anew before every step
"reference"   the definition, tensor by tensor (``optim/reference.py``)
"foreach"     the same boxes on lists of tensors, for every optimizer and decay
"fused"       torch's fused kernels of Adam, AMSGrad, SGD and HeavyBall, with any uniform decay
"compiled"    one kernel of torch.compile for all of the step; never chosen by "auto", as it takes seconds to build
============  ============================================================================================

An engine that cannot honour a combination raises ValueError, naming one that can. All but the reference wait for no
accelerator: v̄, pull and counters stay on the device until somebody asks.
"""

from __future__ import annotations

from weightdecay.engine.auto import Auto
from weightdecay.engine.compiled import Compiled
from weightdecay.engine.foreach import Foreach
from weightdecay.engine.fused import Fused
from weightdecay.optim.reference import ENGINES

ENGINES.update(auto=Auto, foreach=Foreach, fused=Fused, compiled=Compiled)
