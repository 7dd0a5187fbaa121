"""The effect of an optimizer's decay: :func:`read` for a few numbers at once, :func:`watch` along a training.

============  =====================================================================================================
reading       effective lr and norms of the model, now
watch         hooks that look at one step in ``every``
sample        the weights before a step, and the numbers of every tensor after it
bundle        all numbers in one read of the device
group_decay   which decay a group has, whoever wrote the optimizer, and its pull
predicted     the norm and the angle at which theory lets a tensor settle
state         what a reading says of a tensor and of a group
words         sentences that the numbers support, and a table
page, chart   one page with figures
============  =====================================================================================================
"""

from weightdecay.monitor.reading import Reading, read
from weightdecay.monitor.state import GroupState, TensorState
from weightdecay.monitor.watch import Watch, watch

__all__ = ["GroupState", "Reading", "TensorState", "Watch", "read", "watch"]
