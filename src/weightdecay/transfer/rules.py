"""The list of the rules. A new one is its file and its place here; `python docs/transfer_table.py` renews the page."""

from __future__ import annotations

from weightdecay.transfer.batch import (
    BATCH,
    LINEAR,
    ROOT,
    AdamScaling,
    batch_weight_decay,
    linear_lr,
    square_root,
    square_root_pull,
)
from weightdecay.transfer.exchange import LION, lion_from_adamw
from weightdecay.transfer.length import LENGTH, TABLE3, length_weight_decay, table3_weight_decay
from weightdecay.transfer.muon import (
    HORIZON,
    MUON_STAYS,
    MUON_WIDTH,
    OVER_TRAINING,
    muon_horizon_weight_decay,
    muon_width_weight_decay,
    over_training_weight_decay,
)
from weightdecay.transfer.normalized import NORMALIZED, normalized_weight_decay
from weightdecay.transfer.rule import Rule
from weightdecay.transfer.timescale import (
    LINES,
    MEMORY,
    OWN_LINES,
    power_lines_timescale,
    power_lines_weight_decay,
    timescale_epochs,
    timescale_steps,
    timescale_weight_decay,
)
from weightdecay.transfer.width import LR_ONLY, PULL, SINGULAR, independent_width, square_root_width

__all__ = [
    "RULES",
    "linear_lr",
    "batch_weight_decay",
    "length_weight_decay",
    "table3_weight_decay",
    "square_root",
    "AdamScaling",
    "square_root_pull",
    "lion_from_adamw",
    "timescale_steps",
    "timescale_epochs",
    "timescale_weight_decay",
    "power_lines_timescale",
    "power_lines_weight_decay",
    "normalized_weight_decay",
    "independent_width",
    "square_root_width",
    "muon_width_weight_decay",
    "muon_horizon_weight_decay",
    "over_training_weight_decay",
]

RULES: tuple[Rule, ...] = (
    BATCH,
    LINEAR,
    ROOT,
    LENGTH,
    MEMORY,
    LINES,
    NORMALIZED,
    HORIZON,
    PULL,
    LR_ONLY,
    SINGULAR,
    MUON_WIDTH,
    MUON_STAYS,
    TABLE3,
    OWN_LINES,
    LION,
    OVER_TRAINING,
)
"""Every rule, in the order in which ``advise`` answers. ``advise(…, rules=(*RULES, mine))`` asks yours too."""
