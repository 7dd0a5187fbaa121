"""Any decay that is one number a tensor, for any optimizer of torch.optim's kind.

============  =====================================================================================================
handle        :func:`attach` and :class:`Handle`: the step through torch's hooks, checkpoints, copies
closures      a step with a closure: what must happen between it and the step
lineup        which tensors take part in a step, found once and kept until something changes
squares       v̄ from the norms of the gradients: the engines' own account, beside somebody else's state
gains         by how much the update of a known optimizer multiplies a gradient
probe         whether a twin of the optimizer, over one tensor, keeps what attach() does to a weight
refusals      what a decay cannot be attached to, and what is said there
============  =====================================================================================================

The package is not called ``attach``: importing it would put a module in the place of the function
``weightdecay.attach``.
"""

from weightdecay.attaching.handle import Handle, attach

__all__ = ["Handle", "attach"]
