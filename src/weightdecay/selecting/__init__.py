"""The choice of tensors that decay: groups by role (:func:`select`), and a check of an optimizer (:func:`audit`).

============  =====================================================================================================
roles         the roles, and which of them decay by default
tensors       every parameter once, its name and its shape before sharding
heads         which layer is the head
classify      the role of a parameter: type, then shape, then name
presets       what transformers, timm, nanoGPT, nanochat, Megatron and OLMo do
groups        ``select``
meaning       what ``weight_decay`` means for an optimizer, and the pull of a step
survey        ``audit``: every tensor with its group
findings      what is suspicious, in words
table         an audit as text
lock          an audit as a file, and what has changed since
============  =====================================================================================================

The package is not called ``select``: importing it would put a module in the place of the function
``weightdecay.select``.
"""

from weightdecay.selecting.findings import Finding
from weightdecay.selecting.groups import select
from weightdecay.selecting.presets import PRESETS, Preset
from weightdecay.selecting.roles import ROLES, Role
from weightdecay.selecting.survey import Audit, Row, audit
from weightdecay.selecting.tensors import Entry

__all__ = ["PRESETS", "ROLES", "Audit", "Entry", "Finding", "Preset", "Role", "Row", "audit", "select"]
