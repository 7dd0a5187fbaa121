"""Other people's frameworks, one file each, imported only when asked for; nothing of the package imports this room.

============  =====================================================================================================
building      the optimizer of a model in one call: a name or a class, a decay, a selection
huggingface   ``Trainer`` of transformers, and TRL's, which are subclasses: an optimizer, λ over time, readings
lightning     ``configure_optimizers`` in one line, λ over time, readings
axolotl       a plugin that reads ``weightdecay:`` of its configuration file
timm          every name of ``weightdecay.available()`` in timm's registry
============  =====================================================================================================

    import weightdecay.integrations.huggingface

The lines that a user writes are in docs/frameworks.md, those for Accelerate, torchtitan, LitGPT and others,
which need no code of ours, too.
"""
