"""Any decay for any optimizer of torch.optim's kind.

============  =====================================================================================================
joining       :func:`attach`: its arguments, for one optimizer or several
handle        :class:`Handle`: torch's hooks around the step, checkpoints and copies
several       :class:`Handles`: the same for several optimizers of one model
pool          v̄ over the tensors of one optimizer, or of several that share it
action        what one step does to the weights
moves         the same for a decay that is more than a number per tensor: masks, anchors, constraints
groups        the groups of an optimizer: checked when they are new, taken over from a checkpoint
options       one group as a step sees it
lineup        which tensors take part in a step, found once and kept until something changes
squares       to which moments and step counts Σv belongs, in somebody else's state
tally         Σv and t from the norms of the gradients, and v̄ of them: the engines' own account, or Python numbers
second        how an optimizer keeps v
taken         which step of a tensor it is
gains         by how much the update of a known optimizer multiplies a gradient
closures      a step with a closure: what must happen between it and the step
copies        what checkpoints, copies and pickles hold
probe         whether a twin of the optimizer, over one tensor, keeps what attach() does to a weight
refusals      what a decay cannot be attached to, and what is said there
============  =====================================================================================================

The package is not called ``attach``: importing it would put a module in the place of the function
``weightdecay.attach``.
"""

from weightdecay.attaching.handle import Handle
from weightdecay.attaching.joining import attach
from weightdecay.attaching.several import Handles

__all__ = ["Handle", "Handles", "attach"]
