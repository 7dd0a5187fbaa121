"""λ and lr from batch, length, optimizer and width: floats in, floats out, one rule a file with its source.

A rule computes numbers and changes nothing. ``advise`` puts side by side what the rules say to one change.
"""

from __future__ import annotations

from weightdecay.transfer.advice import advise
from weightdecay.transfer.along import convert_along
from weightdecay.transfer.answer import Advice, Disagreement, Kept, Recommendation, Wanted
from weightdecay.transfer.batch import batch_weight_decay
from weightdecay.transfer.conversion import Conversion, adam_gain, convert, heavy_ball_gain, sgd_gain
from weightdecay.transfer.length import length_weight_decay, table3_weight_decay
from weightdecay.transfer.linear import linear_lr
from weightdecay.transfer.lion import lion_from_adamw
from weightdecay.transfer.muon import (
    muon_horizon_weight_decay,
    muon_width_weight_decay,
    over_training_weight_decay,
)
from weightdecay.transfer.normalized import normalized_weight_decay
from weightdecay.transfer.power_lines import power_lines_timescale, power_lines_weight_decay
from weightdecay.transfer.setting import MissingError, Setting
from weightdecay.transfer.square_root import AdamScaling, square_root, square_root_pull
from weightdecay.transfer.timescale import timescale_epochs, timescale_steps, timescale_weight_decay
from weightdecay.transfer.width import independent_width, square_root_width

__all__ = [
    "AdamScaling",
    "Advice",
    "Conversion",
    "Disagreement",
    "Kept",
    "MissingError",
    "Recommendation",
    "Setting",
    "Wanted",
    "adam_gain",
    "advise",
    "batch_weight_decay",
    "convert",
    "convert_along",
    "heavy_ball_gain",
    "independent_width",
    "length_weight_decay",
    "linear_lr",
    "lion_from_adamw",
    "muon_horizon_weight_decay",
    "muon_width_weight_decay",
    "normalized_weight_decay",
    "over_training_weight_decay",
    "power_lines_timescale",
    "power_lines_weight_decay",
    "sgd_gain",
    "square_root",
    "square_root_pull",
    "square_root_width",
    "table3_weight_decay",
    "timescale_epochs",
    "timescale_steps",
    "timescale_weight_decay",
]
