"""Which tensors decay: groups by role (:func:`select`), and what an optimizer really does with them (:func:`audit`).

============  =====================================================================================================
roles         the roles, and which of them decay by default
tensors       every parameter once, its name and its shape before sharding
heads         which layer is the head
classify      the role of a parameter: type, then shape, then name
presets       what transformers, timm, nanoGPT, nanochat, Megatron and OLMo do
groups        ``select``
============  =====================================================================================================

The package is not called ``select``: importing it would put a module in the place of the function
``weightdecay.select``.
"""

from weightdecay.selecting.groups import select
from weightdecay.selecting.presets import PRESETS, Preset
from weightdecay.selecting.roles import ROLES, Role
from weightdecay.selecting.tensors import Entry

__all__ = ["PRESETS", "ROLES", "Entry", "Preset", "Role", "select"]
